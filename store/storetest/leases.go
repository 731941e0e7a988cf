package storetest

import (
	"testing"
	"time"

	"github.com/runwire/runwire/store"
)

func leaseTests() map[string]func(*testing.T, *world) {
	return map[string]func(*testing.T, *world){
		"a claim gives a task to one worker":              claimOnce,
		"a task can be claimed as it is submitted":        submitClaimed,
		"a task is claimed again once its lease runs out": claimLapsed,
		"a task is not claimed before its time":           claimNotDue,
		"a worker that lost its task changes nothing":     fencing,
		"a renewal keeps a task and tells of a cancel":    renew,
		"a renewal takes any number of tasks":             renewMany,
		"a released task is claimed at once":              release,
		"a task is tried again after a while":             retry,
		"a cancel does not wait for the next try":         retryCancelled,
		"the tasks of a session go in turn":               turnsInSession,
	}
}

func claimOnce(t *testing.T, w *world) {
	want := w.submit(t, "t1")
	w.clock.advance(time.Second)
	task := w.reclaim(t, "t1", "worker a")
	want.Status, want.Attempt, want.Worker = store.StatusRunning, 1, "worker a"
	want.LeaseUntil, want.StartTime = w.clock.Now().Add(lease), w.clock.Now()
	same(t, "the answer", task, want)
	same(t, "what is kept", w.task(t, "t1"), want)

	w.clock.advance(lease - time.Microsecond)
	task, err := w.ClaimTask(t.Context(), tenant, "t1", "worker b", lease)
	fails(t, err, store.ErrLeased)
	fails(t, err, store.ErrNotClaimable)
	same(t, "the task as it stands", task, want)
}

func submitClaimed(t *testing.T, w *world) {
	s := spec("t1")
	s.IdempotencyKey, s.RequestHash, s.Labels = "key", []byte("hash"), map[string]string{"team": "blue"}
	task, created, err := w.SubmitClaimed(t.Context(), s, "worker a", lease)
	succeeds(t, err)
	same(t, "created", created, true)
	now := w.clock.Now()
	want := store.Task{
		TaskSpec: s, Status: store.StatusRunning, Attempt: 1, Worker: "worker a",
		CreateTime: now, StartTime: now, LeaseUntil: now.Add(lease),
	}
	want.RunAfter = now
	same(t, "the answer", task, want)
	same(t, "what is kept", w.task(t, "t1"), want)
	listed, _, err := w.ListTasks(t.Context(), store.TaskFilter{Tenant: tenant, Labels: s.Labels}, store.Page{Size: 10})
	succeeds(t, err)
	same(t, "tasks of its label", len(listed), 1)

	_, err = w.ClaimTask(t.Context(), tenant, "t1", "worker b", lease)
	fails(t, err, store.ErrLeased)
	w.clock.advance(lease - time.Microsecond)
	w.due(t)
	again, created, err := w.SubmitClaimed(t.Context(), s, "worker b", lease)
	succeeds(t, err)
	same(t, "created", created, false)
	same(t, "the task of the key", again, want)

	behind := spec("t2")
	behind.SessionID = s.SessionID
	_, _, err = w.SubmitTask(t.Context(), behind)
	succeeds(t, err)
	_, err = w.ClaimTask(t.Context(), tenant, "t2", "worker b", lease)
	fails(t, err, store.ErrNotDue)

	w.clock.advance(time.Microsecond)
	w.due(t, "t1")
	taken := w.reclaim(t, "t1", "worker b")
	same(t, "the attempt", taken.Attempt, int64(2))
	same(t, "the start", taken.StartTime, now)
	fails(t, w.ReleaseTask(t.Context(), task.Ref(), 0), store.ErrFenced)

	late := spec("t3")
	late.RunAfter = w.clock.Now().Add(time.Minute)
	_, _, err = w.SubmitClaimed(t.Context(), late, "worker a", lease)
	fails(t, err, store.ErrInvalid)
}

func claimLapsed(t *testing.T, w *world) {
	first := w.claim(t, "t1")
	w.clock.advance(lease)
	second := w.reclaim(t, "t1", "worker b")
	same(t, "the attempt", second.Attempt, int64(2))
	same(t, "the worker", second.Worker, "worker b")
	same(t, "the start", second.StartTime, first.StartTime)
	same(t, "the lease", second.LeaseUntil, w.clock.Now().Add(lease))
}

func claimNotDue(t *testing.T, w *world) {
	s := spec("t1")
	s.RunAfter = w.clock.Now().Add(time.Minute)
	_, _, err := w.SubmitTask(t.Context(), s)
	succeeds(t, err)
	w.clock.advance(time.Minute - time.Microsecond)
	task, err := w.ClaimTask(t.Context(), tenant, "t1", "worker", lease)
	fails(t, err, store.ErrNotDue)
	same(t, "when it is due", task.RunAfter, s.RunAfter)
	w.clock.advance(time.Microsecond)
	w.reclaim(t, "t1", "worker")
}

func fencing(t *testing.T, w *world) {
	lost := w.claim(t, "t1")
	old := lost.Ref()
	w.clock.advance(lease)
	current := w.reclaim(t, "t1", "worker") // by the same name: the attempt decides
	unchanged := func() {
		t.Helper()
		err := w.FinishTask(t.Context(), old, store.Ending{Status: store.StatusFailed})
		fails(t, err, store.ErrFenced)
		fails(t, w.AppendProgress(t.Context(), old, store.Progress{Steps: [][]byte{{1}}}), store.ErrFenced)
		fails(t, w.ReleaseTask(t.Context(), old, 0), store.ErrFenced)
		fails(t, w.RetryTask(t.Context(), old, 0, "oops"), store.ErrFenced)
		held, err := w.RenewLeases(t.Context(), "worker", []store.TaskRef{old}, lease)
		succeeds(t, err)
		same(t, "what the old one has", len(held), 0)
	}
	unchanged()
	same(t, "what is kept", w.task(t, "t1"), current)
	same(t, "steps", w.steps(t, "t1"), []string{})

	ended := w.finish(t, current, store.Ending{Status: store.StatusCompleted})
	unchanged()
	old = current.Ref()
	unchanged()
	same(t, "what is kept", w.task(t, "t1"), ended)

	old.ID = "none"
	unchanged()
}

func renew(t *testing.T, w *world) {
	a, b, c := w.claim(t, "a"), w.claim(t, "b"), w.claim(t, "c")
	refs := []store.TaskRef{a.Ref(), b.Ref(), c.Ref()}
	_, err := w.CancelTask(t.Context(), tenant, "b", nil)
	succeeds(t, err)
	w.clock.advance(lease) // run out, and not claimed by another
	w.reclaim(t, "c", "another")

	held, err := w.RenewLeases(t.Context(), "worker", refs, lease)
	succeeds(t, err)
	cancelled := map[string]bool{}
	for _, h := range held {
		cancelled[h.ID] = h.CancelRequested
		same(t, "the lease", w.task(t, h.ID).LeaseUntil, w.clock.Now().Add(lease))
	}
	same(t, "what is held", cancelled, map[string]bool{"a": false, "b": true})

	held, err = w.RenewLeases(t.Context(), "another", refs[:1], lease)
	succeeds(t, err)
	same(t, "what another worker holds", len(held), 0)
}

func renewMany(t *testing.T, w *world) {
	var refs []store.TaskRef
	for _, id := range numbered("t", 300) {
		task := w.claim(t, id)
		refs = append(refs, task.Ref())
	}
	for _, count := range []int{0, 1, 3, 128, 129, 300} {
		held, err := w.RenewLeases(t.Context(), "worker", refs[:count], lease)
		succeeds(t, err)
		same(t, "what is held", len(held), count)
	}
}

func release(t *testing.T, w *world) {
	task := w.claim(t, "t1")
	succeeds(t, w.AppendProgress(t.Context(), task.Ref(), store.Progress{Steps: [][]byte{[]byte("one")}}))
	succeeds(t, w.ReleaseTask(t.Context(), task.Ref(), 0))
	queued := w.task(t, "t1")
	same(t, "the status", queued.Status, store.StatusQueued)
	same(t, "failures", queued.Failures, int64(0))
	same(t, "the lease", queued.LeaseUntil, time.Time{})
	again := w.reclaim(t, "t1", "another")
	same(t, "the attempt", again.Attempt, int64(2))
	same(t, "steps", w.steps(t, "t1"), []string{"one"})
}

func retry(t *testing.T, w *world) {
	task := w.claim(t, "t1")
	succeeds(t, w.RetryTask(t.Context(), task.Ref(), 5*time.Second, "the model is down"))
	w.clock.advance(5*time.Second - time.Microsecond)
	waiting, err := w.ClaimTask(t.Context(), tenant, "t1", "worker", lease)
	fails(t, err, store.ErrNotDue)
	same(t, "failures", waiting.Failures, int64(1))
	same(t, "the reason", waiting.Error, "the model is down")
	w.clock.advance(time.Microsecond)
	w.reclaim(t, "t1", "worker")
}

func retryCancelled(t *testing.T, w *world) {
	task := w.claim(t, "t1")
	_, err := w.CancelTask(t.Context(), tenant, "t1", nil)
	succeeds(t, err)
	succeeds(t, w.RetryTask(t.Context(), task.Ref(), time.Hour, "the model is down"))
	same(t, "that its cancel was asked", w.reclaim(t, "t1", "worker").CancelRequested, true)
}

// turnsInSession: the earliest that is due goes first, and nobody beside it.
func turnsInSession(t *testing.T, w *world) {
	submit := func(id string, after time.Duration) {
		s := spec(id)
		s.SessionID, s.RunAfter = "chat", w.clock.Now().Add(after)
		_, _, err := w.SubmitTask(t.Context(), s)
		succeeds(t, err)
		w.clock.advance(time.Second)
	}
	next := func(want string) {
		t.Helper()
		task, err := w.TurnInSession(t.Context(), tenant, "chat")
		if want == "" {
			fails(t, err, store.ErrNotFound)
			return
		}
		succeeds(t, err)
		same(t, "whose turn it is", task.ID, want)
	}
	waits := func(id string) {
		t.Helper()
		_, err := w.ClaimTask(t.Context(), tenant, id, "worker", lease)
		fails(t, err, store.ErrNotDue)
	}
	submit("later", time.Hour)
	submit("one", 0)
	submit("two", 0)
	next("one")
	waits("two")
	one := w.reclaim(t, "one", "worker")
	next("")
	waits("two")

	// One that is tried again keeps its place.
	succeeds(t, w.RetryTask(t.Context(), one.Ref(), time.Minute, "oops"))
	waits("two")
	w.clock.advance(time.Minute)
	next("one")
	w.finish(t, w.reclaim(t, "one", "worker"), store.Ending{Status: store.StatusCompleted})
	next("two")

	// One whose time comes while another runs waits, too, and a lost one goes on.
	w.reclaim(t, "two", "worker")
	w.clock.advance(time.Hour)
	waits("later")
	two := w.reclaim(t, "two", "another")
	w.finish(t, two, store.Ending{Status: store.StatusFailed})
	w.finish(t, w.reclaim(t, "later", "worker"), store.Ending{Status: store.StatusCompleted})
	next("")
	same(t, "a session of its own", w.claim(t, "elsewhere").Status, store.StatusRunning)
}
