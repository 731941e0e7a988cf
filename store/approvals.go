package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Approvals is the side of the queue on which tasks wait for people.
type Approvals interface {
	// SuspendTask writes progress and makes the task WAITING and nobody's, for
	// as long as it takes, until ResolveCall was told of each of calls. A task
	// whose cancel was requested does not wait: ErrCancelRequested. It is
	// ErrFenced and ErrConflict as for AppendProgress; nothing is written then.
	SuspendTask(ctx context.Context, ref TaskRef, progress Progress, calls []PendingCall) error

	// ResolveCall takes a call from those that a task waits for, writes what
	// decide makes of it, and returns the task: QUEUED and due when it was the
	// last, and whoever resolves it dispatches it then; a sweeper does, should
	// that not have happened a few seconds later. Of those who resolve a call
	// at one time one does; for the others, and when the task does not wait for
	// such a call, it is ErrNotPending. A task that does not exist is
	// ErrNotFound. decide must only compute, and may be called more than once;
	// its error is returned, and the position of its steps is filled in.
	ResolveCall(ctx context.Context, tenant, id, callID string, decide func(Task) (Progress, error)) (Task, error)
}

// PendingCall is a tool call that a task waits for a decision about.
type PendingCall struct {
	// ID is unique in the task.
	ID        string `json:"id"`
	Tool      string `json:"tool"`
	Arguments string `json:"arguments"`
	// RequestTime is since when.
	RequestTime time.Time `json:"request_time"`
}

// pendingCalls reads calls from their column.
type pendingCalls struct{ to *[]PendingCall }

// Scan implements sql.Scanner.
func (p pendingCalls) Scan(value any) error {
	*p.to = nil
	switch text := value.(type) {
	case nil:
		return nil
	case []byte:
		if err := json.Unmarshal(text, p.to); err != nil {
			return fmt.Errorf("reading pending calls: %w", err)
		}
		return nil
	default:
		return fmt.Errorf("reading pending calls from a %T", value)
	}
}

// pendingColumn is how calls are kept; NULL for none.
func pendingColumn(calls []PendingCall) (any, error) {
	if len(calls) == 0 {
		return nil, nil //nolint:nilnil // NULL
	}
	text, err := json.Marshal(calls)
	if err != nil {
		return nil, fmt.Errorf("writing pending calls: %w", err)
	}
	return text, nil
}

// SuspendTask implements Approvals.
func (d *DB) SuspendTask(ctx context.Context, ref TaskRef, progress Progress, calls []PendingCall) error {
	return failing("suspending a task", d.suspendTask(ctx, ref, progress, calls))
}

func (d *DB) suspendTask(ctx context.Context, ref TaskRef, progress Progress, calls []PendingCall) error {
	if len(calls) == 0 {
		return fmt.Errorf("%w: nothing to wait for", ErrInvalid)
	}
	pending, err := pendingColumn(calls)
	if err != nil {
		return err
	}
	return d.engine.all(ctx, func(ctx context.Context, q querier) error {
		if err := writeProgress(ctx, q, ref, progress); err != nil {
			return err
		}
		changed, err := q.exec(ctx, `UPDATE tasks SET status = 3, lease_until = NULL, wake_time = NULL, pending_calls = $3
			WHERE tenant = $1 AND task_id = $2 AND NOT cancel_requested`, ref.Tenant, ref.ID, pending)
		if err == nil && changed == 0 {
			err = ErrCancelRequested
		}
		return err
	})
}

// ResolveCall implements Approvals.
func (d *DB) ResolveCall(
	ctx context.Context, tenant, id, callID string, decide func(Task) (Progress, error),
) (task Task, err error) {
	err = d.engine.all(ctx, func(ctx context.Context, q querier) error {
		// It changes the row, which holds off whoever else resolves a call.
		task, err = queryOne[Task](ctx, q, `UPDATE tasks SET steps = steps
			WHERE tenant = $1 AND task_id = $2 AND status = 3 RETURNING `+taskColumns, tenant, id)
		if errors.Is(err, ErrNotFound) {
			if _, err = queryOne[Task](ctx, q, getTask, tenant, id); err == nil {
				err = ErrNotPending
			}
		}
		if err != nil {
			return err
		}
		decided, err := decide(task)
		if err != nil {
			return err
		}
		task, err = d.resolve(ctx, q, task, callID, decided)
		return err
	})
	if err != nil {
		return Task{}, fmt.Errorf("resolving a call: %w", err)
	}
	return task, nil
}

const resolveCall = `UPDATE tasks SET steps = steps + CAST($4 AS BIGINT), last_sequence = $5, pending_calls = $6,
		status = CASE WHEN CAST($7 AS BIGINT) = 0 THEN 1 ELSE 3 END,
		run_after = CASE WHEN CAST($7 AS BIGINT) = 0 THEN @now ELSE run_after END,
		wake_time = CASE WHEN CAST($7 AS BIGINT) = 0 THEN @now + CAST($8 AS BIGINT) END
	WHERE tenant = $2 AND task_id = $3
	RETURNING ` + taskColumns

// resolve writes the decision about a call of a task that is locked.
func (d *DB) resolve(ctx context.Context, q querier, task Task, callID string, decided Progress) (Task, error) {
	left := slices.DeleteFunc(slices.Clone(task.Pending), func(c PendingCall) bool { return c.ID == callID })
	if len(left) == len(task.Pending) {
		return Task{}, ErrNotPending
	}
	pending, err := pendingColumn(left)
	if err != nil {
		return Task{}, err
	}
	first, last, err := span(decided.Events)
	if err != nil {
		return Task{}, err
	}
	if first <= task.LastSequence {
		return Task{}, ErrConflict
	}
	decided.Position = task.Steps
	if err := writeParts(ctx, q, task.Tenant, task.ID, decided); err != nil {
		return Task{}, err
	}
	return queryOne[Task](ctx, q, resolveCall, d.clock(), task.Tenant, task.ID, len(decided.Steps),
		max(last, task.LastSequence), pending, len(left), dispatchGrace.Microseconds())
}
