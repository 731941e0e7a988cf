package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/runwire/runwire/store"
)

func sweeperTests() map[string]func(*testing.T, *world) {
	return map[string]func(*testing.T, *world){
		"one leads at a time":                                   lead,
		"a task that nobody dispatched is found":                dueQueued,
		"a task is found when its time comes":                   dueLater,
		"a task whose worker is gone is found":                  dueLapsed,
		"a task handed back is found when it may be claimed":    dueRetried,
		"a limit that is not positive takes nothing":            noLimit,
		"a task that has ended is not looked at":                dueEnded,
		"all that wait can be woken":                            wakeAll,
		"all leases can be broken":                              breakAll,
		"due tasks come a few at a time, the longest due first": dueBatches,
		"a task that was claimed meanwhile is not put off":      putOffLate,
		"the next of a session is looked at soon":               dueNext,
	}
}

const again = time.Minute

// dueTasks takes tasks that are to be dispatched.
func (w *world) dueTasks(t *testing.T) []store.DueTask {
	t.Helper()
	tasks, err := w.DueTasks(t.Context(), 10)
	succeeds(t, err)
	succeeds(t, w.PutOffTasks(t.Context(), tasks, again))
	return tasks
}

// due is dueTasks by their ids.
func (w *world) due(t *testing.T, want ...string) {
	t.Helper()
	tasks := w.dueTasks(t)
	got := ids(tasks, func(task store.DueTask) string { return task.ID })
	slices.Sort(got)
	same(t, "what is due", got, append([]string{}, want...))
}

func lead(t *testing.T, w *world) {
	leads := func(name, owner string, want bool) {
		t.Helper()
		got, err := w.Lead(t.Context(), name, owner, lease)
		succeeds(t, err)
		same(t, owner+" leads", got, want)
	}
	leads("sweeper", "a", true)
	leads("sweeper", "b", false)
	leads("hooks", "b", true)
	w.clock.advance(lease / 2)
	leads("sweeper", "a", true)
	w.clock.advance(lease - time.Microsecond)
	leads("sweeper", "b", false)
	w.clock.advance(time.Microsecond)
	leads("sweeper", "b", true)
	leads("sweeper", "a", false)
	succeeds(t, w.Resign(t.Context(), "sweeper", "a"))
	leads("sweeper", "a", false)
	succeeds(t, w.Resign(t.Context(), "sweeper", "b"))
	leads("sweeper", "a", true)
}

func dueQueued(t *testing.T, w *world) {
	w.submit(t, "t1")
	w.due(t) // its submitter has dispatched it, most likely
	w.clock.advance(10 * time.Second)
	same(t, "what is due", w.dueTasks(t), []store.DueTask{{Tenant: tenant, ID: "t1", Priority: 2}})
	w.clock.advance(again - time.Microsecond)
	w.due(t)
	w.clock.advance(time.Microsecond)
	w.due(t, "t1")
}

func dueLater(t *testing.T, w *world) {
	s := spec("t1")
	s.RunAfter = w.clock.Now().Add(time.Hour)
	_, _, err := w.SubmitTask(t.Context(), s)
	succeeds(t, err)
	w.clock.advance(time.Hour - time.Microsecond)
	w.due(t)
	w.clock.advance(time.Microsecond)
	w.due(t, "t1")
	w.reclaim(t, "t1", "worker")
}

func dueLapsed(t *testing.T, w *world) {
	task := w.claim(t, "t1")
	w.clock.advance(lease - time.Microsecond)
	w.due(t)
	_, err := w.RenewLeases(t.Context(), "worker", []store.TaskRef{task.Ref()}, lease)
	succeeds(t, err)
	w.clock.advance(lease - time.Microsecond)
	w.due(t)
	w.clock.advance(time.Microsecond)
	same(t, "what is due", w.dueTasks(t), []store.DueTask{{Tenant: tenant, ID: "t1", Priority: 2, Begun: true}})
	w.reclaim(t, "t1", "another")
	w.due(t)
}

func dueRetried(t *testing.T, w *world) {
	task := w.claim(t, "t1")
	succeeds(t, w.RetryTask(t.Context(), task.Ref(), time.Second, "oops"))
	w.due(t)
	w.clock.advance(time.Second)
	w.due(t, "t1")
	task = w.reclaim(t, "t1", "worker")
	succeeds(t, w.ReleaseTask(t.Context(), task.Ref(), 0))
	w.due(t, "t1")
}

func dueEnded(t *testing.T, w *world) {
	w.finish(t, w.claim(t, "t1"), store.Ending{Status: store.StatusCompleted})
	w.submit(t, "t2")
	_, err := w.CancelTask(t.Context(), tenant, "t2", nil)
	succeeds(t, err)
	w.clock.advance(1000 * time.Hour)
	w.due(t)
}

func noLimit(t *testing.T, w *world) {
	w.deliveries(t, "t1")
	w.submit(t, "t2")
	w.schedule(t, "s1", 0)
	w.turn(t, "chat", "a", message("one", 1))
	w.clock.advance(time.Hour)
	ctx := t.Context()
	for _, limit := range []int{0, -1} {
		due, err1 := w.DueTasks(ctx, limit)
		deleted, err2 := w.DeleteFinished(ctx, 0, limit)
		deliveries, err3 := w.ClaimDeliveries(ctx, limit, lease)
		schedules, err4 := w.DueSchedules(ctx, limit)
		events, err5 := w.ListEvents(ctx, tenant, "t1", -1, limit)
		messages, err6 := w.ListMessages(ctx, tenant, "chat", 0, limit)
		for _, err := range []error{err1, err2, err3, err4, err5, err6} {
			succeeds(t, err)
		}
		same(t, "what is taken", len(due)+int(deleted)+len(deliveries)+len(schedules)+len(events)+len(messages), 0)
	}
}

func dueBatches(t *testing.T, w *world) {
	names := numbered("t", 25)
	for _, id := range names {
		w.submit(t, id)
		w.clock.advance(time.Second)
	}
	w.clock.advance(10 * time.Second)
	w.due(t, names[:10]...)
	w.due(t, names[10:20]...)
	w.due(t, names[20:]...)
	w.due(t)
}

func wakeAll(t *testing.T, w *world) {
	w.submit(t, "t1")
	w.claim(t, "t2")
	later := spec("t3")
	later.RunAfter = w.clock.Now().Add(time.Hour)
	_, _, err := w.SubmitTask(t.Context(), later)
	succeeds(t, err)
	w.due(t)
	succeeds(t, w.WakeTasks(t.Context()))
	w.due(t, "t1")
	w.due(t)
	succeeds(t, w.WakeTasks(t.Context()))
	w.due(t, "t1")
	w.clock.advance(lease)
	w.due(t, "t2")
	w.due(t)
	succeeds(t, w.WakeTasks(t.Context()))
	w.due(t, "t1", "t2")
}

// Who has dispatched a task may be late to say so.
func putOffLate(t *testing.T, w *world) {
	w.submit(t, "t1")
	w.submit(t, "t2")
	w.clock.advance(10 * time.Second)
	tasks, err := w.DueTasks(t.Context(), 10)
	succeeds(t, err)
	same(t, "how many are due", len(tasks), 2)
	w.reclaim(t, "t1", "worker")
	succeeds(t, w.PutOffTasks(t.Context(), tasks, 10*lease))
	w.due(t)
	w.clock.advance(lease)
	w.due(t, "t1")
	succeeds(t, w.PutOffTasks(t.Context(), nil, again))
}

func breakAll(t *testing.T, w *world) {
	w.submit(t, "t1")
	lost := w.claim(t, "t2")
	succeeds(t, w.BreakLeases(t.Context(), "worker")) // who has it
	w.due(t)
	succeeds(t, w.BreakLeases(t.Context(), "another"))
	w.due(t, "t2")
	same(t, "the attempt", w.reclaim(t, "t2", "another").Attempt, int64(2))
	fails(t, w.ReleaseTask(t.Context(), lost.Ref(), 0), store.ErrFenced)
}

// dueNext: whoever is to dispatch it may have died before.
func dueNext(t *testing.T, w *world) {
	const soon = 5 * time.Second
	for _, id := range []string{"one", "two", "three"} {
		s := spec(id)
		s.SessionID = "chat"
		_, _, err := w.SubmitTask(t.Context(), s)
		succeeds(t, err)
		w.clock.advance(time.Millisecond)
	}
	one := w.reclaim(t, "one", "worker")
	w.clock.advance(soon)
	w.due(t, "three", "two") // which nobody may claim
	w.finish(t, one, store.Ending{Status: store.StatusCompleted})
	w.due(t)
	w.clock.advance(soon)
	w.due(t, "two")
	_, err := w.CancelTask(t.Context(), tenant, "two", nil)
	succeeds(t, err)
	w.due(t)
	w.clock.advance(soon)
	w.due(t, "three")
	three, err := w.CancelTask(t.Context(), tenant, "three", nil)
	succeeds(t, err)
	same(t, "the last of the session", three.Status, store.StatusCancelled)
}
