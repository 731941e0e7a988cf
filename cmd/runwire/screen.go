package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

// screen shows a run to a person: the answer on standard output, and beside it
// on standard error what the agent thinks and does and what it cost.
type screen struct {
	answer, aside voice
	// settled holds back what a step says until the step is done, so that what
	// turns out void is never said.
	settled bool
	held    strings.Builder
}

// voice is one of the two outputs.
type voice struct {
	w      io.Writer
	clean  bool // w is a terminal, which must not be given orders by a model
	dim    bool
	inLine bool   // the last character was not the end of a line
	indent string // begins each line
}

func newScreen(term terminal) *screen {
	s := &screen{
		answer: voice{w: term.out, clean: isTerminal(term.out)},
		aside:  voice{w: term.err, clean: isTerminal(term.err)},
	}
	s.aside.dim = s.aside.clean && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return s
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// show implements view.
func (s *screen) show(event *agentv1.RunEvent) error {
	if indent := strings.Repeat("  ", depth(event)); indent != s.aside.indent {
		s.aside.endLine()
		s.aside.indent = indent
	}
	if event.GetToolCallId() != "" {
		return s.showWithin(event)
	}
	switch event := event.GetEvent().(type) {
	case *agentv1.RunEvent_TextDelta:
		if s.settled {
			s.held.WriteString(event.TextDelta.GetText())
			return nil
		}
		return s.speak(event.TextDelta.GetText())
	case *agentv1.RunEvent_ReasoningDelta:
		s.answer.endLine()
		return s.aside.say(event.ReasoningDelta.GetText())
	case *agentv1.RunEvent_IterationFinished:
		return s.settle()
	case *agentv1.RunEvent_Retrying:
		s.held.Reset()
	case *agentv1.RunEvent_Finished:
		return errors.Join(s.settle(), s.note(describeResult(event.Finished.GetResult())))
	}
	return s.tell(event)
}

// showWithin shows what an agent says and does that is asked as a tool: beside
// the answer, which it is no part of.
func (s *screen) showWithin(event *agentv1.RunEvent) error {
	s.answer.endLine()
	switch said := event.GetEvent().(type) {
	case *agentv1.RunEvent_TextDelta:
		return s.aside.say(said.TextDelta.GetText())
	case *agentv1.RunEvent_ReasoningDelta:
		return s.aside.say(said.ReasoningDelta.GetText())
	case *agentv1.RunEvent_Finished:
		return s.note(describeResult(said.Finished.GetResult()))
	}
	return s.tell(event)
}

// tell notes what is done.
func (s *screen) tell(event *agentv1.RunEvent) error {
	switch event := event.GetEvent().(type) {
	case *agentv1.RunEvent_ToolCallStarted:
		call := event.ToolCallStarted
		return s.note("→ " + call.GetTool() + " " + call.GetArgumentsJson())
	case *agentv1.RunEvent_ToolCallFinished:
		return s.note("← " + describeCall(event.ToolCallFinished))
	case *agentv1.RunEvent_ApprovalRequested:
		return s.note("? " + describeRequest(event.ApprovalRequested))
	case *agentv1.RunEvent_ApprovalResolved:
		return s.note("! " + describeDecision(event.ApprovalResolved))
	case *agentv1.RunEvent_HistorySummarized:
		return s.note("… " + describeSummary(event.HistorySummarized))
	case *agentv1.RunEvent_Retrying:
		return s.note("↻ " + event.Retrying.GetReason() + "; what it said is void")
	}
	return nil
}

// depth is within how many tool calls an event has happened.
func depth(event *agentv1.RunEvent) int {
	if event.GetToolCallId() == "" {
		return 0
	}
	return strings.Count(event.GetToolCallId(), "/") + 1
}

// speak says a piece of the answer.
func (s *screen) speak(text string) error {
	s.aside.endLine()
	return s.answer.say(text)
}

// settle says what was held back.
func (s *screen) settle() error {
	if s.held.Len() == 0 {
		return nil
	}
	defer s.held.Reset()
	return s.speak(s.held.String())
}

// close implements view.
func (s *screen) close() {
	_ = s.settle() // it is said as far as it goes
	s.endLines()
}

func (s *screen) endLines() {
	s.answer.endLine()
	s.aside.endLine()
}

// note writes a line beside the answer.
func (s *screen) note(text string) error {
	s.endLines()
	return s.aside.say(oneLine(text) + "\n")
}

// say writes text as it is, or, on a terminal, what of it is text.
func (v *voice) say(text string) error {
	if v.clean {
		text = withoutControls(text)
	}
	if text == "" {
		return nil
	}
	text = v.indented(text)
	v.inLine = !strings.HasSuffix(text, "\n")
	if v.dim {
		text = "\x1b[2m" + text + "\x1b[0m"
	}
	_, err := io.WriteString(v.w, text)
	return err
}

// indented is text with the indent before each line that begins in it.
func (v *voice) indented(text string) string {
	if v.indent == "" {
		return text
	}
	whole := strings.HasSuffix(text, "\n")
	text = strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n"+v.indent)
	if !v.inLine {
		text = v.indent + text
	}
	if whole {
		text += "\n"
	}
	return text
}

func (v *voice) endLine() {
	if v.inLine {
		_, _ = io.WriteString(v.w, "\n") // the next say meets the same error
		v.inLine = false
	}
}

func describeCall(call *agentv1.ToolCallFinished) string {
	took := call.GetLatency().AsDuration()
	if call.GetError() != "" {
		return fmt.Sprintf("%s failed: %s (%s)", call.GetTool(), call.GetError(), short(took))
	}
	return fmt.Sprintf("%s %s (%s)", call.GetTool(), call.GetOutput(), short(took))
}

func describeSummary(summary *agentv1.HistorySummarized) string {
	return fmt.Sprintf("%s summed up the session's first %d messages: %d tokens in %d",
		summary.GetModel(), summary.GetMessages(), summary.GetTokens(), summary.GetSummaryTokens())
}

// describeResult is the line that ends a run: why it ended, unless it simply
// has, and what it took.
func describeResult(r *agentv1.RunResult) string {
	usage := r.GetUsage()
	took := fmt.Sprintf("%s (%d in, %d out), %s, %s", describeTokens(usage),
		usage.GetInputTokens(), usage.GetOutputTokens(), describeCost(usage), short(r.GetLatency().AsDuration()))
	if r.GetSuccess() {
		return took
	}
	return fmt.Sprintf("stopped (%s): %s; %s", enumName(r.GetStopReason(), "STOP_REASON_"), r.GetError(), took)
}

func describeTokens(usage *agentv1.Usage) string {
	about := ""
	if usage.GetEstimated() {
		about = "about "
	}
	return fmt.Sprintf("%s%d tokens", about, usage.GetTotalTokens())
}

func describeCost(usage *agentv1.Usage) string {
	if usage == nil || usage.CostUsd == nil {
		return "cost unknown"
	}
	return fmt.Sprintf("$%.6g", usage.GetCostUsd())
}

// short is a duration in a few characters.
func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%.3g ms", float64(d)/float64(time.Millisecond))
	case d < time.Minute:
		return fmt.Sprintf("%.3g s", d.Seconds())
	default:
		return d.Round(time.Second).String()
	}
}
