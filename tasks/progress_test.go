package tasks_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/store"
	"github.com/runwire/runwire/tasks"
)

// A write that came through although its answer did not is not made again, be
// it of a step, of events, or of the last before the end.
func TestWritesWhoseAnswersAreLost(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.model.plays(turn{say: []string{"Let me ", "see."}, calls: []string{"none"}}, turn{say: []string{"It ", "is."}})
	var steps, events atomic.Int32
	flushed := make(chan struct{})
	h.lose = func(p store.Progress) bool {
		if len(p.Steps) > 0 {
			return steps.Add(1) <= 2
		}
		if events.Add(1) == 1 {
			close(flushed)
			return true
		}
		return false
	}
	h.model.hold = func(ctx context.Context, at int) error {
		if at == 0 {
			return nil
		}
		return until(flushed)(ctx, at) // and the answer ends before the next flush
	}
	r := h.replica(1, time.Second)
	id := r.submit(t, "What is it?")
	if got := said(r.watch(t, id, 0)); !strings.HasSuffix(got, "| It  is. | finished") || strings.Contains(got, "retrying") {
		t.Errorf("it said %q", got)
	}
	task, err := r.Get(t.Context(), tenant, id)
	if err != nil {
		t.Fatal(err)
	}
	if task.GetStatus() != completed || task.GetAttempt() != 1 || h.model.count() != 2 {
		t.Errorf("%v at attempt %d after %d calls: %s", task.GetStatus(), task.GetAttempt(), h.model.count(), h.log)
	}
	journal, err := h.store.ListSteps(t.Context(), tenant, id)
	if err != nil || len(journal) != 2 {
		t.Errorf("%d steps are journaled, %v", len(journal), err)
	}
	messages, err := h.store.ListMessages(t.Context(), tenant, task.GetSessionId(), 0, 10)
	if err != nil || len(messages) != 4 {
		t.Errorf("%d messages are in the session, %v", len(messages), err)
	}
}

// takenOver is a task whose first worker died before it kept anything.
func (h *house) takenOver(t *testing.T, by *replica, message string) string {
	t.Helper()
	id := by.submit(t, message)
	if _, err := h.store.ClaimTask(t.Context(), tenant, id, "dead", time.Millisecond); err != nil {
		t.Fatal(err)
	}
	return id
}

// A write whose answer was lost may come through after its worker has looked
// whether it did. Nothing is left out for that: neither the last events nor what
// goes to the session; and nothing is written twice.
func TestAWriteThatComesThroughLate(t *testing.T) {
	t.Parallel()
	final := turn{say: []string{"It ", "is."}}
	step := turn{say: []string{"Let me see."}, calls: []string{"none"}}
	many := turn{say: append(strings.SplitAfter(strings.Repeat("x ", 3000), " "), "It ", "is.")}
	for name, c := range map[string]struct {
		turns    []turn
		within   int   // this turn
		lost     int32 // the first so many writes of events
		takeover bool
	}{
		"the first after a take-over, before the end": {[]turn{final}, 0, 1, true},
		"the first after a take-over, before a step":  {[]turn{step, final}, 0, 1, true},
		"all that go too far ahead":                   {[]turn{many}, 0, 2, true},
		"the last before the end":                     {[]turn{final}, 0, 1, false},
		"the last before a step":                      {[]turn{step, final}, 0, 1, false},
		"some text of which more follows":             {[]turn{step, final}, 1, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHouse(t)
			h.model.plays(c.turns...)
			var lost, steps atomic.Int32
			flushed := make(chan struct{})
			h.late = func(p store.Progress) bool {
				if int(steps.Load()) < 2*c.within { // a turn with a tool call has two
					steps.Add(int32(len(p.Steps)))
					return false
				}
				n := lost.Add(1)
				if n == c.lost {
					defer close(flushed)
				}
				return n <= c.lost
			}
			h.model.hold = func(ctx context.Context, at int) error {
				if c.takeover || at != c.within {
					return nil
				}
				return until(flushed)(ctx, at)
			}
			watcher := h.replica(0, 0)
			var id string
			if c.takeover {
				id = h.takenOver(t, watcher, "What is it?")
			} else {
				id = watcher.submit(t, "What is it?")
			}
			h.replica(1, time.Second)
			if got := said(watcher.watch(t, id, 0)); !strings.HasSuffix(strings.ReplaceAll(got, " ", ""), "Itis.|finished") {
				t.Errorf("it said %q", got)
			}
			task, want := watcher.task(t, id), int64(1)
			if c.takeover {
				want = 2
			}
			if task.GetStatus() != completed || task.GetAttempt() != want || lost.Load() < c.lost {
				t.Errorf("%v at attempt %d after %d lost writes: %s", task.GetStatus(), task.GetAttempt(), lost.Load(), h.log)
			}
			messages, err := h.store.ListMessages(t.Context(), tenant, task.GetSessionId(), 0, 10)
			if want := 2 * len(c.turns); err != nil || len(messages) != want {
				t.Errorf("%d messages are in the session, %v, want %d", len(messages), err, want)
			}
			events, err := h.store.ListEvents(t.Context(), tenant, id, 0, 10_000)
			if text := spoken(t, events); err != nil || strings.Count(text, "It") != 1 || strings.Count(text, "Let") > 1 {
				t.Errorf("the log says %q, %v", text, err)
			}
		})
	}
}

// spoken is the text of the deltas that the store keeps.
func spoken(t *testing.T, events []store.Event) string {
	t.Helper()
	var text strings.Builder
	for _, event := range events {
		told, err := tasks.ParseEvent(event.Payload)
		if err != nil {
			t.Fatal(err)
		}
		text.WriteString(told.GetTextDelta().GetText())
	}
	return text.String()
}

// Whoever takes a task over leaves out 1,000 numbers. So no watcher is told a
// number that is further ahead of what is kept, be it of the first event after a
// take-over, or of many deltas at once.
func TestNoEventIsToldTooFarAhead(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.model.plays(turn{say: strings.Split(strings.Repeat("x", 5000), "")})
	watcher := h.replica(0, 0)
	id := h.takenOver(t, watcher, "Count.")
	tries := 0
	h.die = func(store.Progress) error {
		if tries++; tries <= 2 {
			return store.ErrUnavailable
		}
		return nil
	}
	h.replica(1, time.Second)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err := watcher.Watch(ctx, tenant, id, 0, func(event *agentv1.RunEvent) error {
		task, err := h.store.GetTask(ctx, tenant, id)
		if ahead := event.GetSequence() - task.LastSequence; ahead >= 1000 {
			t.Errorf("event %d is told with %d kept", event.GetSequence(), task.LastSequence)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// An end that was written although its answer was lost is told at once.
func TestAnEndWhoseAnswerIsLostIsTold(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.model.plays(turn{say: []string{"Yes."}})
	var lost atomic.Int32
	h.loseEnd = func() bool { return lost.Add(1) == 1 }
	r := h.replica(1, time.Second)
	begin := time.Now()
	id := r.submit(t, "Is it?")
	r.watch(t, id, 0)
	if took := time.Since(begin); took > 10*time.Second || h.model.count() != 1 {
		t.Errorf("it took %v, %d calls", took, h.model.count())
	}
	eventually(t, "an end was written", func() bool { return lost.Load() == 1 })
}

// So is the end of a task that never ran.
func TestAnEndWithoutARunWhoseAnswerIsLostIsTold(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	if _, err := h.store.AcquireSession(t.Context(), tenant, "theirs", "somebody", "run", time.Minute); err != nil {
		t.Fatal(err)
	}
	var lost atomic.Int32
	h.loseEnd = func() bool { return lost.Add(1) == 1 }
	r := h.replica(1, time.Second)
	task, err := r.Submit(t.Context(), tenant, "", &agentv1.SubmitTaskRequest{
		UserId: "alice", Message: "Is it?", SessionId: "theirs",
	})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	r.watch(t, task.GetTaskId(), 0)
	if took := time.Since(begin); took > 10*time.Second || h.model.count() != 0 {
		t.Errorf("it took %v, %d calls", took, h.model.count())
	}
	eventually(t, "an end was written", func() bool { return lost.Load() == 1 })
}

// A task that is handed back while the store is away is another's soon, not
// when its lease has run out.
func TestATaskIsHandedBackToAStoreThatWasAway(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.model.plays(turn{say: []string{"Y", "es."}})
	asked := make(chan struct{})
	var first atomic.Bool
	h.model.hold = func(ctx context.Context, _ int) error {
		if first.Swap(true) {
			return nil
		}
		close(asked)
		<-ctx.Done()
		return ctx.Err()
	}
	var lost atomic.Int32
	h.loseEnd = func() bool { return lost.Add(1) == 1 }
	r := h.replica(1, 0)
	id := r.submit(t, "Is it?")
	<-asked
	r.stop()
	<-r.stopped
	begin := time.Now()
	h.replica(1, time.Second).watch(t, id, 0)
	if took := time.Since(begin); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
}
