package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// widestFoot is how many characters the foot has at most: a line that wraps
// could not be taken back.
const widestFoot = 78

// foot is the line at the foot of a terminal that says how a task stands.
type foot struct {
	w     io.Writer
	dim   bool
	shown bool

	status    string
	began     time.Time
	iteration int32
	usage     *agentv1.Usage
	waiting   int // tool calls that wait for approval
}

func newFoot(w io.Writer, dim bool, task *agentv1.Task) *foot {
	f := &foot{w: w, dim: dim, status: taskStatus(task), began: time.Now()}
	for _, at := range []*timestamppb.Timestamp{task.GetCreateTime(), task.GetStartTime()} {
		if at != nil {
			f.began = at.AsTime()
		}
	}
	return f
}

// learn takes from an event what the line says.
func (f *foot) learn(event *agentv1.RunEvent) {
	own := event.GetToolCallId() == ""
	switch said := event.GetEvent().(type) {
	case *agentv1.RunEvent_Started:
		if !own {
			return
		}
		f.status, f.began = "running", event.GetCreateTime().AsTime()
	case *agentv1.RunEvent_Retrying:
		f.status = fmt.Sprintf("running, try %d", said.Retrying.GetAttempt())
	case *agentv1.RunEvent_IterationFinished:
		if !own { // its usage is only a part
			return
		}
		f.iteration, f.usage = said.IterationFinished.GetIteration(), said.IterationFinished.GetUsage()
	case *agentv1.RunEvent_ApprovalRequested:
		f.waiting++
		f.status = "waiting for approval"
	case *agentv1.RunEvent_ApprovalResolved:
		if f.waiting = max(f.waiting-1, 0); f.waiting == 0 {
			f.status = "queued"
		}
	case *agentv1.RunEvent_ToolCallStarted:
		f.status = "running " + said.ToolCallStarted.GetTool()
	case *agentv1.RunEvent_ToolCallFinished, *agentv1.RunEvent_TextDelta, *agentv1.RunEvent_ReasoningDelta:
		f.status = "running"
	}
}

// draw writes the line over the one before.
func (f *foot) draw(now time.Time) {
	f.clear()
	line := cut(oneLine(f.text(now)), widestFoot)
	if f.dim {
		line = "\x1b[2m" + line + "\x1b[0m"
	}
	_, _ = io.WriteString(f.w, line) // the next say meets the same error
	f.shown = true
}

// clear takes the line back.
func (f *foot) clear() {
	if f.shown {
		_, _ = io.WriteString(f.w, "\r\x1b[K")
		f.shown = false
	}
}

func (f *foot) text(now time.Time) string {
	parts := []string{f.status}
	if f.iteration > 0 {
		parts = append(parts, fmt.Sprintf("iteration %d", f.iteration), describeTokens(f.usage), describeCost(f.usage))
	}
	return strings.Join(append(parts, max(now.Sub(f.began), 0).Truncate(time.Second).String()), " · ")
}
