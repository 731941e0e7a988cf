package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runwire/runwire/agent/model"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/store"
	"github.com/runwire/runwire/tasks"
)

const (
	running   = agentv1.TaskStatus_TASK_STATUS_RUNNING
	completed = agentv1.TaskStatus_TASK_STATUS_COMPLETED
	cancelled = agentv1.TaskStatus_TASK_STATUS_CANCELLED
)

func (r *replica) task(t *testing.T, id string) *agentv1.Task {
	t.Helper()
	task, err := r.Get(t.Context(), tenant, id)
	if err != nil {
		t.Fatal(err)
	}
	return task
}

func TestATaskRunsToItsEnd(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.model.plays(turn{say: []string{"Fo", "ur", "."}})
	r := h.replica(1, time.Second)
	id := r.submit(t, "2+2?")
	const want = "started Fo ur . | finished"
	if got := said(r.watch(t, id, 0)); strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
		t.Errorf("got %s", got)
	}
	task := r.task(t, id)
	if task.GetStatus() != completed || task.GetResult().GetContent() != "Four." || task.GetAttempt() != 1 ||
		task.GetResult().GetRunId() != strings.Replace(id, "task_", "run_", 1) {
		t.Errorf("got %v", task)
	}
	sums, err := h.store.SumUsage(t.Context(), store.UsageFilter{Tenant: tenant})
	if err != nil || len(sums) != 1 || sums[0].Calls != 1 || sums[0].InputTokens != 7 || sums[0].CostNano != 10_000 {
		t.Errorf("usage %v, %v", sums, err)
	}
	messages, err := h.store.ListMessages(t.Context(), tenant, task.GetSessionId(), 0, 10)
	if err != nil || len(messages) != 2 {
		t.Errorf("the session has %v, %v", messages, err)
	}
	if got := h.log.String(); got != "" {
		t.Errorf("logged: %s", got)
	}
}

// From any number on a watcher gets exactly what comes after it, piece by
// piece, also when the store has joined what it had seen a part of.
func TestAWatcherGoesOnBehindAnyEvent(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	pieces := make([]string, 40)
	for i := range pieces {
		pieces[i] = fmt.Sprintf("p%d ", i)
	}
	h.model.plays(turn{say: pieces})
	r := h.replica(1, time.Second)
	id := r.submit(t, "Tell.")
	whole := strings.Join(pieces, "")
	all := r.watch(t, id, 0)
	last := all[len(all)-1].GetSequence()
	for after := range last + 1 {
		var text strings.Builder
		for _, event := range r.watch(t, id, after) {
			text.WriteString(event.GetTextDelta().GetText())
		}
		want := whole
		if seen := int(after) - 1; seen > 0 { // `started` is 1
			want = strings.Join(pieces[min(seen, len(pieces)):], "")
		}
		if text.String() != want {
			t.Fatalf("after %d: got %q, want %q", after, text.String(), want)
		}
	}
	past := (*tasks.PastEndError)(nil)
	if err := r.Watch(t.Context(), tenant, id, last+1, nil); !errors.As(err, &past) || past.Last != last {
		t.Errorf("after what is not there: %v", err)
	}
	if events, err := h.store.ListEvents(t.Context(), tenant, id, 0, 100); err != nil || len(events) > 8 {
		t.Errorf("the store keeps %d events, %v", len(events), err)
	}
}

func TestManyWatchTheSame(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	pieces := make([]string, 200)
	for i := range pieces {
		pieces[i] = fmt.Sprintf("p%d ", i)
	}
	release := make(chan struct{})
	h.model.hold = until(release)
	h.model.plays(turn{say: pieces})
	r, other := h.replica(1, time.Second), h.replica(0, 0)
	id := r.submit(t, "Tell.")
	var watching sync.WaitGroup
	for i := range 50 {
		watching.Go(func() {
			from := []*replica{r, other}[i%2]
			var text strings.Builder
			for _, event := range from.watch(t, id, 0) {
				text.WriteString(event.GetTextDelta().GetText())
			}
			if text.String() != strings.Join(pieces, "") {
				t.Errorf("watcher %d read %q", i, text.String())
			}
		})
	}
	close(release)
	watching.Wait()
}

// What was told just before a watcher came, and is not kept yet, reaches it
// although nothing comes after it.
func TestAWatcherMissesNothingThatWasToldBeforeItCame(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	release := make(chan struct{})
	h.model.hold = until(release)
	h.model.plays(turn{say: []string{"One", ", two."}})
	r := h.replica(1, time.Second)
	id := r.submit(t, "Count.")
	heard := errors.New("heard it")
	hears := func(from *replica) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		err := from.Watch(ctx, tenant, id, 0, func(event *agentv1.RunEvent) error {
			if event.GetTextDelta() != nil {
				return heard
			}
			return nil
		})
		if !errors.Is(err, heard) {
			t.Errorf("the text does not come: %v", err)
		}
	}
	hears(r)
	hears(h.replica(0, 0)) // at once, before it is kept
	close(release)
	r.watch(t, id, 0)
}

func TestACancelledTaskEnds(t *testing.T) {
	t.Parallel()
	hang := func(ctx context.Context, _ int) error {
		<-ctx.Done()
		return ctx.Err()
	}
	t.Run("while it waits", func(t *testing.T) {
		t.Parallel()
		h := newHouse(t)
		r := h.replica(0, 0)
		id := r.submit(t, "Hello?")
		task, err := r.Cancel(t.Context(), tenant, id)
		if err != nil || task.GetStatus() != cancelled {
			t.Fatalf("got %v, %v", task, err)
		}
		if got := said(r.watch(t, id, 0)); got != "started finished" {
			t.Errorf("got %s", got)
		}
		h.model.plays(turn{say: []string{"no"}})
		h.replica(1, time.Second)
		if h.model.count() != 0 || r.task(t, id).GetStatus() != cancelled {
			t.Error("it ran")
		}
	})
	t.Run("while it runs", func(t *testing.T) {
		t.Parallel()
		h := newHouse(t)
		h.model.plays(turn{say: []string{"One", " two"}})
		h.model.hold = hang
		r, other := h.replica(1, time.Second), h.replica(0, 0)
		id := r.submit(t, "Hello?")
		eventually(t, "the model is asked", func() bool { return h.model.count() == 1 })
		begin := time.Now()
		task, err := other.Cancel(t.Context(), tenant, id)
		if err != nil || task.GetStatus() != running || !task.GetCancelRequested() {
			t.Fatalf("got %v, %v", task, err)
		}
		events := r.watch(t, id, 0)
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		result := events[len(events)-1].GetFinished().GetResult()
		if result.GetStopReason() != agentv1.StopReason_STOP_REASON_CANCELLED || result.GetContent() != "One" ||
			r.task(t, id).GetStatus() != cancelled || result.GetUsage().GetLlmCalls() != 1 {
			t.Errorf("got %v", result)
		}
	})
}

func TestATaskIsTriedAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.model.plays(turn{say: []string{"Wait"}, calls: []string{"nothing"}}, turn{say: []string{"Yes", "."}})
	down := true
	var mu sync.Mutex
	h.model.hold = func(_ context.Context, at int) error {
		mu.Lock()
		defer mu.Unlock()
		if at == 1 && down {
			down = false
			return &model.Error{Kind: model.KindUnavailable, Model: "test/script", Err: errors.New("down")}
		}
		return nil
	}
	r := h.replica(1, time.Second)
	id := r.submit(t, "Hello?")
	events := r.watch(t, id, 0)
	got := strings.ReplaceAll(said(events), "Yes .", "Yes.")
	if !strings.HasPrefix(got, "started Wait <nothing there is no tool") || !strings.HasSuffix(got, "> | retrying Yes. | finished") {
		t.Errorf("got %s", got)
	}
	task := r.task(t, id)
	// One call of the first step, two of the second: none is paid for again.
	if h.model.count() != 3 || task.GetStatus() != completed || task.GetAttempt() != 2 ||
		task.GetResult().GetUsage().GetLlmCalls() != 3 || task.GetResult().GetContent() != "Yes." {
		t.Errorf("%d calls, %v", h.model.count(), task)
	}
}

// A worker that shuts down hands its task to the next, which goes on behind
// the last step that was paid for, at once.
func TestATaskIsHandedOn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.model.plays(turn{say: []string{"Wait"}, calls: []string{"nothing"}}, turn{say: []string{"Yes", "."}})
	held := make(chan struct{})
	var once sync.Once
	h.model.hold = func(ctx context.Context, at int) error {
		first := false
		if at == 1 {
			once.Do(func() { first = true })
		}
		if !first {
			return nil
		}
		close(held)
		<-ctx.Done()
		return ctx.Err()
	}
	r := h.replica(1, 0)
	watcher := h.replica(0, 0)
	id := r.submit(t, "Hello?")
	<-held
	var events []*agentv1.RunEvent
	var watching sync.WaitGroup
	watching.Go(func() { events = watcher.watch(t, id, 0) })
	r.stop()
	<-r.stopped
	begin := time.Now()
	h.replica(1, time.Second)
	watching.Wait()
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if got := strings.ReplaceAll(said(events), "Yes .", "Yes."); !strings.HasSuffix(got, "> | retrying Yes. | finished") {
		t.Errorf("got %s", got)
	}
	task := watcher.task(t, id)
	if h.model.count() != 3 || task.GetStatus() != completed || task.GetAttempt() != 2 {
		t.Errorf("%d calls, %v", h.model.count(), task)
	}
}

// A task that was given to one that died before it claimed it is another's soon,
// whether it had begun or not.
func TestATaskIsTakenOverFromWhoNeverClaimedIt(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.model.plays(turn{say: []string{"Yes."}})
	idle := h.replica(0, 0)
	id := idle.submit(t, "Hello?")
	puller := h.bus.NewPuller()
	t.Cleanup(puller.Close)
	if delivery, _, err := puller.Next(t.Context(), nil); err != nil || delivery.Task != id { // it is not heard of again
		t.Fatalf("%v, %v", delivery, err)
	}
	if _, err := h.store.ClaimTask(t.Context(), tenant, id, "dead", time.Millisecond); err != nil {
		t.Fatal(err)
	}
	h.replica(1, time.Second)
	eventually(t, "it is taken over before NATS would give it to another", func() bool {
		return idle.task(t, id).GetStatus() == completed
	})
}

func TestTasksOfASessionGoInTurn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.model.plays(turn{say: []string{"Yes."}})
	var mu sync.Mutex
	running := 0
	h.model.hold = func(context.Context, int) error {
		mu.Lock()
		running++
		if running > 1 {
			t.Error("two run at once")
		}
		mu.Unlock()
		runtime.Gosched()
		mu.Lock()
		defer mu.Unlock()
		running--
		return nil
	}
	r := h.replica(4, time.Second)
	inSession := func(req *agentv1.SubmitTaskRequest) { req.SessionId = "chat" }
	var ids []string
	for i := range 10 {
		ids = append(ids, r.submit(t, fmt.Sprintf("m%d", i), inSession))
	}
	for _, id := range ids {
		r.watch(t, id, 0)
	}
	messages, err := h.store.ListMessages(t.Context(), tenant, "chat", 0, 100)
	if err != nil || len(messages) != 20 {
		t.Fatalf("%d messages, %v", len(messages), err)
	}
	for i, message := range messages {
		if i%2 == 0 && !strings.Contains(string(message.Payload), fmt.Sprintf(`"m%d"`, i/2)) {
			t.Errorf("message %d is %s", i, message.Payload)
		}
	}
}
