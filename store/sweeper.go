package store

import (
	"context"
	"slices"
	"time"
)

// Sweeper is what one replica does for all: it looks for what was forgotten
// and deletes what is old.
type Sweeper interface {
	// Lead makes owner the leader of what name stands for, for as long as ttl,
	// or keeps it so, and says whether owner leads. At any time one does at most.
	Lead(ctx context.Context, name, owner string, ttl time.Duration) (bool, error)

	// Resign lets another lead at once, if owner leads.
	Resign(ctx context.Context, name, owner string) error

	// DueTasks returns up to limit tasks, of any tenant, that somebody should
	// claim: QUEUED and due, or RUNNING with a lease that has run out. Those
	// that wait longest come first.
	DueTasks(ctx context.Context, limit int) ([]DueTask, error)

	// PutOffTasks leaves out of DueTasks for as long as after those of tasks that
	// are still due. So who dispatches tasks first, and says so then, loses none
	// by dying in between.
	PutOffTasks(ctx context.Context, tasks []DueTask, after time.Duration) error

	// WakeTasks makes all tasks that somebody should claim such that DueTasks
	// returns them at once, for when it is known that nobody else tells of them.
	WakeTasks(ctx context.Context) error

	// BreakLeases ends all leases but those of one worker, so that DueTasks returns
	// all other RUNNING tasks. Only who knows that no other worker lives may do that.
	BreakLeases(ctx context.Context, but string) error

	// DeleteFinished deletes up to limit tasks, of any tenant, that ended more
	// than age ago, the oldest first, with all that belongs to them, and
	// returns how many. Sessions and usage stay.
	DeleteFinished(ctx context.Context, age time.Duration, limit int) (int64, error)
}

// DueTask is a task to be dispatched.
type DueTask struct {
	Tenant   string
	ID       string
	Priority int
	// Begun: a worker has had it before.
	Begun bool
}

func (t *DueTask) columns() []any { return []any{&t.Tenant, &t.ID, &t.Priority, &t.Begun} }

// Lead implements Sweeper.
func (d *DB) Lead(ctx context.Context, name, owner string, ttl time.Duration) (leads bool, err error) {
	err = d.engine.one(ctx, func(ctx context.Context, q querier) error {
		changed, err := q.exec(ctx, `INSERT INTO leaders (name, owner, until) VALUES ($2, $3, @now + $4)
			ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, until = excluded.until
				WHERE leaders.owner = excluded.owner OR leaders.until <= @now`,
			d.clock(), name, owner, ttl.Microseconds())
		leads = changed > 0
		return err
	})
	return leads && err == nil, failing("becoming the leader", err)
}

// Resign implements Sweeper.
func (d *DB) Resign(ctx context.Context, name, owner string) error {
	return failing("resigning as the leader", d.engine.one(ctx, func(ctx context.Context, q querier) error {
		_, err := q.exec(ctx, "DELETE FROM leaders WHERE name = $1 AND owner = $2", name, owner)
		return err
	}))
}

// DueTasks implements Sweeper.
func (d *DB) DueTasks(ctx context.Context, limit int) (tasks []DueTask, err error) {
	err = d.engine.read(ctx, func(ctx context.Context, q querier) error {
		tasks, err = query[DueTask](ctx, q, `SELECT tenant, task_id, priority, attempt > 0 FROM tasks
			WHERE wake_time <= @now ORDER BY wake_time LIMIT $2`, d.clock(), max(limit, 0))
		return err
	})
	return tasks, failing("looking for due tasks", err)
}

// PutOffTasks implements Sweeper.
func (d *DB) PutOffTasks(ctx context.Context, tasks []DueTask, after time.Duration) error {
	const most = 128 // a statement's
	for part := range slices.Chunk(tasks, most) {
		args := []any{d.clock(), after.Microseconds()}
		tuples := filled(len(part), 3, "$, $", func(i int) {
			args = append(args, part[i].Tenant, part[i].ID)
		})
		err := d.engine.one(ctx, func(ctx context.Context, q querier) error {
			_, err := q.exec(ctx, `UPDATE tasks SET wake_time = @now + $2
				WHERE (tenant, task_id) IN (VALUES `+tuples+`) AND wake_time <= @now`, args...)
			return err
		})
		if err != nil {
			return failing("putting tasks off", err)
		}
	}
	return nil
}

// WakeTasks implements Sweeper.
func (d *DB) WakeTasks(ctx context.Context) error {
	return failing("waking tasks", d.engine.one(ctx, func(ctx context.Context, q querier) error {
		_, err := q.exec(ctx, `UPDATE tasks SET wake_time = @now WHERE wake_time > @now
			AND (status = 1 AND run_after <= @now OR status = 2 AND lease_until <= @now)`, d.clock())
		return err
	}))
}

// BreakLeases implements Sweeper.
func (d *DB) BreakLeases(ctx context.Context, but string) error {
	return failing("breaking leases", d.engine.one(ctx, func(ctx context.Context, q querier) error {
		_, err := q.exec(ctx, `UPDATE tasks SET wake_time = @now, lease_until = @now
			WHERE wake_time > @now AND status = 2 AND worker <> $2`, d.clock(), but)
		return err
	}))
}

// DeleteFinished implements Sweeper.
func (d *DB) DeleteFinished(ctx context.Context, age time.Duration, limit int) (deleted int64, err error) {
	err = d.engine.one(ctx, func(ctx context.Context, q querier) error {
		deleted, err = q.exec(ctx, `WITH old AS MATERIALIZED (
				SELECT tenant, task_id FROM tasks WHERE finish_time < @now - $2 ORDER BY finish_time LIMIT $3 @skip_locked)
			DELETE FROM tasks WHERE (tenant, task_id) IN (SELECT tenant, task_id FROM old)`,
			d.clock(), age.Microseconds(), max(limit, 0))
		return err
	})
	return deleted, failing("deleting finished tasks", err)
}
