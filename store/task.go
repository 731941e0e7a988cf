package store

import (
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"
)

// Status is where a task stands. The values are those of the contract's TaskStatus.
type Status int64

// A task is QUEUED, RUNNING or WAITING for a person, by turns, until it ends in
// one of the others, which it never leaves.
const (
	StatusQueued    Status = 1
	StatusRunning   Status = 2
	StatusWaiting   Status = 3
	StatusCompleted Status = 4
	StatusFailed    Status = 5
	StatusCancelled Status = 6
)

// Ended says whether a task in this status never changes again.
func (s Status) Ended() bool { return s >= StatusCompleted }

// TaskSpec is what a task is to do. It never changes.
type TaskSpec struct {
	Tenant string
	// ID is unique in the tenant.
	ID        string
	UserID    string
	SessionID string
	// Key is the API key that it spends by; empty for none.
	Key   string
	Agent string
	// Priority is the caller's; the store hands it back to who dispatches.
	Priority int
	// RunAfter is when the task may first be claimed; zero is at once. In what
	// is read it is also when a task that is tried again may be.
	RunAfter time.Time
	// IdempotencyKey names the request in the tenant; empty for none.
	IdempotencyKey string
	// RequestHash tells requests with one key apart.
	RequestHash []byte
	// Labels are what ListTasks can look for.
	Labels  map[string]string
	Request []byte
}

// Task is a task as it stands.
type Task struct {
	TaskSpec

	Status Status
	// Attempt is how often the task was claimed. It fences the writes of
	// whoever claimed it before.
	Attempt int64
	// Failures is how often it was given back to be tried again.
	Failures int64
	// CancelRequested: it ends CANCELLED, whatever it is doing.
	CancelRequested bool
	// Worker has claimed it last; until LeaseUntil nobody else can.
	Worker     string
	LeaseUntil time.Time
	// Steps is how many are in its journal.
	Steps int64
	// LastSequence is the number of the last event in its log; 0 for none.
	LastSequence int64
	// Error is why it failed, or why it is tried again; empty otherwise.
	Error  string
	Result []byte
	// Pending are the tool calls that it waits for a decision about; none
	// unless it is WAITING.
	Pending []PendingCall

	CreateTime time.Time
	// StartTime is when it was first claimed.
	StartTime  time.Time
	FinishTime time.Time
}

// TaskRef is a task in the hands of the worker whose claim was its Attempt.
type TaskRef struct {
	Tenant  string
	ID      string
	Attempt int64
}

// Ref is the task in the hands of who claimed it last.
func (t *Task) Ref() TaskRef { return TaskRef{t.Tenant, t.ID, t.Attempt} }

// taskColumns are the columns of a Task, qualified for a list that joins.
const taskColumns = `tasks.tenant, tasks.task_id, tasks.user_id, tasks.session_id, tasks.key_name, tasks.agent, tasks.priority,
	tasks.run_after, tasks.idempotency_key, tasks.request_hash, tasks.labels, tasks.request, tasks.status,
	tasks.attempt, tasks.failures, tasks.cancel_requested, tasks.worker, tasks.lease_until, tasks.steps,
	tasks.last_sequence, tasks.error, tasks.result, tasks.create_time, tasks.start_time, tasks.finish_time,
	tasks.pending_calls`

func (t *Task) columns() []any {
	return []any{
		&t.Tenant, &t.ID, &t.UserID, &t.SessionID, &t.Key, &t.Agent, &t.Priority,
		instant{&t.RunAfter},
		&t.IdempotencyKey, &t.RequestHash,
		labels{&t.Labels},
		&t.Request, &t.Status,
		&t.Attempt, &t.Failures, &t.CancelRequested, &t.Worker,
		instant{&t.LeaseUntil},
		&t.Steps,
		&t.LastSequence, &t.Error, &t.Result,
		instant{&t.CreateTime},
		instant{&t.StartTime},
		instant{&t.FinishTime},
		pendingCalls{&t.Pending},
	}
}

// labels reads labels from their column.
type labels struct{ to *map[string]string }

// Scan implements sql.Scanner.
func (l labels) Scan(value any) error {
	text, ok := value.(string)
	if !ok {
		return fmt.Errorf("reading labels from a %T", value)
	}
	*l.to = nil
	if text == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(text), l.to); err != nil {
		return fmt.Errorf("reading labels: %w", err)
	}
	return nil
}

// labelsColumn is how labels are kept: a JSON object, or nothing.
func labelsColumn(all map[string]string) (string, error) {
	if len(all) == 0 {
		return "", nil
	}
	for name, value := range all {
		if !utf8.ValidString(name) || !utf8.ValidString(value) {
			return "", fmt.Errorf("%w: the label %q is not UTF-8", ErrInvalid, name)
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		return "", fmt.Errorf("writing labels: %w", err)
	}
	return string(text), nil
}

// labelKey is one label as it is looked for. No two labels have the same.
func labelKey(name, value string) string {
	return fmt.Sprintf("%q=%q", name, value)
}
