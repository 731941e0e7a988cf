package storetest

import (
	"testing"
	"time"

	"github.com/runwire/runwire/store"
)

func endingTests() map[string]func(*testing.T, *world) {
	return map[string]func(*testing.T, *world){
		"a finish writes all that the task leaves behind":      finishAll,
		"a finish that can not write all writes nothing":       finishNothing,
		"a task whose cancel was asked never completes":        finishCancelled,
		"a task ends in one of the statuses that are ends":     finishBadStatus,
		"the events of a finish go on where the log ends":      finishEvents,
		"what ended is deleted after a while, with all of its": deleteFinished,
	}
}

func message(text string, tokens int64) store.Message {
	return store.Message{Payload: []byte(text), Tokens: tokens}
}

// ending is one that leaves everything behind.
func (w *world) ending(session store.Session, owner string) store.Ending {
	return store.Ending{
		Status: store.StatusCompleted, Result: []byte("result"),
		Events: []store.Event{{Sequence: 1, Payload: []byte("started")}, {Sequence: 2, Payload: []byte("finished")}},
		Usage:  []store.UsageRow{{Tenant: tenant, ID: "u1", UserID: "ann", Time: w.clock.Now(), InputTokens: 7}},
		Turn: &store.Turn{
			Tenant: tenant, SessionID: session.ID, Owner: owner, Position: session.Messages, RunID: "r1",
			Messages: []store.Message{message("hello", 2), message("good day", 3)},
		},
		Delivery: &store.NewDelivery{ID: "d1", URL: "https://example.com", Payload: []byte("payload")},
	}
}

func finishAll(t *testing.T, w *world) {
	want := w.claim(t, "t1")
	session := w.acquire(t, "chat", "t1")
	w.clock.advance(time.Second)
	task := w.finish(t, want, w.ending(session, "t1"))

	want.Status, want.Result, want.LastSequence = store.StatusCompleted, []byte("result"), 2
	want.FinishTime, want.LeaseUntil = w.clock.Now(), time.Time{}
	same(t, "the answer", task, want)
	same(t, "what is kept", w.task(t, "t1"), want)
	same(t, "events", w.events(t, "t1"), []string{"1 started", "2 finished"})
	same(t, "messages", w.messages(t, "chat"), []string{"1 hello", "2 good day"})
	sums, err := w.SumUsage(t.Context(), store.UsageFilter{Tenant: tenant})
	succeeds(t, err)
	same(t, "tokens", sums[0].InputTokens, int64(7))
	deliveries, err := w.ListDeliveries(t.Context(), tenant, "t1")
	succeeds(t, err)
	same(t, "the delivery", deliveries, []store.Delivery{{
		NewDelivery: store.NewDelivery{ID: "d1", URL: "https://example.com", Payload: []byte("payload")},
		Tenant:      tenant, TaskID: "t1", Status: store.DeliveryPending, NextTime: w.clock.Now(), CreateTime: w.clock.Now(),
	}})
	w.acquire(t, "chat", "another run")
}

func finishNothing(t *testing.T, w *world) {
	want := w.claim(t, "t1")
	session := w.acquire(t, "chat", "t1")
	untouched := func(end store.Ending, reason error) {
		t.Helper()
		err := w.FinishTask(t.Context(), want.Ref(), end)
		fails(t, err, reason)
		same(t, "what is kept", w.task(t, "t1"), want)
		same(t, "events", w.events(t, "t1"), []string{})
		same(t, "messages", w.messages(t, "chat"), []string{})
		sums, err := w.SumUsage(t.Context(), store.UsageFilter{Tenant: tenant})
		succeeds(t, err)
		same(t, "usage", len(sums), 0)
		deliveries, err := w.ListDeliveries(t.Context(), tenant, "t1")
		succeeds(t, err)
		same(t, "deliveries", len(deliveries), 0)
	}
	end := w.ending(session, "t1")
	end.Turn.Position = 1
	untouched(end, store.ErrConflict)
	end.Turn.SessionID = "none"
	untouched(end, store.ErrNotFound)
	end = w.ending(session, "somebody else")
	untouched(end, store.ErrSessionBusy)
	end = w.ending(session, "t1")
	end.Usage[0].Time = time.Time{}
	untouched(end, store.ErrInvalid)
	end = w.ending(session, "t1")
	end.Delivery.URL = "\x00"
	untouched(end, store.ErrInvalid)
}

func finishCancelled(t *testing.T, w *world) {
	for _, status := range []store.Status{store.StatusCompleted, store.StatusFailed} {
		id := map[store.Status]string{store.StatusCompleted: "t1", store.StatusFailed: "t2"}[status]
		task := w.claim(t, id)
		_, err := w.CancelTask(t.Context(), tenant, id, nil)
		succeeds(t, err)
		end := store.Ending{Status: status, Events: []store.Event{{Sequence: 1}}}
		err = w.FinishTask(t.Context(), task.Ref(), end)
		fails(t, err, store.ErrCancelRequested)
		same(t, "the status", w.task(t, id).Status, store.StatusRunning)
		same(t, "events", w.events(t, id), []string{})
		end.Status = store.StatusCancelled
		same(t, "the status", w.finish(t, task, end).Status, store.StatusCancelled)
	}
}

func finishBadStatus(t *testing.T, w *world) {
	task := w.claim(t, "t1")
	for _, status := range []store.Status{0, store.StatusQueued, store.StatusRunning, 3, 7} {
		err := w.FinishTask(t.Context(), task.Ref(), store.Ending{Status: status})
		fails(t, err, store.ErrInvalid)
	}
	same(t, "what is kept", w.task(t, "t1"), task)
}

func finishEvents(t *testing.T, w *world) {
	task := w.claim(t, "t1")
	succeeds(t, w.AppendProgress(t.Context(), task.Ref(), store.Progress{Events: []store.Event{{Sequence: 3}}}))
	for _, sequence := range []int64{1, 3} {
		err := w.FinishTask(t.Context(), task.Ref(), store.Ending{
			Status: store.StatusCompleted, Events: []store.Event{{Sequence: sequence}},
		})
		fails(t, err, store.ErrConflict)
	}
	end := store.Ending{Status: store.StatusCompleted, Events: []store.Event{{Sequence: 1 << 40}}}
	same(t, "the last sequence", w.finish(t, task, end).LastSequence, int64(1<<40))

	none := w.finish(t, w.claim(t, "t2"), store.Ending{Status: store.StatusCompleted})
	same(t, "the last sequence without events", none.LastSequence, int64(0))
}

func deleteFinished(t *testing.T, w *world) {
	for _, id := range []string{"t1", "t2", "t3"} {
		s := spec(id)
		s.Labels, s.IdempotencyKey = map[string]string{"a": "b"}, id
		_, _, err := w.SubmitTask(t.Context(), s)
		succeeds(t, err)
		task := w.reclaim(t, id, "worker")
		succeeds(t, w.AppendProgress(t.Context(), task.Ref(), store.Progress{Steps: [][]byte{{1}}}))
		w.finish(t, task, store.Ending{
			Status: store.StatusFailed, Events: []store.Event{{Sequence: 1}}, Delivery: &store.NewDelivery{ID: id},
		})
		w.clock.advance(time.Hour)
	}
	w.submit(t, "waiting")
	remove := func(age time.Duration, limit int, want int64) {
		t.Helper()
		deleted, err := w.DeleteFinished(t.Context(), age, limit)
		succeeds(t, err)
		same(t, "deleted", deleted, want)
	}
	remove(3*time.Hour, 10, 0)
	remove(90*time.Minute, 1, 1)
	_, err := w.GetTask(t.Context(), tenant, "t1")
	fails(t, err, store.ErrNotFound)
	remove(90*time.Minute, 10, 1)
	remove(90*time.Minute, 10, 0)
	same(t, "what is left", w.pages(t, store.TaskFilter{Tenant: tenant}, 10, func() {}), []string{"waiting", "t3"})
	w.gone(t, "t1")

	again := spec("t1")
	again.IdempotencyKey = "t1"
	_, created, err := w.SubmitTask(t.Context(), again)
	succeeds(t, err)
	same(t, "created", created, true)
}

// gone: nothing of the task is left.
func (w *world) gone(t *testing.T, id string) {
	t.Helper()
	_, err := w.GetTask(t.Context(), tenant, id)
	fails(t, err, store.ErrNotFound)
	same(t, "events", w.events(t, id), []string{})
	same(t, "steps", w.steps(t, id), []string{})
	deliveries, err := w.ListDeliveries(t.Context(), tenant, id)
	succeeds(t, err)
	same(t, "deliveries", len(deliveries), 0)
}
