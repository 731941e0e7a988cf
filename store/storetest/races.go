package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runwire/runwire/store"
)

func raceTests() map[string]func(*testing.T, *world) {
	return map[string]func(*testing.T, *world){
		"many workers claim each task once":               raceClaims,
		"one key at one time makes one task":              raceSubmits,
		"a cancel and a finish agree on how it ended":     raceCancelFinish,
		"a claim and its predecessor do not mix":          raceTakeover,
		"turns of many runs do not interleave":            raceTurns,
		"one replica fires a tick":                        raceTicks,
		"one replica leads":                               raceLead,
		"many sweepers and callers take each work once":   raceSweepers,
		"readers see whole writes while others write":     raceReaders,
		"a call whose context ends leaves all or nothing": cancelledContexts,
	}
}

// together runs fn many times at once, and waits.
func together(count int, fn func(i int)) {
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range count {
		all.Go(func() {
			<-start
			fn(i)
		})
	}
	close(start)
	all.Wait()
}

func raceClaims(t *testing.T, w *world) {
	names := numbered("t", 500)
	together(32, func(i int) {
		for n := i; n < len(names); n += 32 {
			_, _, err := w.SubmitTask(t.Context(), spec(names[n]))
			check(t, err)
		}
	})
	var claimed sync.Map
	together(32, func(i int) {
		for n := range names {
			id := names[(n+i*16)%len(names)]
			task, err := w.ClaimTask(t.Context(), tenant, id, fmt.Sprint(i), lease)
			if errors.Is(err, store.ErrLeased) {
				continue
			}
			check(t, err)
			if _, twice := claimed.LoadOrStore(id, task.Worker); twice {
				t.Errorf("%s was claimed twice", id)
			}
		}
	})
	for _, id := range names {
		if _, ok := claimed.Load(id); !ok {
			t.Errorf("%s was not claimed", id)
		}
		same(t, "the attempt", w.task(t, id).Attempt, int64(1))
	}
}

// check is succeeds for goroutines that are not the test's.
func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func raceSubmits(t *testing.T, w *world) {
	for round := range 10 {
		var created atomic.Int64
		answers := make([]string, 32)
		together(32, func(i int) {
			s := spec(fmt.Sprintf("t%d-%d", round, i))
			s.IdempotencyKey, s.RequestHash = fmt.Sprint("key", round), []byte("hash")
			submit := w.SubmitTask
			if i%2 == 0 {
				submit = func(ctx context.Context, spec store.TaskSpec) (store.Task, bool, error) {
					return w.SubmitClaimed(ctx, spec, "worker", lease)
				}
			}
			task, made, err := submit(t.Context(), s)
			check(t, err)
			answers[i] = task.ID
			if made {
				created.Add(1)
			}
		})
		same(t, "created", created.Load(), int64(1))
		for _, answer := range answers {
			same(t, "the task", answer, answers[0])
		}
	}
}

func raceCancelFinish(t *testing.T, w *world) {
	together(50, func(i int) {
		id := fmt.Sprint("t", i)
		_, _, err := w.SubmitTask(t.Context(), spec(id))
		check(t, err)
		task, err := w.ClaimTask(t.Context(), tenant, id, "worker", lease)
		check(t, err)
		var finish, cancel error
		var cancelled store.Task
		together(2, func(side int) {
			if side == 0 {
				finish = w.FinishTask(t.Context(), task.Ref(), store.Ending{Status: store.StatusCompleted})
			} else {
				cancelled, cancel = w.CancelTask(t.Context(), tenant, id, nil)
			}
		})
		check(t, cancel)
		completed := finish == nil
		if !completed && !errors.Is(finish, store.ErrCancelRequested) {
			t.Error(finish)
		}
		if completed != (cancelled.Status == store.StatusCompleted) || completed == cancelled.CancelRequested {
			t.Errorf("finish said %v, cancel said %+v", finish, cancelled)
		}
	})
}

func raceTakeover(t *testing.T, w *world) {
	for round := range 20 {
		id := fmt.Sprint("t", round)
		old := w.claim(t, id)
		w.clock.advance(lease)
		var written error
		together(2, func(side int) {
			if side == 0 {
				written = w.AppendProgress(t.Context(), old.Ref(), store.Progress{Steps: [][]byte{[]byte("old")}})
				return
			}
			task, err := w.ClaimTask(t.Context(), tenant, id, "another", lease)
			check(t, err)
			// What the new one sees is all there will be of the old one.
			steps, err := w.ListSteps(t.Context(), tenant, id)
			check(t, err)
			if int64(len(steps)) != task.Steps {
				t.Errorf("%d steps were there at the claim, and later %d", task.Steps, len(steps))
			}
			check(t, w.AppendProgress(t.Context(), task.Ref(), store.Progress{Position: task.Steps, Steps: [][]byte{[]byte("new")}}))
		})
		want := []string{"old", "new"}
		if written != nil {
			fails(t, written, store.ErrFenced)
			want = want[1:]
		}
		same(t, "steps", w.steps(t, id), want)
	}
}

func raceTurns(t *testing.T, w *world) {
	const runs, turns = 8, 5
	together(runs, func(i int) {
		owner := fmt.Sprint("run ", i)
		for done := 0; done < turns; {
			session, err := w.AcquireSession(t.Context(), tenant, "chat", "ann", owner, lease)
			if errors.Is(err, store.ErrSessionBusy) {
				continue
			}
			check(t, err)
			check(t, w.AppendTurn(t.Context(), store.Turn{
				Tenant: tenant, SessionID: "chat", Owner: owner, RunID: owner, Position: session.Messages,
				Messages: []store.Message{message("question", 1), message("answer", 1)},
			}))
			done++
		}
	})
	messages, err := w.ListMessages(t.Context(), tenant, "chat", 0, 1000)
	succeeds(t, err)
	same(t, "how many", len(messages), runs*turns*2)
	for i := 0; i < len(messages); i += 2 {
		same(t, "whose turn it is", messages[i].RunID, messages[i+1].RunID)
		same(t, "the position", messages[i].Position, int64(i+1))
	}
}

func raceTicks(t *testing.T, w *world) {
	schedule := w.schedule(t, "s1", 0)
	var fired atomic.Int64
	together(16, func(int) {
		err := w.AdvanceSchedule(t.Context(), tenant, "s1", schedule.NextTime, schedule.NextTime.Add(time.Minute))
		if err == nil {
			fired.Add(1)
		} else if !errors.Is(err, store.ErrFenced) {
			t.Error(err)
		}
	})
	same(t, "fired", fired.Load(), int64(1))
}

func raceLead(t *testing.T, w *world) {
	for range 5 {
		var leaders atomic.Int64
		together(16, func(i int) {
			leads, err := w.Lead(t.Context(), "sweeper", fmt.Sprint(i), lease)
			check(t, err)
			if leads {
				leaders.Add(1)
			}
		})
		same(t, "leaders", leaders.Load(), int64(1))
		w.clock.advance(lease)
	}
}

func raceSweepers(t *testing.T, w *world) {
	const count = 200
	names := numbered("d", count)
	together(16, func(i int) {
		for n := i; n < count; n += 16 {
			_, _, err := w.SubmitTask(t.Context(), spec(names[n]))
			check(t, err)
		}
	})
	w.clock.advance(time.Minute)
	var run, claimed, deleted atomic.Int64
	together(8, func(int) {
		for taken := 1; taken > 0; {
			tasks, err := w.DueTasks(t.Context(), 7)
			check(t, err)
			check(t, w.PutOffTasks(t.Context(), tasks, again))
			taken = len(tasks)
			for _, task := range tasks {
				running, err := w.ClaimTask(t.Context(), task.Tenant, task.ID, "worker", lease)
				if errors.Is(err, store.ErrNotClaimable) { // it is another's, who was as soon
					continue
				}
				check(t, err)
				run.Add(1)
				err = w.FinishTask(t.Context(), running.Ref(), store.Ending{
					Status: store.StatusCompleted, Delivery: &store.NewDelivery{ID: task.ID},
				})
				check(t, err)
			}
		}
	})
	same(t, "run", run.Load(), int64(count))
	together(8, func(int) {
		for taken := 1; taken > 0; {
			deliveries, err := w.ClaimDeliveries(t.Context(), 7, lease)
			check(t, err)
			taken = len(deliveries)
			claimed.Add(int64(taken))
		}
	})
	same(t, "claimed", claimed.Load(), int64(count))
	w.clock.advance(time.Hour)
	together(8, func(int) {
		for taken := int64(1); taken > 0; {
			var err error
			taken, err = w.DeleteFinished(t.Context(), time.Minute, 7)
			check(t, err)
			deleted.Add(taken)
		}
	})
	same(t, "deleted", deleted.Load(), int64(count))
}

func raceReaders(t *testing.T, w *world) {
	task := w.claim(t, "t1")
	const writes = 100
	var done atomic.Bool
	together(5, func(i int) {
		if i > 0 {
			for !done.Load() {
				events, err := w.ListEvents(t.Context(), tenant, "t1", 0, 1000)
				check(t, err)
				steps, err := w.ListSteps(t.Context(), tenant, "t1")
				check(t, err)
				if len(events)%3 != 0 || len(steps) < len(events)/3 {
					t.Errorf("%d events and %d steps were seen", len(events), len(steps))
				}
			}
			return
		}
		defer done.Store(true)
		for n := range int64(writes) {
			check(t, w.AppendProgress(t.Context(), task.Ref(), store.Progress{
				Position: n, Steps: [][]byte{{1}},
				Events: []store.Event{{Sequence: 3*n + 1}, {Sequence: 3*n + 2}, {Sequence: 3*n + 3}},
			}))
		}
	})
	same(t, "steps", len(w.steps(t, "t1")), writes)
}

func cancelledContexts(t *testing.T, w *world) {
	together(32, func(i int) {
		for n := range 10 {
			id := fmt.Sprintf("t%d-%d", i, n)
			ctx, cancel := context.WithCancel(t.Context())
			go cancel()
			s := spec(id)
			s.Labels = map[string]string{"id": id}
			_, _, err := w.SubmitTask(ctx, s)
			cancel()
			all := func() bool { // of it is there: none, or each part
				tasks, _, listing := w.ListTasks(t.Context(), store.TaskFilter{Tenant: tenant, Labels: s.Labels}, store.Page{})
				check(t, listing)
				_, getting := w.GetTask(t.Context(), tenant, id)
				return (getting == nil) == (len(tasks) == 1) && (err != nil || getting == nil)
			}
			// A commit that nobody waits for any more may happen between the two reads, once.
			for tries := 2; !all(); tries-- {
				if tries == 1 {
					t.Errorf("submit said %v, and a part of the task is there", err)
					break
				}
			}
			if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, store.ErrUnavailable) {
				t.Error(err)
			}
		}
	})
}
