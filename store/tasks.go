package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Tasks is the side of the queue that a task's owner sees.
type Tasks interface {
	// SubmitTask keeps a new task, QUEUED, and returns it. A task with the
	// same idempotency key and request hash is returned as it stands instead,
	// with created false; with another hash it is ErrIdempotencyConflict. Of
	// callers with one key at one time one creates it. An id that is taken is
	// ErrExists.
	//
	// Who submits a task that is due dispatches it; a sweeper does, should
	// that not have happened a few seconds later.
	SubmitTask(ctx context.Context, spec TaskSpec) (task Task, created bool, err error)

	// SubmitClaimed is SubmitTask and, if it creates the task, ClaimTask in one
	// write. The order of a session is not looked at: the task's must be its own,
	// made with it. A task that names a time to run after is ErrInvalid.
	//
	// Should its answer be lost, the task is nobody's until the lease runs out.
	SubmitClaimed(ctx context.Context, spec TaskSpec, worker string, lease time.Duration) (task Task, created bool, err error)

	// GetTask returns a task, or ErrNotFound.
	GetTask(ctx context.Context, tenant, id string) (Task, error)

	// ListTasks returns a page of the tasks that filter leaves, newest first,
	// and the next page's token, empty at the end. A token it has not made is
	// ErrPageToken.
	ListTasks(ctx context.Context, filter TaskFilter, page Page) (tasks []Task, next string, err error)

	// CancelTask asks a task to end, and returns it. One that is queued or waits
	// for a person is CANCELLED at once, and what ending makes of it is written
	// with that; a running one has CancelRequested from then on; one that has
	// ended is left as it is. ending must only compute, may be called more than
	// once, and is not called unless the task is cancelled here; nil writes
	// nothing more. Its Status is ignored. A task that does not exist is
	// ErrNotFound.
	CancelTask(ctx context.Context, tenant, id string, ending func(Task) Ending) (Task, error)
}

// TaskFilter says which tasks to list; what is empty is not looked at.
type TaskFilter struct {
	// Tenant is always looked at.
	Tenant    string
	UserID    string
	SessionID string
	Statuses  []Status
	// Labels must all be on the task.
	Labels map[string]string
}

// dispatchGrace is how long the sweeper leaves a new task to its submitter.
const dispatchGrace = 5 * time.Second

const submitTask = `INSERT INTO tasks (tenant, task_id, user_id, session_id, agent, priority, create_time,
		run_after, wake_time, idempotency_key, request_hash, labels, request, key_name,
		status, attempt, worker, lease_until, start_time)
	VALUES ($2, $3, $4, $5, $6, $7, @now,
		CASE WHEN CAST($8 AS BIGINT) > @now THEN CAST($8 AS BIGINT) ELSE @now END,
		CASE WHEN CAST($8 AS BIGINT) > @now THEN CAST($8 AS BIGINT) ELSE @now + $9 END, $10, $11, $12, $13, $14,
		$15, $16, $17, @now + CAST($18 AS BIGINT), @now + CAST($19 AS BIGINT))
	ON CONFLICT (tenant, idempotency_key) WHERE idempotency_key <> '' DO NOTHING`

// SubmitTask implements Tasks.
func (d *DB) SubmitTask(ctx context.Context, spec TaskSpec) (task Task, created bool, err error) {
	return d.submit(ctx, Task{TaskSpec: spec, Status: StatusQueued}, dispatchGrace)
}

// SubmitClaimed implements Tasks.
func (d *DB) SubmitClaimed(
	ctx context.Context, spec TaskSpec, worker string, lease time.Duration,
) (task Task, created bool, err error) {
	if !spec.RunAfter.IsZero() {
		return Task{}, false, fmt.Errorf("submitting a claimed task: %w: it is not to run at once", ErrInvalid)
	}
	return d.submit(ctx, Task{TaskSpec: spec, Status: StatusRunning, Attempt: 1, Worker: worker}, lease)
}

// submit keeps a new task, which whoever sweeps looks at first after wake.
func (d *DB) submit(ctx context.Context, task Task, wake time.Duration) (_ Task, created bool, err error) {
	const doing = "submitting a task"
	for {
		made, err := d.insertTask(ctx, task, wake)
		if !errors.Is(err, ErrNotFound) {
			return made, err == nil, failing(doing, err)
		}
		there, err := d.taskOfKey(ctx, task.TaskSpec)
		// The key's task may have been deleted between the two.
		if !errors.Is(err, ErrNotFound) {
			return there, false, failing(doing, err)
		}
	}
}

// insertTask answers ErrNotFound when the idempotency key is taken.
func (d *DB) insertTask(ctx context.Context, task Task, wake time.Duration) (Task, error) {
	spec := task.TaskSpec
	labels, err := labelsColumn(spec.Labels)
	if err != nil {
		return Task{}, err
	}
	now := d.clock()
	var leased, started any // from now on
	if task.Status == StatusRunning {
		leased, started = wake.Microseconds(), 0
	}
	args := []any{
		now, spec.Tenant, spec.ID, spec.UserID, spec.SessionID, spec.Agent, spec.Priority, micros(spec.RunAfter),
		wake.Microseconds(), spec.IdempotencyKey, spec.RequestHash, labels, nonNil(spec.Request), spec.Key,
		int64(task.Status), task.Attempt, task.Worker, leased, started,
	}
	insert := func(ctx context.Context, q querier) error {
		created, err := insertNow(ctx, q, now, args)
		if err != nil {
			return err
		}
		task.CreateTime, task.RunAfter = created, created
		if after := spec.RunAfter.UTC().Truncate(time.Microsecond); after.After(created) {
			task.RunAfter = after
		}
		if task.Status == StatusRunning {
			task.StartTime, task.LeaseUntil = created, created.Add(wake)
		}
		return nil
	}
	if len(spec.Labels) == 0 {
		err = d.engine.one(ctx, insert)
		return task, err
	}
	err = d.engine.all(ctx, func(ctx context.Context, q querier) error {
		if err := insert(ctx, q); err != nil {
			return err
		}
		rows := make([][]any, 0, len(spec.Labels))
		for name, value := range spec.Labels {
			rows = append(rows, []any{spec.Tenant, labelKey(name, value), task.CreateTime.UnixMicro(), spec.ID})
		}
		return q.insert(ctx, "task_labels (tenant, label, create_time, task_id)", rows, "")
	})
	return task, err
}

// insertNow inserts a task and returns when that was.
func insertNow(ctx context.Context, q querier, now any, args []any) (time.Time, error) {
	micros, ok := now.(int64)
	if !ok { // only the database knows
		made, err := queryOne[number](ctx, q, submitTask+" RETURNING create_time", args...)
		return time.UnixMicro(made.value).UTC(), err
	}
	// What SQLite returns of a row costs it a third of the row.
	changed, err := q.exec(ctx, submitTask, args...)
	if err == nil && changed == 0 {
		err = ErrNotFound
	}
	return time.UnixMicro(micros).UTC(), err
}

// taskOfKey is the task that has spec's idempotency key.
func (d *DB) taskOfKey(ctx context.Context, spec TaskSpec) (task Task, err error) {
	const statement = "SELECT " + taskColumns + ` FROM tasks
		WHERE tenant = $1 AND idempotency_key = $2 AND idempotency_key <> ''`
	err = d.engine.read(ctx, func(ctx context.Context, q querier) error {
		task, err = queryOne[Task](ctx, q, statement, spec.Tenant, spec.IdempotencyKey)
		return err
	})
	if err == nil && !bytes.Equal(task.RequestHash, spec.RequestHash) {
		return Task{}, ErrIdempotencyConflict
	}
	return task, err
}

const getTask = "SELECT " + taskColumns + " FROM tasks WHERE tenant = $1 AND task_id = $2"

// GetTask implements Tasks.
func (d *DB) GetTask(ctx context.Context, tenant, id string) (task Task, err error) {
	err = d.engine.read(ctx, func(ctx context.Context, q querier) error {
		task, err = queryOne[Task](ctx, q, getTask, tenant, id)
		return err
	})
	return task, failing("getting a task", err)
}

// ListTasks implements Tasks.
func (d *DB) ListTasks(ctx context.Context, filter TaskFilter, page Page) ([]Task, string, error) {
	l, err := filter.listing(page)
	if err != nil {
		return nil, "", failing("listing tasks", err)
	}
	tasks, next, err := readPage(ctx, d, l, page, func(t Task) cursor {
		return cursor{t.CreateTime.UnixMicro(), t.ID}
	})
	return tasks, next, failing("listing tasks", err)
}

func (f TaskFilter) listing(page Page) (*listing, error) {
	from, order, id := " FROM tasks", "tasks.create_time", "tasks.task_id"
	if len(f.Labels) > 0 { // few tasks have a label, so the list begins there
		from, order, id = from+" JOIN task_labels USING (tenant, task_id)", "task_labels.create_time", "task_labels.task_id"
	}
	l := list("SELECT "+taskColumns+from+" WHERE tasks.tenant = $1", f.Tenant)
	first := true
	for _, name := range slices.Sorted(maps.Keys(f.Labels)) { // the same list is the same statement
		value := f.Labels[name]
		if first {
			l.and("task_labels.label = ?", labelKey(name, value))
			first = false
			continue
		}
		l.and(`EXISTS (SELECT 1 FROM task_labels other WHERE other.tenant = tasks.tenant
			AND other.task_id = tasks.task_id AND other.label = ?)`, labelKey(name, value))
	}
	switch {
	case f.UserID == "":
	case len(f.Statuses) > 0 && slices.Max(f.Statuses) < StatusCompleted:
		l.and("@filter tasks.user_id = ?", f.UserID) // of a user's tasks, few are open
	default:
		l.and("tasks.user_id = ?", f.UserID)
	}
	if f.SessionID != "" {
		l.and("tasks.session_id = ?", f.SessionID)
	}
	if err := l.statuses(f.Statuses); err != nil {
		return nil, err
	}
	return l, l.newest(page, order, id)
}

// statuses leaves the tasks in one of them, and says so in the words of the
// index that holds no others, when there is one.
func (l *listing) statuses(all []Status) error {
	if len(all) == 0 {
		return nil
	}
	all = slices.Compact(slices.Sorted(slices.Values(all)))
	lowest, highest := all[0], all[len(all)-1]
	if lowest < StatusQueued || highest > StatusCancelled {
		return fmt.Errorf("%w: status %d or %d", ErrInvalid, lowest, highest)
	}
	switch {
	case highest < StatusCompleted:
		l.and("tasks.finish_time IS NULL")
	case lowest > StatusCompleted:
		l.and("tasks.status > 4")
	}
	// Numbers rather than parameters: how many tasks have each decides the plan.
	var numbers []string
	for _, status := range all {
		numbers = append(numbers, strconv.Itoa(int(status)))
	}
	l.and("tasks.status IN (" + strings.Join(numbers, ", ") + ")")
	return nil
}

const cancelTask = `UPDATE tasks SET cancel_requested = TRUE,
		finish_time = CASE WHEN status <> 2 THEN @now END,
		wake_time = CASE WHEN status <> 2 THEN NULL ELSE wake_time END,
		status = CASE WHEN status <> 2 THEN 6 ELSE status END, pending_calls = NULL
	WHERE tenant = $2 AND task_id = $3 AND status < 4
	RETURNING ` + taskColumns

// CancelTask implements Tasks.
func (d *DB) CancelTask(ctx context.Context, tenant, id string, ending func(Task) Ending) (task Task, err error) {
	err = d.engine.all(ctx, func(ctx context.Context, q querier) error {
		task, err = queryOne[Task](ctx, q, cancelTask, d.clock(), tenant, id)
		if errors.Is(err, ErrNotFound) { // or it has ended
			task, err = queryOne[Task](ctx, q, getTask, tenant, id)
			return err
		}
		if err != nil || task.Status != StatusCancelled {
			return err
		}
		if ending != nil {
			if task, err = d.endCancelled(ctx, q, task, ending(task)); err != nil {
				return err
			}
		}
		return d.wakeNext(ctx, q, tenant, id)
	})
	if err != nil {
		return Task{}, fmt.Errorf("cancelling a task: %w", err)
	}
	return task, nil
}

// endCancelled writes the ending of a task that was cancelled while nobody ran it.
func (d *DB) endCancelled(ctx context.Context, q querier, task Task, end Ending) (Task, error) {
	first, last, err := span(end.Events)
	if err != nil {
		return Task{}, err
	}
	if first <= task.LastSequence {
		return Task{}, ErrConflict
	}
	task, err = queryOne[Task](ctx, q, `UPDATE tasks SET result = $3, error = $4, last_sequence = $5
		WHERE tenant = $1 AND task_id = $2 RETURNING `+taskColumns,
		task.Tenant, task.ID, end.Result, prose(end.Error), max(last, task.LastSequence))
	if err != nil {
		return Task{}, err
	}
	return task, d.writeEnding(ctx, q, task.Tenant, task.ID, end)
}

// nonNil keeps an absent value as an empty one.
func nonNil(value []byte) []byte {
	if value == nil {
		return []byte{}
	}
	return value
}
