package main

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/protobuf/types/known/durationpb"
)

func conversation() []*agentv1.RunEvent {
	cost := 0.00012
	result := &agentv1.RunResult{
		Success: true, StopReason: agentv1.StopReason_STOP_REASON_COMPLETED,
		Usage:   &agentv1.Usage{InputTokens: 1000, OutputTokens: 20, TotalTokens: 1020, CostUsd: &cost},
		Latency: durationpb.New(1234 * time.Millisecond),
	}
	return []*agentv1.RunEvent{
		{Event: &agentv1.RunEvent_Started{Started: &agentv1.RunStarted{RunId: "run_1"}}},
		reasons("Let me "), reasons("think."),
		says("I shall\n"), says("calculate"),
		{Event: &agentv1.RunEvent_ToolCallStarted{ToolCallStarted: &agentv1.ToolCallStarted{
			Tool: "calculator", ArgumentsJson: "{\n  \"expression\": \"2+2\"\n}",
		}}},
		{Event: &agentv1.RunEvent_ToolCallFinished{ToolCallFinished: &agentv1.ToolCallFinished{
			Tool: "calculator", Output: "4", Latency: durationpb.New(100 * time.Microsecond),
		}}},
		{Event: &agentv1.RunEvent_ToolCallFinished{ToolCallFinished: &agentv1.ToolCallFinished{
			Tool: "current_time", Error: "no such zone", Latency: durationpb.New(90 * time.Second),
		}}},
		{Event: &agentv1.RunEvent_IterationFinished{IterationFinished: &agentv1.IterationFinished{Iteration: 1}}},
		{Event: &agentv1.RunEvent_Retrying{Retrying: &agentv1.Retrying{Attempt: 2, Reason: "model a is unavailable; asking b"}}},
		says("It is "), says("4."),
		{Event: &agentv1.RunEvent_Finished{Finished: &agentv1.RunFinished{Result: result}}},
	}
}

func TestTheScreenOfATerminal(t *testing.T) {
	t.Parallel()
	var both bytes.Buffer
	s := &screen{answer: voice{w: &both, clean: true}, aside: voice{w: &both, clean: true, dim: true}}
	for _, event := range conversation() {
		if err := s.show(event); err != nil {
			t.Fatal(err)
		}
	}
	s.close()
	want := `«Let me »«think.»
I shall
calculate
«→ calculator { "expression": "2+2" }
»«← calculator 4 (0.1 ms)
»«← current_time failed: no such zone (1m30s)
»«↻ model a is unavailable; asking b; what it said is void
»It is 4.
«1020 tokens (1000 in, 20 out), $0.00012, 1.23 s
»`
	want = strings.NewReplacer("«", "\x1b[2m", "»", "\x1b[0m").Replace(want)
	if got := both.String(); got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

// What agents say and do that are asked as tools is beside the answer, and
// further in the deeper they are.
func TestTheScreenOfAgents(t *testing.T) {
	t.Parallel()
	within := func(id string, event *agentv1.RunEvent) *agentv1.RunEvent {
		event.ToolCallId = id
		return event
	}
	call := func(tool string) *agentv1.RunEvent {
		return &agentv1.RunEvent{Event: &agentv1.RunEvent_ToolCallStarted{ToolCallStarted: &agentv1.ToolCallStarted{
			Tool: tool, ArgumentsJson: "{}",
		}}}
	}
	done := func(tool, output string) *agentv1.RunEvent {
		return &agentv1.RunEvent{Event: &agentv1.RunEvent_ToolCallFinished{ToolCallFinished: &agentv1.ToolCallFinished{
			Tool: tool, Output: output, Latency: durationpb.New(time.Second),
		}}}
	}
	end := func() *agentv1.RunEvent {
		return &agentv1.RunEvent{Event: &agentv1.RunEvent_Finished{Finished: &agentv1.RunFinished{Result: &agentv1.RunResult{Success: true}}}}
	}
	iteration := &agentv1.RunEvent{Event: &agentv1.RunEvent_IterationFinished{IterationFinished: &agentv1.IterationFinished{}}}
	var out, both bytes.Buffer
	s := newScreen(terminal{out: &out, err: &both})
	s.settled = true
	for _, event := range []*agentv1.RunEvent{
		says("Let me ask."), call("agent.a"),
		within("x", &agentv1.RunEvent{Event: &agentv1.RunEvent_Started{Started: &agentv1.RunStarted{}}}),
		within("x", reasons("Hm.")), within("x", call("agent.b")),
		within("x/y", says("One\ntwo")), within("x/y", says(" three\n")), within("x/y", end()),
		within("x", done("agent.b", "1 2 3")), within("x", iteration), within("x", says("Well.")),
		done("agent.a", "Well."), says(" So."), end(),
	} {
		if err := s.show(event); err != nil {
			t.Fatal(err)
		}
	}
	s.close()
	want := `→ agent.a {}
  Hm.
  → agent.b {}
    One
    two three
    0 tokens (0 in, 0 out), cost unknown, 0 ms
  ← agent.b 1 2 3 (1 s)
  Well.
← agent.a Well. (1 s)
0 tokens (0 in, 0 out), cost unknown, 0 ms
`
	if got := both.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := out.String(); got != "Let me ask. So.\n" && got != "Let me ask. So." {
		t.Errorf("the answer is %q", got)
	}
}

func TestTheScreenOfAFile(t *testing.T) {
	t.Parallel()
	var out, said bytes.Buffer
	s := newScreen(terminal{out: &out, err: &said})
	for _, event := range append(conversation(), says("\x1b[1mas it is\r")) {
		if err := s.show(event); err != nil {
			t.Fatal(err)
		}
	}
	if want := "I shall\ncalculate\nIt is 4.\n\x1b[1mas it is\r"; out.String() != want {
		t.Errorf("out is %q, want %q", out.String(), want)
	}
	if strings.Contains(said.String(), "\x1b") || !strings.Contains(said.String(), "→ calculator") {
		t.Errorf("err is %q", said.String())
	}
}

func TestHowARunThatDidNotCompleteIsDescribed(t *testing.T) {
	t.Parallel()
	got := describeResult(&agentv1.RunResult{
		StopReason: agentv1.StopReason_STOP_REASON_MODEL_ERROR, Error: "model a broke off its answer",
		Usage:   &agentv1.Usage{InputTokens: 10, OutputTokens: 2, TotalTokens: 12, Estimated: true},
		Latency: durationpb.New(2500 * time.Microsecond),
	})
	if want := "stopped (model_error): model a broke off its answer; about 12 tokens (10 in, 2 out), cost unknown, 2.5 ms"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestATerminalTakesNoOrdersFromAModel(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ text, want string }{
		"text":                    {"Grüße, 世界 👩‍🚀!\n\tdone", "Grüße, 世界 👩‍🚀!\n\tdone"},
		"colours":                 {"\x1b[31mred\x1b[0m", "[31mred[0m"},
		"a window title":          {"\x1b]0;owned\x07", "]0;owned"},
		"a one-byte escape":       {"\u009b2J", "2J"},
		"overwriting a line":      {"rm -rf /\rls\b\b", "rm -rf /ls"},
		"delete and null":         {"a\x7f\x00b", "ab"},
		"writing turned around":   {"a\u202eb\u2066c\u200f", "abc"},
		"other ends of a line":    {"a\u2028b\u2029c", "abc"},
		"an escape in two pieces": {"\x1b", ""},
	} {
		if got := withoutControls(tc.text); got != tc.want {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
		if got := oneLine(tc.text); strings.ContainsAny(got, "\n\t") {
			t.Errorf("%s: %q is more than a line", name, got)
		}
	}
	if got := oneLine(strings.Repeat("ä", longestLine+1)); utf8.RuneCountInString(got) != longestLine+1 || !strings.HasSuffix(got, "…") {
		t.Errorf("a long line becomes %q", got)
	}
}

func TestAScreenThatBreaksEndsTheRun(t *testing.T) {
	t.Parallel()
	broken, err := os.Create(t.TempDir() + "/closed")
	if err != nil {
		t.Fatal(err)
	}
	if err := broken.Close(); err != nil {
		t.Fatal(err)
	}
	for _, show := range []view{newScreen(terminal{out: broken, err: broken}), &lines{out: broken}} {
		if err := show.show(says("Hello")); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%T: %v", show, err)
		}
		show.close()
	}
}

func says(text string) *agentv1.RunEvent {
	return &agentv1.RunEvent{Event: &agentv1.RunEvent_TextDelta{TextDelta: &agentv1.TextDelta{Text: text}}}
}

func reasons(text string) *agentv1.RunEvent {
	return &agentv1.RunEvent{Event: &agentv1.RunEvent_ReasoningDelta{ReasoningDelta: &agentv1.ReasoningDelta{Text: text}}}
}
