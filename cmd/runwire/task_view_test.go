package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// terminalView shows a task on a terminal: both outputs in one place.
func terminalView(both *bytes.Buffer, task *agentv1.Task) *taskView {
	s := &screen{answer: voice{w: both, clean: true}, aside: voice{w: both, clean: true, dim: true}}
	v := &taskView{run: s, err: both, screen: s, done: make(chan struct{})}
	v.startFoot(newFoot(both, true, task))
	return v
}

// printed is what was written, with marks for what a terminal is told: « and »
// for dim, ⌫ for a line taken back.
func printed(both *bytes.Buffer) string {
	return strings.NewReplacer("\x1b[2m", "«", "\x1b[0m", "»", "\r\x1b[K", "⌫").Replace(both.String())
}

func TestTheFootOfATerminal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var both bytes.Buffer
		now := time.Now()
		v := terminalView(&both, &agentv1.Task{
			Status: agentv1.TaskStatus_TASK_STATUS_QUEUED, CreateTime: timestamppb.New(now.Add(-time.Minute)),
		})
		step := func(want string, do func()) {
			t.Helper()
			v.mu.Lock()
			both.Reset()
			v.mu.Unlock()
			do()
			synctest.Wait()
			v.mu.Lock()
			defer v.mu.Unlock()
			if got := printed(&both); got != want {
				t.Errorf("got\n%q\nwant\n%q", got, want)
			}
		}
		show := func(event *agentv1.RunEvent) func() {
			event.CreateTime = timestamppb.New(time.Now())
			return func() {
				if err := v.show(event); err != nil {
					t.Error(err)
				}
			}
		}
		tick := func() { <-time.After(time.Second) }
		events := conversation()
		usage := &agentv1.Usage{TotalTokens: 1020, CostUsd: new(0.0012)}
		events[8].GetIterationFinished().Usage = usage

		step("⌫«queued · 1m1s»", tick)
		step("⌫«running · 0s»", show(events[0]))
		step("⌫«running · 1s»", tick)
		step("⌫I shall", show(says("I shall")))
		step("", tick) // not while the model is within a line
		step("\n«→ calculator { \"expression\": \"2+2\" }\n»«running calculator · 2s»", show(events[5]))
		step("⌫«← calculator 4 (0.1 ms)\n»«running · 2s»", show(events[6]))
		step("⌫«running · iteration 1 · 1020 tokens · $0.0012 · 2s»", show(events[8]))
		step("⌫«↻ model a is unavailable; asking b; what it said is void\n»«running, try 2 · iteration 1 · 1020 tokens · $0.0012 · 2s»", show(events[9]))
		step("⌫runwire: the stream broke off\n«running, try 2 · iteration 1 · 1020 tokens · $0.0012 · 2s»", func() { v.tell("the stream\nbroke off") })
		step("⌫«reconnecting · iteration 1 · 1020 tokens · $0.0012 · 2s»", func() { v.stands("reconnecting") })
		step("⌫«1020 tokens (1000 in, 20 out), $0.00012, 1.23 s\n»", show(events[len(events)-1]))
		step("", tick)
		step("", v.close)
	})
}

func TestAFootIsNoWiderThanATerminal(t *testing.T) {
	t.Parallel()
	var w bytes.Buffer
	f := newFoot(&w, false, nil)
	f.status = strings.Repeat("wide ", 100) + "\x1b[2J\n"
	f.draw(time.Now())
	if got := w.String(); strings.ContainsAny(got, "\x1b\n") || len([]rune(got)) != widestFoot+1 {
		t.Errorf("it is %q", got)
	}
}

func TestVoidWordsNeverReachAFile(t *testing.T) {
	t.Parallel()
	var out, said bytes.Buffer
	v := newTaskView(terminal{out: &out, err: &said}, false, nil)
	for _, event := range []*agentv1.RunEvent{
		says("void"),
		{Event: &agentv1.RunEvent_Retrying{Retrying: &agentv1.Retrying{Attempt: 2, Reason: "worker lost"}}},
		says("It "), says("is 4."),
	} {
		if err := v.show(event); err != nil {
			t.Fatal(err)
		}
		if out.Len() > 0 {
			t.Errorf("it said %q before the step was done", out.String())
		}
	}
	v.close() // interrupted: what was said stands as far as it goes
	if out.String() != "It is 4.\n" || said.String() != "↻ worker lost; what it said is void\n" {
		t.Errorf("out %q, err %q", out.String(), said.String())
	}
}
