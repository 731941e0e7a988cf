package tasks_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/store"
)

// A cancel is heard, too, that comes before the worker knows of its claim.
func TestACancelIsHeardWhileTheTaskIsClaimed(t *testing.T) {
	t.Parallel()
	for _, submitted := range []bool{true, false} {
		t.Run(map[bool]string{true: "as it is submitted", false: "from a queue"}[submitted], func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			var armed atomic.Bool
			h.model.plays(turn{say: []string{"One", " two"}})
			h.model.hold = func(ctx context.Context, _ int) error {
				if armed.Load() {
					<-ctx.Done()
				}
				return ctx.Err()
			}
			owner := h.replica(0, 0)
			told := make(chan struct{}, 1)
			sub, err := h.bus.SubscribeCancels(func(string, string) { told <- struct{}{} })
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(sub.Close)
			cancel := func(task store.Task) {
				if !armed.Load() {
					return
				}
				if _, err := owner.Cancel(t.Context(), tenant, task.ID); err != nil {
					t.Error(err)
				}
				<-told
			}
			session := ""
			if submitted {
				h.submitted = cancel
			} else {
				h.claimed, session = cancel, "chat"
			}
			r := h.replica(8, time.Second)
			h.awaitFree(t, r)
			armed.Store(true)
			id := r.submit(t, "Hello?", func(req *agentv1.SubmitTaskRequest) { req.SessionId = session })
			ctx, stop := context.WithTimeout(t.Context(), 8*time.Second) // a renewal would tell of it in 10 s
			defer stop()
			if err := owner.Watch(ctx, tenant, id, 0, func(*agentv1.RunEvent) error { return nil }); err != nil {
				t.Fatal(err)
			}
			if got := owner.task(t, id); got.GetStatus() != cancelled || got.GetAttempt() != 1 || len(told) > 0 {
				t.Errorf("got %v", got)
			}
		})
	}
}

// dispatched is how many tasks have gone through the queue.
func (h *house) dispatched(t *testing.T) uint64 {
	t.Helper()
	stream, err := h.bus.JetStream().Stream(t.Context(), "RUNWIRE_TASKS_NORMAL")
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().State.LastSeq
}

// awaitFree returns once slots of a replica wait for tasks: one of several does
// while others are busy.
func (h *house) awaitFree(t *testing.T, r *replica) {
	t.Helper()
	eventually(t, "a slot waits", func() bool {
		before := h.dispatched(t)
		r.watch(t, r.submit(t, "Are you there?"), 0)
		return h.dispatched(t) == before
	})
}

// A task that comes while a slot is free here never sees a queue.
func TestATaskTakesASlotThatIsFree(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.model.plays(turn{say: []string{"Yes."}})
	var hook func() error
	h.submitting = func() error {
		if hook != nil {
			return hook()
		}
		return nil
	}
	var lose bool
	h.loseSubmit = func() bool { return lose }
	r := h.replica(8, time.Second)
	h.awaitFree(t, r)
	request := &agentv1.SubmitTaskRequest{Message: "Is it?", UserId: "ann", IdempotencyKey: "once"}
	submit := func(ctx context.Context) *agentv1.Task {
		t.Helper()
		told, err := r.Submit(ctx, tenant, "", request)
		if err != nil {
			t.Fatal(err)
		}
		return told
	}
	ends := func(id string) {
		t.Helper()
		r.watch(t, id, 0)
		if task := r.task(t, id); task.GetStatus() != completed || task.GetAttempt() != 1 {
			t.Errorf("got %v", task)
		}
	}

	told := submit(t.Context())
	if told.GetStatus() != agentv1.TaskStatus_TASK_STATUS_QUEUED || told.GetAttempt() != 0 || told.GetStartTime() != nil {
		t.Errorf("the answer is %v", told)
	}
	ends(told.GetTaskId())

	// One that was there before is not made again, and needs no slot.
	if other := submit(t.Context()); other.GetTaskId() != told.GetTaskId() {
		t.Errorf("%v is not the task of the key", other)
	}

	// A caller who goes away meanwhile leaves nothing half done.
	leaving, leave := context.WithCancel(t.Context())
	hook = func() error { leave(); return nil }
	request.IdempotencyKey = "twice"
	ends(submit(leaving).GetTaskId())

	// The store did not answer in time, but kept nothing.
	hook = func() error { return context.DeadlineExceeded }
	if _, err := r.Submit(t.Context(), tenant, "", &agentv1.SubmitTaskRequest{Message: "Is it?", UserId: "ann"}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	hook = nil

	// Or its answer was lost, and the caller asks again.
	lose, request.IdempotencyKey = true, "thrice"
	before := h.dispatched(t)
	if _, err := r.Submit(t.Context(), tenant, "", request); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	lose = false
	ends(submit(t.Context()).GetTaskId())
	if after := h.dispatched(t); after != before {
		t.Errorf("%d tasks were queued", after-before)
	}
}

// A slot that was kept for nothing is free again.
func TestASlotIsKeptForNothingOnlyForAWhile(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.model.plays(turn{say: []string{"Yes."}})
	refused := errors.New("refused")
	h.submitting = func() error { return refused }
	r := h.replica(1, time.Second)
	eventually(t, "a slot is kept", func() bool {
		task, err := r.Submit(t.Context(), tenant, "", &agentv1.SubmitTaskRequest{Message: "Is it?", UserId: "ann"})
		if err == nil {
			r.watch(t, task.GetTaskId(), 0) // a slot is kept only while nobody waits for one
		}
		return errors.Is(err, refused)
	})
	r.watch(t, r.submit(t, "Is it?", func(req *agentv1.SubmitTaskRequest) { req.SessionId = "chat" }), 0)
}

// Who has the store alone takes nothing from itself when it begins.
func TestASoleReplicaLeavesItsOwnTasksAlone(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.model.plays(turn{say: []string{"Yes."}})
	h.sole, h.broke = true, make(chan string, 1)
	r := h.replica(1, time.Second)
	id := r.submit(t, "Is it?")
	r.watch(t, id, 0)
	task, err := h.store.GetTask(t.Context(), tenant, id)
	if but := <-h.broke; err != nil || but != task.Worker {
		t.Errorf("the leases of %q were left alone, not those of %q; %v", but, task.Worker, err)
	}
}
