package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Leases is the side of the queue that a worker sees. What a worker writes is
// fenced by its TaskRef: once the task is another's, or has ended, or is gone,
// it is ErrFenced and nothing is written.
type Leases interface {
	// ClaimTask gives a task to a worker for as long as lease, counts the
	// attempt, and returns the task, now RUNNING. That is possible when the
	// task is QUEUED and due, or RUNNING with a lease that has run out; of all
	// who try one succeeds. Otherwise it returns the task as it stands with
	// ErrEnded, ErrLeased (until its LeaseUntil) or ErrNotDue (until its
	// RunAfter, until TurnInSession names it, or while it is WAITING), or
	// ErrNotFound.
	//
	// The tasks of a session run one after the other, in the order in which
	// they were submitted; one that is not due yet holds up none, one that
	// waits for a person those behind it.
	//
	// A task whose cancel was requested is claimed like another, so that
	// somebody ends it.
	ClaimTask(ctx context.Context, tenant, id, worker string, lease time.Duration) (Task, error)

	// RenewLeases makes the leases end as long as lease from now, and returns
	// which tasks the worker still has; it must stop the others. A lease that
	// has run out is renewed as long as nobody else has claimed the task.
	RenewLeases(ctx context.Context, worker string, refs []TaskRef, lease time.Duration) ([]Held, error)

	// ReleaseTask hands a task back unfinished, to be claimed once after has passed.
	ReleaseTask(ctx context.Context, ref TaskRef, after time.Duration) error

	// RetryTask hands a task back after a failure, which reason tells, to be
	// claimed once after has passed; at once when its cancel was requested.
	RetryTask(ctx context.Context, ref TaskRef, after time.Duration, reason string) error

	// TurnInSession returns the task, QUEUED and due, that is the next to be
	// claimed in a session, or ErrNotFound.
	TurnInSession(ctx context.Context, tenant, sessionID string) (DueTask, error)

	// FinishTask ends a task and writes all of its ending. A task whose cancel
	// was requested can only be CANCELLED: another status is
	// ErrCancelRequested, and nothing is written. A turn that does not go on
	// where its session ends is ErrConflict, one whose session another run has
	// is ErrSessionBusy; nothing is written then either.
	FinishTask(ctx context.Context, ref TaskRef, end Ending) error
}

// Held is a task that a worker has.
type Held struct {
	TaskRef

	CancelRequested bool
}

func (h *Held) columns() []any { return []any{&h.Tenant, &h.ID, &h.Attempt, &h.CancelRequested} }

// Ending is what a task's end leaves behind. What is empty is not written.
type Ending struct {
	// Status is COMPLETED, FAILED or CANCELLED.
	Status Status
	Result []byte
	// Error is why it failed, for whoever reads the task.
	Error string
	// Events are the rest of the task's event log.
	Events []Event
	// Usage is what has not been written with a step.
	Usage []UsageRow
	// Turn goes to the end of the task's session.
	Turn *Turn
	// Delivery tells a webhook; its first try is due at once.
	Delivery *NewDelivery
}

const claimTask = `UPDATE tasks SET status = 2, worker = $4, attempt = attempt + 1, lease_until = @now + $5,
		wake_time = @now + $5, start_time = coalesce(start_time, @now)
	WHERE tenant = $2 AND task_id = $3
		AND (status = 2 AND lease_until <= @now OR status = 1 AND run_after <= @now
			AND NOT EXISTS (SELECT 1 FROM tasks other
				WHERE other.tenant = tasks.tenant AND other.session_id = tasks.session_id AND other.finish_time IS NULL
					AND other.task_id <> tasks.task_id
					AND (other.status = 2 OR (other.create_time, other.task_id) < (tasks.create_time, tasks.task_id)
						AND (other.run_after <= @now OR other.attempt > 0))))
	RETURNING ` + taskColumns

// ClaimTask implements Leases.
func (d *DB) ClaimTask(ctx context.Context, tenant, id, worker string, lease time.Duration) (task Task, err error) {
	err = d.engine.one(ctx, func(ctx context.Context, q querier) error {
		task, err = queryOne[Task](ctx, q, claimTask, d.clock(), tenant, id, worker, lease.Microseconds())
		return err
	})
	if !errors.Is(err, ErrNotFound) {
		return task, failing("claiming a task", err)
	}
	if task, err = d.GetTask(ctx, tenant, id); err == nil {
		err = task.notClaimable()
	}
	return task, failing("claiming a task", err)
}

// TurnInSession implements Leases.
func (d *DB) TurnInSession(ctx context.Context, tenant, sessionID string) (task DueTask, err error) {
	err = d.engine.read(ctx, func(ctx context.Context, q querier) error {
		first, err := queryOne[turn](ctx, q, `SELECT tenant, task_id, priority, attempt > 0, status FROM tasks
			WHERE tenant = $2 AND session_id = $3 AND finish_time IS NULL AND (run_after <= @now OR attempt > 0)
			ORDER BY create_time, task_id LIMIT 1`, d.clock(), tenant, sessionID)
		if err == nil && first.status != StatusQueued {
			err = ErrNotFound
		}
		task = first.DueTask
		return err
	})
	return task, failing("looking for a session's next task", err)
}

// turn is a session's first task that is due.
type turn struct {
	DueTask

	status Status
}

func (t *turn) columns() []any { return append(t.DueTask.columns(), &t.status) }

// notClaimable is why the task could not be claimed.
func (t *Task) notClaimable() error {
	switch {
	case t.Status.Ended():
		return ErrEnded
	case t.Status == StatusQueued, t.Status == StatusWaiting:
		return ErrNotDue
	default:
		return ErrLeased
	}
}

// RenewLeases implements Leases.
func (d *DB) RenewLeases(ctx context.Context, worker string, refs []TaskRef, lease time.Duration) ([]Held, error) {
	const most = 128 // a statement's
	var all []Held
	for len(refs) > 0 {
		part := refs[:min(most, len(refs))]
		refs = refs[len(part):]
		err := d.engine.one(ctx, func(ctx context.Context, q querier) error {
			held, err := d.renew(ctx, q, worker, part, lease)
			all = append(all, held...)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("renewing leases: %w", err)
		}
	}
	return all, nil
}

func (d *DB) renew(ctx context.Context, q querier, worker string, refs []TaskRef, lease time.Duration) ([]Held, error) {
	args := []any{d.clock(), worker, lease.Microseconds()}
	tuples := filled(len(refs), 4, "$, $, CAST($ AS BIGINT)", func(i int) {
		args = append(args, refs[i].Tenant, refs[i].ID, refs[i].Attempt)
	})
	return query[Held](ctx, q, `UPDATE tasks SET lease_until = @now + $3, wake_time = @now + $3
		WHERE (tenant, task_id, attempt) IN (VALUES `+tuples+`)
			AND status = 2 AND worker = $2
		RETURNING tenant, task_id, attempt, cancel_requested`, args...)
}

// ReleaseTask implements Leases.
func (d *DB) ReleaseTask(ctx context.Context, ref TaskRef, after time.Duration) error {
	return failing("releasing a task", d.fenced(ctx, ref, `UPDATE tasks SET status = 1,
		lease_until = NULL, run_after = @now + CAST($5 AS BIGINT), wake_time = @now + CAST($5 AS BIGINT)
		WHERE tenant = $2 AND task_id = $3 AND attempt = $4 AND status = 2`, after.Microseconds()))
}

// RetryTask implements Leases.
func (d *DB) RetryTask(ctx context.Context, ref TaskRef, after time.Duration, reason string) error {
	return failing("handing a task back", d.fenced(ctx, ref, `UPDATE tasks SET status = 1,
		lease_until = NULL, failures = failures + 1, error = $6,
		run_after = @now + CASE WHEN cancel_requested THEN 0 ELSE CAST($5 AS BIGINT) END,
		wake_time = @now + CASE WHEN cancel_requested THEN 0 ELSE CAST($5 AS BIGINT) END
		WHERE tenant = $2 AND task_id = $3 AND attempt = $4 AND status = 2`,
		after.Microseconds(), prose(reason)))
}

// fenced runs a statement that changes the task only while ref has it.
func (d *DB) fenced(ctx context.Context, ref TaskRef, statement string, args ...any) error {
	args = append([]any{d.clock(), ref.Tenant, ref.ID, ref.Attempt}, args...)
	return d.engine.one(ctx, func(ctx context.Context, q querier) error {
		changed, err := q.exec(ctx, statement, args...)
		if err == nil && changed == 0 {
			err = ErrFenced
		}
		return err
	})
}

const finishTask = `UPDATE tasks SET status = CAST($5 AS BIGINT), result = $6, error = $7, finish_time = @now,
		last_sequence = CASE WHEN CAST($9 AS BIGINT) = 0 THEN last_sequence ELSE CAST($9 AS BIGINT) END,
		lease_until = NULL, wake_time = NULL
	WHERE tenant = $2 AND task_id = $3 AND attempt = $4 AND status = 2
		AND last_sequence < $8 AND (CAST($5 AS BIGINT) = 6 OR NOT cancel_requested)`

// FinishTask implements Leases.
func (d *DB) FinishTask(ctx context.Context, ref TaskRef, end Ending) error {
	const doing = "finishing a task"
	if !end.Status.Ended() || end.Status > StatusCancelled {
		return failing(doing, fmt.Errorf("%w: status %d", ErrInvalid, end.Status))
	}
	first, last, err := span(end.Events)
	if err != nil {
		return failing(doing, err)
	}
	return failing(doing, d.engine.all(ctx, func(ctx context.Context, q querier) error {
		changed, err := q.exec(ctx, finishTask, d.clock(), ref.Tenant, ref.ID, ref.Attempt,
			int64(end.Status), end.Result, prose(end.Error), first, last)
		if err != nil {
			return err
		}
		if changed == 0 {
			return refused(ctx, q, ref, end.Status)
		}
		if err := d.writeEnding(ctx, q, ref.Tenant, ref.ID, end); err != nil {
			return err
		}
		return d.wakeNext(ctx, q, ref.Tenant, ref.ID)
	}))
}

// wakeNext has whoever sweeps look soon at the task of the session that comes
// after one that has ended: who is to dispatch it may die before that, or be
// refused while a delivery of it from before its turn is still out. It takes
// later ones only, so that tasks of a session are locked in one order.
func (d *DB) wakeNext(ctx context.Context, q querier, tenant, id string) error {
	_, err := q.exec(ctx, `UPDATE tasks
		SET wake_time = CASE WHEN wake_time < @now + CAST($4 AS BIGINT) THEN wake_time ELSE @now + CAST($4 AS BIGINT) END
		WHERE tenant = $2 AND status = 1 AND task_id = (
			SELECT next.task_id FROM tasks ended JOIN tasks next ON next.tenant = ended.tenant AND next.session_id = ended.session_id
				AND next.finish_time IS NULL AND (next.run_after <= @now OR next.attempt > 0)
				AND (next.create_time, next.task_id) > (ended.create_time, ended.task_id)
			WHERE ended.tenant = $2 AND ended.task_id = $3
			ORDER BY next.create_time, next.task_id LIMIT 1)`,
		d.clock(), tenant, id, dispatchGrace.Microseconds())
	return err
}

// refused is why a fenced write found nothing to change. What it looks at never
// changes back, so it may look later than the write did.
func refused(ctx context.Context, q querier, ref TaskRef, status Status) error {
	task, err := queryOne[Task](ctx, q, getTask, ref.Tenant, ref.ID)
	switch {
	case errors.Is(err, ErrNotFound):
		return ErrFenced
	case err != nil:
		return err
	case task.Attempt != ref.Attempt || task.Status != StatusRunning:
		return ErrFenced
	case task.CancelRequested && status.Ended() && status != StatusCancelled:
		return ErrCancelRequested
	default:
		return ErrConflict
	}
}

// writeEnding writes what a task's end leaves behind beside its own row. The
// order is the same everywhere: a task is locked before its session.
func (d *DB) writeEnding(ctx context.Context, q querier, tenant, id string, end Ending) error {
	if err := writeEvents(ctx, q, tenant, id, end.Events); err != nil {
		return err
	}
	if err := writeUsage(ctx, q, end.Usage); err != nil {
		return err
	}
	if end.Delivery != nil {
		if err := d.writeDelivery(ctx, q, tenant, id, *end.Delivery); err != nil {
			return err
		}
	}
	if end.Turn != nil {
		return d.writeTurn(ctx, q, *end.Turn)
	}
	return nil
}
