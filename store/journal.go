package store

import (
	"context"
	"fmt"
	"math"
)

// Journal is what running tasks leave behind while they run: the steps that
// are done, so that a take-over repeats none, and the events that watchers see.
type Journal interface {
	// AppendProgress writes all of it, or none: ErrFenced when the task is no
	// longer ref's, ErrConflict when a step or an event of it, or one that
	// comes after it, was written before.
	AppendProgress(ctx context.Context, ref TaskRef, progress Progress) error

	// ListSteps returns a task's steps, in order; none for an unknown task.
	ListSteps(ctx context.Context, tenant, taskID string) ([][]byte, error)

	// ListEvents returns up to limit of a task's events with a sequence above
	// after, in order; none for an unknown task.
	ListEvents(ctx context.Context, tenant, taskID string, after int64, limit int) ([]Event, error)
}

// Progress is what a running task has done since it last wrote. What is empty
// is not written.
type Progress struct {
	// Position is how many steps were journaled before these.
	Position int64
	// Steps should hold each message once: a step refers to those before it.
	Steps [][]byte
	// Usage is what the steps have used.
	Usage []UsageRow
	// Events rise in sequence.
	Events []Event
}

// Event is an entry of a task's event log.
type Event struct {
	// Sequence is its number in the task, above 0 and that of the one before.
	Sequence int64
	Payload  []byte
}

func (e *Event) columns() []any { return []any{&e.Sequence, &e.Payload} }

// AppendProgress implements Journal.
func (d *DB) AppendProgress(ctx context.Context, ref TaskRef, progress Progress) error {
	return failing("appending a task's progress", d.appendProgress(ctx, ref, progress))
}

func (d *DB) appendProgress(ctx context.Context, ref TaskRef, progress Progress) error {
	return d.engine.all(ctx, func(ctx context.Context, q querier) error {
		return writeProgress(ctx, q, ref, progress)
	})
}

// writeProgress writes what ref's worker has done, if ref has the task.
func writeProgress(ctx context.Context, q querier, ref TaskRef, progress Progress) error {
	first, last, err := span(progress.Events)
	if err != nil {
		return err
	}
	// It changes the row in any case, which holds off whoever claims the task
	// until all is written.
	changed, err := q.exec(ctx, `UPDATE tasks SET steps = steps + CAST($4 AS BIGINT),
			last_sequence = CASE WHEN CAST($7 AS BIGINT) = 0 THEN last_sequence ELSE CAST($7 AS BIGINT) END
		WHERE tenant = $1 AND task_id = $2 AND attempt = $3 AND status = 2
			AND (CAST($4 AS BIGINT) = 0 OR steps = $5) AND last_sequence < $6`,
		ref.Tenant, ref.ID, ref.Attempt, len(progress.Steps), progress.Position, first, last)
	if err != nil {
		return err
	}
	if changed == 0 {
		return refused(ctx, q, ref, StatusRunning)
	}
	return writeParts(ctx, q, ref.Tenant, ref.ID, progress)
}

// writeParts writes progress beside the task's own row.
func writeParts(ctx context.Context, q querier, tenant, taskID string, progress Progress) error {
	rows := make([][]any, 0, len(progress.Steps))
	for i, step := range progress.Steps {
		rows = append(rows, []any{tenant, taskID, progress.Position + int64(i) + 1, nonNil(step)})
	}
	if err := q.insert(ctx, "steps (tenant, task_id, position, step)", rows, ""); err != nil {
		return err
	}
	if err := writeUsage(ctx, q, progress.Usage); err != nil {
		return err
	}
	return writeEvents(ctx, q, tenant, taskID, progress.Events)
}

func writeEvents(ctx context.Context, q querier, tenant, taskID string, events []Event) error {
	rows := make([][]any, 0, len(events))
	for _, event := range events {
		rows = append(rows, []any{tenant, taskID, event.Sequence, nonNil(event.Payload)})
	}
	return q.insert(ctx, "events (tenant, task_id, sequence, payload)", rows, "")
}

// span is the first and the last sequence of events; above all and 0 for none.
func span(events []Event) (first, last int64, err error) {
	if len(events) == 0 {
		return math.MaxInt64, 0, nil
	}
	for _, event := range events {
		if event.Sequence <= last {
			return 0, 0, fmt.Errorf("%w: event %d after event %d", ErrConflict, event.Sequence, last)
		}
		last = event.Sequence
	}
	return events[0].Sequence, last, nil
}

// step is a row of the journal.
type step struct{ payload []byte }

func (s *step) columns() []any { return []any{&s.payload} }

// ListSteps implements Journal.
func (d *DB) ListSteps(ctx context.Context, tenant, taskID string) (steps [][]byte, err error) {
	err = d.engine.read(ctx, func(ctx context.Context, q querier) error {
		rows, err := query[step](ctx, q,
			"SELECT step FROM steps WHERE tenant = $1 AND task_id = $2 ORDER BY position", tenant, taskID)
		for _, row := range rows {
			steps = append(steps, row.payload)
		}
		return err
	})
	return steps, failing("listing a task's steps", err)
}

// ListEvents implements Journal.
func (d *DB) ListEvents(ctx context.Context, tenant, taskID string, after int64, limit int) (events []Event, err error) {
	err = d.engine.read(ctx, func(ctx context.Context, q querier) error {
		events, err = query[Event](ctx, q, `SELECT sequence, payload FROM events
			WHERE tenant = $1 AND task_id = $2 AND sequence > $3 ORDER BY sequence LIMIT $4`, tenant, taskID, after, max(limit, 0))
		return err
	})
	return events, failing("listing a task's events", err)
}
