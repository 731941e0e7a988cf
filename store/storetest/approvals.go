package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/runwire/runwire/store"
)

func approvalTests() map[string]func(*testing.T, *world) {
	return map[string]func(*testing.T, *world){
		"a task waits for people as long as it takes":        suspend,
		"a task goes on when all is decided":                 resolveAll,
		"only a call that is pending is decided":             resolveNone,
		"of many who decide about a call one does":           resolveOnce,
		"a decision that can not be written changes nothing": resolveNothing,
		"a task that is cancelled does not wait":             suspendCancelled,
		"a task that waits is cancelled at once":             cancelWaiting,
		"a worker that lost its task does not suspend it":    suspendFenced,
		"a task that waits holds up those behind it":         waitInSession,
	}
}

// suspended is a task that waits for decisions about calls of these ids.
func (w *world) suspended(t *testing.T, task store.Task, calls ...string) store.Task {
	t.Helper()
	pending := make([]store.PendingCall, len(calls))
	for i, id := range calls {
		pending[i] = store.PendingCall{ID: id, Tool: "mail", Arguments: `{"to": "\u0000"}`, RequestTime: w.clock.Now()}
	}
	succeeds(t, w.SuspendTask(t.Context(), task.Ref(), store.Progress{
		Position: task.Steps, Steps: [][]byte{[]byte("asked")},
		Events: []store.Event{{Sequence: task.LastSequence + 1, Payload: []byte("requested")}},
	}, pending))
	task.Status, task.LeaseUntil, task.Pending = store.StatusWaiting, time.Time{}, pending
	task.Steps++
	task.LastSequence++
	same(t, "what is kept", w.task(t, task.ID), task)
	return task
}

// decided is what a decision writes.
func decided(what string) func(store.Task) (store.Progress, error) {
	return func(task store.Task) (store.Progress, error) {
		return store.Progress{
			Steps:  [][]byte{[]byte(what)},
			Events: []store.Event{{Sequence: task.LastSequence + 1, Payload: []byte(what)}},
		}, nil
	}
}

func suspend(t *testing.T, w *world) {
	task := w.suspended(t, w.claim(t, "t1"), "a")
	w.clock.advance(1000 * time.Hour)
	w.due(t)
	succeeds(t, w.WakeTasks(t.Context()))
	succeeds(t, w.BreakLeases(t.Context(), "none"))
	w.due(t)
	deleted, err := w.DeleteFinished(t.Context(), time.Hour, 10)
	succeeds(t, err)
	same(t, "deleted tasks", deleted, int64(0))
	got, err := w.ClaimTask(t.Context(), tenant, "t1", "worker", lease)
	fails(t, err, store.ErrNotDue)
	same(t, "the task as it stands", got, task)
	listed, _, err := w.ListTasks(t.Context(), store.TaskFilter{
		Tenant: tenant, Statuses: []store.Status{store.StatusWaiting},
	}, store.Page{Size: 10})
	succeeds(t, err)
	same(t, "those that wait", listed, []store.Task{task})
}

func resolveAll(t *testing.T, w *world) {
	task := w.suspended(t, w.claim(t, "t1"), "a", "b")
	w.clock.advance(time.Hour)
	got, err := w.ResolveCall(t.Context(), tenant, "t1", "b", decided("b is decided"))
	succeeds(t, err)
	task.Pending, task.Steps, task.LastSequence = task.Pending[:1], 2, 2
	same(t, "the answer", got, task)
	same(t, "what is kept", w.task(t, "t1"), task)

	got, err = w.ResolveCall(t.Context(), tenant, "t1", "a", decided("a is decided"))
	succeeds(t, err)
	task.Status, task.RunAfter = store.StatusQueued, w.clock.Now()
	task.Pending, task.Steps, task.LastSequence = nil, 3, 3
	same(t, "the answer", got, task)
	same(t, "what is kept", w.task(t, "t1"), task)
	same(t, "steps", w.steps(t, "t1"), []string{"asked", "b is decided", "a is decided"})
	same(t, "events", w.events(t, "t1"), []string{"1 requested", "2 b is decided", "3 a is decided"})

	w.clock.advance(time.Minute) // nobody has dispatched it
	same(t, "due tasks", w.dueTasks(t), []store.DueTask{{Tenant: tenant, ID: "t1", Priority: 2, Begun: true}})
	same(t, "the attempt", w.reclaim(t, "t1", "another").Attempt, int64(2))
}

func resolveNone(t *testing.T, w *world) {
	never := decided("nothing")
	refused := func(id, call string, want error) {
		t.Helper()
		_, err := w.ResolveCall(t.Context(), tenant, id, call, never)
		fails(t, err, want)
	}
	refused("none", "a", store.ErrNotFound)
	w.submit(t, "queued")
	refused("queued", "a", store.ErrNotPending)
	running := w.claim(t, "running")
	refused("running", "a", store.ErrNotPending)
	task := w.suspended(t, running, "a")
	refused("running", "b", store.ErrNotPending)
	_, err := w.ResolveCall(t.Context(), "another tenant", "running", "a", never)
	fails(t, err, store.ErrNotFound)
	same(t, "what is kept", w.task(t, "running"), task)
	idle := w.claim(t, "no calls")
	fails(t, w.SuspendTask(t.Context(), idle.Ref(), store.Progress{}, nil), store.ErrInvalid)
}

func resolveOnce(t *testing.T, w *world) {
	w.suspended(t, w.claim(t, "t1"), "a", "b")
	var deciding sync.WaitGroup
	errs := make([]error, 16)
	for i := range errs {
		deciding.Go(func() {
			_, errs[i] = w.ResolveCall(t.Context(), tenant, "t1", []string{"a", "b"}[i%2], decided(fmt.Sprint(i)))
		})
	}
	deciding.Wait()
	decisions := 0
	for _, err := range errs {
		if err == nil {
			decisions++
		} else if !errors.Is(err, store.ErrNotPending) {
			t.Error(err)
		}
	}
	same(t, "decisions", decisions, 2)
	same(t, "steps", len(w.steps(t, "t1")), 3)
	same(t, "the status", w.task(t, "t1").Status, store.StatusQueued)
}

func resolveNothing(t *testing.T, w *world) {
	task := w.suspended(t, w.claim(t, "t1"), "a")
	decide := func(err error) error {
		_, err = w.ResolveCall(t.Context(), tenant, "t1", "a", func(store.Task) (store.Progress, error) {
			return store.Progress{Steps: [][]byte{[]byte("late")}, Events: []store.Event{{Sequence: 1}}}, err
		})
		return err
	}
	undecided := errors.New("undecided")
	fails(t, decide(undecided), undecided)
	fails(t, decide(nil), store.ErrConflict)
	same(t, "what is kept", w.task(t, "t1"), task)
	same(t, "steps", w.steps(t, "t1"), []string{"asked"})
}

func suspendCancelled(t *testing.T, w *world) {
	task := w.claim(t, "t1")
	want, err := w.CancelTask(t.Context(), tenant, "t1", nil)
	succeeds(t, err)
	err = w.SuspendTask(t.Context(), task.Ref(), store.Progress{Steps: [][]byte{[]byte("asked")}},
		[]store.PendingCall{{ID: "a"}})
	fails(t, err, store.ErrCancelRequested)
	same(t, "what is kept", w.task(t, "t1"), want)
	same(t, "steps", w.steps(t, "t1"), []string{})
}

func cancelWaiting(t *testing.T, w *world) {
	want := w.suspended(t, w.claim(t, "t1"), "a")
	w.clock.advance(time.Second)
	got, err := w.CancelTask(t.Context(), tenant, "t1", func(task store.Task) store.Ending {
		return store.Ending{Result: []byte("cancelled"), Events: []store.Event{{Sequence: task.LastSequence + 1}}}
	})
	succeeds(t, err)
	want.Status, want.CancelRequested, want.FinishTime = store.StatusCancelled, true, w.clock.Now()
	want.Pending, want.Result, want.LastSequence = nil, []byte("cancelled"), 2
	same(t, "the answer", got, want)
	same(t, "what is kept", w.task(t, "t1"), want)
	_, err = w.ResolveCall(t.Context(), tenant, "t1", "a", decided("too late"))
	fails(t, err, store.ErrNotPending)
	w.clock.advance(2 * time.Hour)
	deleted, err := w.DeleteFinished(t.Context(), time.Hour, 10)
	succeeds(t, err)
	same(t, "deleted tasks", deleted, int64(1))
}

func suspendFenced(t *testing.T, w *world) {
	lost := w.claim(t, "t1")
	w.clock.advance(lease)
	current := w.reclaim(t, "t1", "worker")
	calls := []store.PendingCall{{ID: "a"}}
	fails(t, w.SuspendTask(t.Context(), lost.Ref(), store.Progress{}, calls), store.ErrFenced)
	same(t, "what is kept", w.task(t, "t1"), current)
	w.suspended(t, current, "a")
	fails(t, w.SuspendTask(t.Context(), current.Ref(), store.Progress{}, calls), store.ErrFenced)
	fails(t, w.ReleaseTask(t.Context(), current.Ref(), 0), store.ErrFenced)
	err := w.FinishTask(t.Context(), current.Ref(), store.Ending{Status: store.StatusFailed})
	fails(t, err, store.ErrFenced)
	held, err := w.RenewLeases(t.Context(), "worker", []store.TaskRef{current.Ref()}, lease)
	succeeds(t, err)
	same(t, "what the worker has", len(held), 0)
}

func waitInSession(t *testing.T, w *world) {
	w.suspended(t, w.claimIn(t, "chat", "t1"), "a")
	w.clock.advance(time.Second)
	s := spec("t2")
	s.SessionID = "chat"
	_, _, err := w.SubmitTask(t.Context(), s)
	succeeds(t, err)
	_, err = w.ClaimTask(t.Context(), tenant, "t2", "worker", lease)
	fails(t, err, store.ErrNotDue)
	_, err = w.TurnInSession(t.Context(), tenant, "chat")
	fails(t, err, store.ErrNotFound)
	_, err = w.CancelTask(t.Context(), tenant, "t1", nil)
	succeeds(t, err)
	next, err := w.TurnInSession(t.Context(), tenant, "chat")
	succeeds(t, err)
	same(t, "whose turn it is", next.ID, "t2")
	w.reclaim(t, "t2", "worker")
}
