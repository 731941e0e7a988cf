package tasks_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/agent/tool"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/store"
)

// helped is a house whose agent asks another, twice in one reply, which calls a
// tool that must not be called twice.
func helped(t *testing.T, counted *calls) *house {
	t.Helper()
	h := newHouse(t)
	h.helper = &script{}
	h.tools = []*tool.Tool{counted.tool(t, tool.Definition{Name: "pay", Effect: tool.Once}, nil)}
	h.model.plays(turn{say: []string{"Let me ", "ask."}, calls: []string{"agent.helper", "agent.helper"}}, turn{say: []string{"So ", "it is."}})
	h.helper.plays(turn{say: []string{"I ", "pay."}, calls: []string{"pay"}}, turn{say: []string{"It is ", "paid."}})
	return h
}

// nested is a stream in short, with the tool call within which something was.
func nested(events []*agentv1.RunEvent) string {
	var told []string
	last := ""
	for _, event := range events {
		if in := event.GetToolCallId(); in != last {
			told = append(told, "{"+in)
			last = in
		}
		told = append(told, said([]*agentv1.RunEvent{event}))
	}
	return strings.ReplaceAll(strings.Join(told, " "), "  ", " ")
}

// death kills who writes steps for the nth time: that write does not come back
// before its worker is buried, and then it was in vain.
type death struct {
	mu      sync.Mutex
	at      int // the write; from 0
	wrote   int
	replies int           // that were kept
	reply   bool          // the write that was lost was of a reply
	died    chan struct{} // closed when it has come
	buried  chan struct{}
}

func (d *death) come(p store.Progress) error {
	if len(p.Steps) == 0 {
		return nil
	}
	d.mu.Lock()
	reply, now := strings.Contains(string(p.Steps[0]), `"model":{`), d.wrote == d.at
	d.wrote++
	if reply && !now {
		d.replies++
	}
	if now {
		d.reply = reply
	}
	d.mu.Unlock()
	if !now {
		return nil
	}
	close(d.died)
	<-d.buried
	return store.ErrFenced
}

// Wherever a process dies while an agent asks another, the one that is started
// next asks no model again whose reply was kept, and the accounts agree: what the
// task says, what the books say of each agent, and what was asked.
func TestATaskIsTakenOverWithinAnAgent(t *testing.T) {
	t.Parallel()
	const writes = 11 // a reply, and of each helper two replies, a payment begun and made, and its end
	for dies := range writes {
		t.Run(fmt.Sprintf("at write %d", dies), func(t *testing.T) {
			t.Parallel()
			var counted calls
			h := helped(t, &counted)
			d := &death{at: dies, died: make(chan struct{}), buried: make(chan struct{})}
			h.die, h.sole = d.come, true
			r := h.replica(1, 0)
			defer close(d.buried)
			id := r.submit(t, "Hello?")
			select {
			case <-d.died:
			case <-time.After(20 * time.Second):
				t.Fatal("it has not come to that write")
			}
			r.stop()
			h.openBus()
			r = h.replica(1, time.Second)
			events := r.watch(t, id, 0)
			task := r.task(t, id)
			result := task.GetResult()
			if task.GetStatus() != completed || task.GetAttempt() != 2 || result.GetContent() != "So it is." || result.GetIterations() != 2 {
				t.Fatalf("got %v", task)
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			want := d.replies + 1 // the last one of the run is kept with its end
			if d.reply {
				want++
			}
			if asked := h.model.count() + h.helper.count(); asked != want {
				t.Errorf("%d replies are kept of %d", d.replies, asked)
			}
			if paid := counted.of("pay"); paid != 2 {
				t.Errorf("paid %d times", paid)
			}
			if result.GetUsage().GetEstimated() && !d.reply {
				t.Errorf("a reply that is kept was booked again: %v", result.GetUsage())
			}
			h.checkBooks(t, result)
			checkNested(t, events)
		})
	}
}

// checkBooks checks that the usage of both agents is what a result says.
func (h *house) checkBooks(t *testing.T, result *agentv1.RunResult) {
	t.Helper()
	sums, err := h.store.SumUsage(t.Context(), store.UsageFilter{Tenant: tenant}, store.UsageByAgent)
	if err != nil || len(sums) != 2 || sums[0].Agent != "default" || sums[1].Agent != "helper" {
		t.Fatalf("the books have %v, %v", sums, err)
	}
	usage := result.GetUsage()
	if sums[0].Calls+sums[1].Calls != usage.GetLlmCalls() ||
		sums[0].InputTokens+sums[1].InputTokens != usage.GetInputTokens() ||
		sums[0].OutputTokens+sums[1].OutputTokens != usage.GetOutputTokens() {
		t.Errorf("the books have %v, the result %v", sums, usage)
	}
}

// checkNested checks the last try of a task: what is said of each tool call
// stands within it, and the text behind the last of the run's own is the answer.
func checkNested(t *testing.T, events []*agentv1.RunEvent) {
	t.Helper()
	open, said := map[string]bool{"": true}, ""
	for _, event := range events {
		in := event.GetToolCallId()
		if event.GetRetrying() != nil && in == "" {
			open = map[string]bool{"": true}
		}
		if !open[in] {
			t.Errorf("%v is in no call that is open", event)
		}
		if call := event.GetToolCallStarted(); call != nil {
			open[call.GetToolCallId()] = true
			if agent.Within(call.GetToolCallId()) != in {
				t.Errorf("%v has a wrong id", event)
			}
		}
		if call := event.GetToolCallFinished(); call != nil {
			open[call.GetToolCallId()] = false
		}
		switch {
		case in != "":
		case event.GetTextDelta() != nil:
			said += event.GetTextDelta().GetText()
		case event.GetToolCallStarted() != nil, event.GetRetrying() != nil:
			said = ""
		}
	}
	if result := events[len(events)-1].GetFinished().GetResult(); result.GetContent() != said || result.GetAgent() != "default" {
		t.Errorf("it said %q, and has the result %v", said, result)
	}
}

// A watcher who comes late gets what the store has joined, told apart by who
// has said it; and none gets less because an agent within the run has begun or
// ended.
func TestAWatcherTellsAgentsApart(t *testing.T) {
	t.Parallel()
	var counted calls
	h := helped(t, &counted)
	r := h.replica(1, time.Second)
	id := r.submit(t, "Hello?")
	const helper = "started I pay. <pay pay!> | It is paid. | finished"
	const want = "started Let me ask. <agent.helper <agent.helper {c0 " + helper + " { It is paid.> {c1 " + helper + " { It is paid.> | So it is. | finished"
	var all []*agentv1.RunEvent
	for range 2 {
		all = r.watch(t, id, 0)
		if got := nested(all); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	for _, event := range all {
		rest := r.watch(t, id, event.GetSequence())
		if last := all[len(all)-1]; len(rest) == 0 != (event == last) {
			t.Errorf("after %d there are %d events", event.GetSequence(), len(rest))
		}
	}
}
