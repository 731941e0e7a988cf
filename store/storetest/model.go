package storetest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/runwire/runwire/store"
)

// followModel does whatever can be done to tasks, in any order, and compares
// each answer with what a few lines of Go say it must be.
func followModel(t *testing.T, w *world) {
	t.Helper()
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		m := &machine{T: rt, t: t, world: w, prefix: fmt.Sprint("run", runs, "-"), tasks: map[string]*store.Task{}}
		rt.Repeat(map[string]func(*rapid.T){
			"submit": m.submitOne, "submit claimed": m.submitClaimed, "claim": m.claimOne, "cancel": m.cancelOne, "finish": m.finishOne,
			"release": m.releaseOne, "retry": m.retryOne, "renew": m.renewOne, "progress": m.progressOne,
			"suspend": m.suspendOne, "resolve": m.resolveOne, "wait": m.wait, "": m.compare,
		})
	})
}

// machine is the model: the tasks as they should be.
type machine struct {
	*rapid.T
	*world

	t      *testing.T
	prefix string
	tasks  map[string]*store.Task
	// refs are what workers were given, by task; most are out of date.
	refs []store.TaskRef
}

func (m *machine) wait(*rapid.T) {
	m.clock.advance(time.Duration(rapid.IntRange(1, 40).Draw(m.T, "seconds")) * time.Second)
}

func (m *machine) submitOne(*rapid.T) {
	s := spec(fmt.Sprint(m.prefix, len(m.tasks)))
	s.UserID, s.SessionID = m.prefix, m.prefix+rapid.SampledFrom([]string{"a", "b", "c"}).Draw(m.T, "session")
	s.RunAfter = m.clock.Now().Add(time.Duration(rapid.IntRange(0, 20).Draw(m.T, "delay")) * time.Second)
	task, _, err := m.SubmitTask(m.t.Context(), s)
	succeeds(m.t, err)
	m.tasks[s.ID] = &store.Task{TaskSpec: s, Status: store.StatusQueued, CreateTime: m.clock.Now()}
	same(m.t, "submitted", task, *m.tasks[s.ID])
}

func (m *machine) submitClaimed(*rapid.T) {
	s := spec(fmt.Sprint(m.prefix, len(m.tasks)))
	s.UserID = m.prefix
	task, _, err := m.SubmitClaimed(m.t.Context(), s, "worker", lease)
	succeeds(m.t, err)
	now := m.clock.Now()
	s.RunAfter = now
	m.tasks[s.ID] = &store.Task{
		TaskSpec: s, Status: store.StatusRunning, Attempt: 1, Worker: "worker",
		CreateTime: now, StartTime: now, LeaseUntil: now.Add(lease),
	}
	m.refs = append(m.refs, task.Ref())
	same(m.t, "submitted", task, *m.tasks[s.ID])
}

// any is one of the tasks.
func (m *machine) any() *store.Task {
	if len(m.tasks) == 0 {
		m.Skip("no task yet")
	}
	return m.tasks[rapid.SampledFrom(slices.Sorted(maps.Keys(m.tasks))).Draw(m.T, "task")]
}

// anyRef is what a worker was given once, and the task if it still has it.
func (m *machine) anyRef() (store.TaskRef, *store.Task) {
	if len(m.refs) == 0 {
		m.Skip("no claim yet")
	}
	ref := rapid.SampledFrom(m.refs).Draw(m.T, "ref")
	task := m.tasks[ref.ID]
	if task.Status != store.StatusRunning || task.Attempt != ref.Attempt {
		return ref, nil
	}
	return ref, task
}

func (m *machine) claimOne(*rapid.T) {
	task, now := m.any(), m.clock.Now()
	var want error
	switch {
	case task.Status.Ended():
		want = store.ErrEnded
	case task.Status == store.StatusWaiting,
		task.Status == store.StatusQueued && (task.RunAfter.After(now) || m.waitsForOthers(task, now)):
		want = store.ErrNotDue
	case task.Status == store.StatusRunning && task.LeaseUntil.After(now):
		want = store.ErrLeased
	default:
		task.Status, task.Worker, task.LeaseUntil = store.StatusRunning, "worker", now.Add(lease)
		task.Attempt++
		if task.StartTime.IsZero() {
			task.StartTime = now
		}
		m.refs = append(m.refs, task.Ref())
	}
	got, err := m.ClaimTask(m.t.Context(), tenant, task.ID, "worker", lease)
	m.agree(err, want)
	same(m.t, "claimed", got, *task)
}

// waitsForOthers says whether another task of the session goes first.
func (m *machine) waitsForOthers(task *store.Task, now time.Time) bool {
	for _, other := range m.tasks {
		if other == task || other.SessionID != task.SessionID || other.Status.Ended() {
			continue
		}
		earlier := other.CreateTime.Before(task.CreateTime) || other.CreateTime.Equal(task.CreateTime) && other.ID < task.ID
		if other.Status == store.StatusRunning || earlier && (!other.RunAfter.After(now) || other.Attempt > 0) {
			return true
		}
	}
	return false
}

func (m *machine) agree(err, want error) {
	m.t.Helper()
	if !errors.Is(err, want) {
		m.t.Fatalf("got error %v, want %v", err, want)
	}
}

func (m *machine) cancelOne(*rapid.T) {
	task := m.any()
	if !task.Status.Ended() {
		task.CancelRequested = true
	}
	if task.Status == store.StatusQueued || task.Status == store.StatusWaiting {
		task.Pending = nil
		task.Status, task.FinishTime = store.StatusCancelled, m.clock.Now()
	}
	got, err := m.CancelTask(m.t.Context(), tenant, task.ID, nil)
	succeeds(m.t, err)
	same(m.t, "cancelled", got, *task)
}

func (m *machine) finishOne(*rapid.T) {
	ref, task := m.anyRef()
	status := rapid.SampledFrom([]store.Status{
		store.StatusCompleted, store.StatusFailed, store.StatusCancelled,
	}).Draw(m.T, "status")
	var want error
	switch {
	case task == nil:
		want = store.ErrFenced
	case task.CancelRequested && status != store.StatusCancelled:
		want = store.ErrCancelRequested
	default:
		task.Status, task.FinishTime, task.LeaseUntil, task.Error = status, m.clock.Now(), time.Time{}, ""
	}
	err := m.FinishTask(m.t.Context(), ref, store.Ending{Status: status})
	m.agree(err, want)
}

func (m *machine) releaseOne(*rapid.T) {
	ref, task := m.anyRef()
	m.queue(task, 0)
	m.agree(m.ReleaseTask(m.t.Context(), ref, 0), fencedIf(task == nil))
}

func (m *machine) retryOne(*rapid.T) {
	ref, task := m.anyRef()
	after := 5 * time.Second
	if task != nil {
		task.Failures++
		task.Error = "oops"
		if task.CancelRequested {
			m.queue(task, 0)
		} else {
			m.queue(task, after)
		}
	}
	m.agree(m.RetryTask(m.t.Context(), ref, after, "oops"), fencedIf(task == nil))
}

func (m *machine) queue(task *store.Task, after time.Duration) {
	if task != nil {
		task.Status, task.LeaseUntil, task.RunAfter = store.StatusQueued, time.Time{}, m.clock.Now().Add(after)
	}
}

func fencedIf(fenced bool) error {
	if fenced {
		return store.ErrFenced
	}
	return nil
}

func (m *machine) renewOne(*rapid.T) {
	ref, task := m.anyRef()
	var want []store.Held
	if task != nil {
		task.LeaseUntil = m.clock.Now().Add(lease)
		want = []store.Held{{TaskRef: ref, CancelRequested: task.CancelRequested}}
	}
	held, err := m.RenewLeases(m.t.Context(), "worker", []store.TaskRef{ref}, lease)
	succeeds(m.t, err)
	same(m.t, "held", held, want)
}

func (m *machine) progressOne(*rapid.T) {
	ref, task := m.anyRef()
	progress := store.Progress{Steps: [][]byte{{1}}, Events: []store.Event{{Sequence: 1}}}
	if task != nil {
		progress.Position, progress.Events[0].Sequence = task.Steps, task.LastSequence+1
		task.Steps++
		task.LastSequence++
	}
	m.agree(m.AppendProgress(m.t.Context(), ref, progress), fencedIf(task == nil))
}

func (m *machine) suspendOne(*rapid.T) {
	ref, task := m.anyRef()
	calls := []store.PendingCall{
		{ID: "a", Tool: "t", Arguments: "{}", RequestTime: m.clock.Now()}, {ID: "b", RequestTime: m.clock.Now()},
	}[:rapid.IntRange(1, 2).Draw(m.T, "calls")]
	progress := store.Progress{Steps: [][]byte{{2}}}
	var want error
	switch {
	case task == nil:
		want = store.ErrFenced
	case task.CancelRequested:
		progress.Position, want = task.Steps, store.ErrCancelRequested
	default:
		progress.Position = task.Steps
		task.Steps++
		task.Status, task.LeaseUntil, task.Pending = store.StatusWaiting, time.Time{}, calls
	}
	m.agree(m.SuspendTask(m.t.Context(), ref, progress, calls), want)
}

func (m *machine) resolveOne(*rapid.T) {
	task := m.any()
	call := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(m.T, "call")
	left := slices.DeleteFunc(slices.Clone(task.Pending), func(c store.PendingCall) bool { return c.ID == call })
	var want error
	if len(left) == len(task.Pending) {
		want = store.ErrNotPending
	} else {
		task.Steps++
		if task.Pending = left; len(left) == 0 {
			task.Pending = nil
			m.queue(task, 0)
		}
	}
	got, err := m.ResolveCall(m.t.Context(), tenant, task.ID, call, func(store.Task) (store.Progress, error) {
		return store.Progress{Steps: [][]byte{{3}}}, nil
	})
	m.agree(err, want)
	if want == nil {
		same(m.t, "resolved", got, *task)
	}
}

// compare looks at every task after each thing that was done.
func (m *machine) compare(*rapid.T) {
	filter := store.TaskFilter{Tenant: tenant, UserID: m.prefix}
	tasks, _, err := m.ListTasks(m.t.Context(), filter, store.Page{Size: 1000})
	succeeds(m.t, err)
	same(m.t, "how many are kept", len(tasks), len(m.tasks))
	for _, task := range tasks {
		same(m.t, "kept", task, *m.tasks[task.ID])
	}
}
