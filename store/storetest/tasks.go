package storetest

import (
	"strings"
	"testing"
	"time"

	"github.com/runwire/runwire/store"
)

func taskTests() map[string]func(*testing.T, *world) {
	return map[string]func(*testing.T, *world){
		"a submitted task is queued and reads back as it was":   submitAndGet,
		"a task that is not there is not found":                 getUnknown,
		"an id is taken once":                                   submitTwice,
		"an idempotency key makes the same call twice one task": idempotency,
		"an idempotency key is its tenant's":                    idempotencyByTenant,
		"tasks without an idempotency key are all different":    noIdempotencyKey,
		"a queued task is cancelled at once":                    cancelQueued,
		"a running task keeps running when its cancel is asked": cancelRunning,
		"a cancel leaves a task that has ended as it is":        cancelEnded,
		"a cancelled task leaves its ending behind":             cancelWithEnding,
		"an ending that can not be written cancels nothing":     cancelWithBadEnding,
		"text that can not be kept is refused":                  badText,
		"bytes are kept as they are":                            anyBytes,
	}
}

func submitAndGet(t *testing.T, w *world) {
	later := w.clock.Now().Add(time.Hour)
	want := store.TaskSpec{
		Tenant: tenant, ID: "t1", UserID: "ann", SessionID: "chat", Agent: "default", Priority: 3,
		RunAfter: later, IdempotencyKey: "key", RequestHash: []byte{1, 2}, Request: []byte("request"),
		Labels: map[string]string{"team": "search", "a\nb": `"c"="d"`},
	}
	task, created, err := w.SubmitTask(t.Context(), want)
	succeeds(t, err)
	same(t, "created", created, true)
	same(t, "the answer", task, store.Task{TaskSpec: want, Status: store.StatusQueued, CreateTime: w.clock.Now()})
	same(t, "what is kept", w.task(t, "t1"), task)
}

func getUnknown(t *testing.T, w *world) {
	_, err := w.GetTask(t.Context(), tenant, "none")
	fails(t, err, store.ErrNotFound)
	_, err = w.CancelTask(t.Context(), tenant, "none", nil)
	fails(t, err, store.ErrNotFound)
	_, err = w.ClaimTask(t.Context(), tenant, "none", "worker", lease)
	fails(t, err, store.ErrNotFound)
}

func submitTwice(t *testing.T, w *world) {
	first := w.submit(t, "t1")
	for _, labels := range []map[string]string{nil, {"a": "b"}} {
		again := spec("t1")
		again.Request, again.Labels = []byte("another"), labels
		_, created, err := w.SubmitTask(t.Context(), again)
		fails(t, err, store.ErrExists)
		same(t, "created", created, false)
	}
	same(t, "the first", w.task(t, "t1"), first)
}

func idempotency(t *testing.T, w *world) {
	first := spec("t1")
	first.IdempotencyKey, first.RequestHash = "key", []byte("hash")
	_, _, err := w.SubmitTask(t.Context(), first)
	succeeds(t, err)
	running := w.reclaim(t, "t1", "worker")

	again := first
	again.ID = "t2"
	task, created, err := w.SubmitTask(t.Context(), again)
	succeeds(t, err)
	same(t, "created", created, false)
	same(t, "the task", task, running)

	again.ID = "t1" // a caller that sends the very same again
	task, created, err = w.SubmitTask(t.Context(), again)
	succeeds(t, err)
	same(t, "created", created, false)
	same(t, "the task", task, running)
	again.Labels = map[string]string{"a": "b"}
	task, _, err = w.SubmitTask(t.Context(), again)
	succeeds(t, err)
	same(t, "the task", task, running)

	again.RequestHash = []byte("other")
	_, created, err = w.SubmitTask(t.Context(), again)
	fails(t, err, store.ErrIdempotencyConflict)
	same(t, "created", created, false)
	_, err = w.GetTask(t.Context(), tenant, "t2")
	fails(t, err, store.ErrNotFound)
}

func idempotencyByTenant(t *testing.T, w *world) {
	for _, tenant := range []string{"acme", "umbrella"} {
		s := spec("t1")
		s.Tenant, s.IdempotencyKey, s.RequestHash = tenant, "key", []byte("hash of "+tenant)
		_, created, err := w.SubmitTask(t.Context(), s)
		succeeds(t, err)
		same(t, "created", created, true)
	}
}

func noIdempotencyKey(t *testing.T, w *world) {
	w.submit(t, "t1")
	w.submit(t, "t2")
}

func cancelQueued(t *testing.T, w *world) {
	want := w.submit(t, "t1")
	w.clock.advance(time.Second)
	task, err := w.CancelTask(t.Context(), tenant, "t1", nil)
	succeeds(t, err)
	want.Status, want.CancelRequested, want.FinishTime = store.StatusCancelled, true, w.clock.Now()
	same(t, "the answer", task, want)
	same(t, "what is kept", w.task(t, "t1"), want)
	_, err = w.ClaimTask(t.Context(), tenant, "t1", "worker", lease)
	fails(t, err, store.ErrEnded)
}

func cancelRunning(t *testing.T, w *world) {
	want := w.claim(t, "t1")
	want.CancelRequested = true
	for range 2 {
		task, err := w.CancelTask(t.Context(), tenant, "t1", func(store.Task) store.Ending {
			t.Error("a running task was ended")
			return store.Ending{}
		})
		succeeds(t, err)
		same(t, "the answer", task, want)
	}
	same(t, "what is kept", w.task(t, "t1"), want)
}

func cancelEnded(t *testing.T, w *world) {
	for status, id := range map[store.Status]string{
		store.StatusCompleted: "t1", store.StatusFailed: "t2", store.StatusCancelled: "t3",
	} {
		ended := w.finish(t, w.claim(t, id), store.Ending{Status: status, Result: []byte("result")})
		w.clock.advance(time.Second)
		task, err := w.CancelTask(t.Context(), tenant, id, nil)
		succeeds(t, err)
		same(t, "the answer", task, ended)
		same(t, "what is kept", w.task(t, id), ended)
	}
}

func cancelWithEnding(t *testing.T, w *world) {
	running := w.claim(t, "t1")
	succeeds(t, w.AppendProgress(t.Context(), running.Ref(), store.Progress{Events: []store.Event{{Sequence: 1}}}))
	succeeds(t, w.RetryTask(t.Context(), running.Ref(), time.Minute, "model error"))
	task, err := w.CancelTask(t.Context(), tenant, "t1", func(task store.Task) store.Ending {
		same(t, "the status of what is ended", task.Status, store.StatusCancelled)
		return store.Ending{
			Result: []byte("result"), Error: "cancelled",
			Events:   []store.Event{{Sequence: task.LastSequence + 1, Payload: []byte("finished")}},
			Delivery: &store.NewDelivery{ID: "d1", URL: "https://example.com"},
		}
	})
	succeeds(t, err)
	same(t, "the result", string(task.Result), "result")
	same(t, "the error", task.Error, "cancelled")
	same(t, "the last sequence", task.LastSequence, int64(2))
	same(t, "what is kept", w.task(t, "t1"), task)
	deliveries, err := w.ListDeliveries(t.Context(), tenant, "t1")
	succeeds(t, err)
	same(t, "deliveries", len(deliveries), 1)
}

func cancelWithBadEnding(t *testing.T, w *world) {
	want := w.claim(t, "t1")
	succeeds(t, w.AppendProgress(t.Context(), want.Ref(), store.Progress{Events: []store.Event{{Sequence: 5}}}))
	succeeds(t, w.ReleaseTask(t.Context(), want.Ref(), 0))
	want = w.task(t, "t1")
	_, err := w.CancelTask(t.Context(), tenant, "t1", func(store.Task) store.Ending {
		return store.Ending{Events: []store.Event{{Sequence: 5}}}
	})
	fails(t, err, store.ErrConflict)
	same(t, "what is kept", w.task(t, "t1"), want)
}

func badText(t *testing.T, w *world) {
	for _, bad := range []string{"a\x00b", "a\xffb"} {
		s := spec(bad)
		_, _, err := w.SubmitTask(t.Context(), s)
		fails(t, err, store.ErrInvalid)
		_, err = w.GetTask(t.Context(), tenant, bad)
		fails(t, err, store.ErrInvalid)
	}
	s := spec("t0")
	s.Labels = map[string]string{"a": "\xff"}
	_, _, err := w.SubmitTask(t.Context(), s)
	fails(t, err, store.ErrInvalid)
	// What went wrong is told as well as can be.
	task := w.finish(t, w.claim(t, "t1"), store.Ending{Status: store.StatusFailed, Error: "a\x00b\xffc"})
	same(t, "the error", task.Error, "a\uFFFDb\uFFFDc")
}

func anyBytes(t *testing.T, w *world) {
	s := spec("t1")
	s.Request = []byte("\x00\xff" + strings.Repeat("x", 1<<20))
	_, _, err := w.SubmitTask(t.Context(), s)
	succeeds(t, err)
	same(t, "the request", string(w.task(t, "t1").Request) == string(s.Request), true)
	s = spec("t2")
	s.Request = nil
	_, _, err = w.SubmitTask(t.Context(), s)
	succeeds(t, err)
	same(t, "an empty request", len(w.task(t, "t2").Request), 0)
}
