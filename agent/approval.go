package agent

import (
	"context"
	"fmt"

	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/agent/tool"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

// ApprovalError says that a run can not go on before a person has decided
// about tool calls. Its events end without `finished`.
//
// A run with a journal has paused: all else that it could do is done and
// journaled, and once Pause and a Decision about each call are as well, it can
// be resumed, whenever that is. A run without one has ended, and has called
// none of the tools that its model asked for last.
type ApprovalError struct {
	// Calls are those to decide about, in the order in which models asked, with
	// the ids that events have.
	Calls []model.ToolCall
	// Pause is the step to journal when the run's last events are kept.
	Pause Step
}

// Error names the first call's tool.
func (e *ApprovalError) Error() string {
	return fmt.Sprintf("the tool %q needs a person's approval", e.Calls[0].Name)
}

// Decision is what a person has said to a tool call.
type Decision struct {
	// ID is the call's, as ApprovalError has it.
	ID string `json:"id"`
	// Approved: it is to be made. Otherwise the model is told that it is not.
	Approved bool `json:"approved,omitempty"`
	// Note is why; the model is told it with a rejection.
	Note string `json:"note,omitempty"`
}

// outcome is what a rejected call comes to.
func (d *Decision) outcome() outcome {
	message := "a person rejected the call"
	if d.Note != "" {
		message += ": " + d.Note
	}
	return outcome{err: &tool.Error{Type: tool.Failed, Message: message}}
}

// errUndecided is what a model would be told of a call whose run ended before
// a person had decided.
var errUndecided = &tool.Error{Type: tool.Cancelled, Message: "the run ended before a person had decided about the call"}

// needsApproval says whether a person must agree to a call. Nobody is asked
// about one that the tool would refuse.
func (r *Run) needsApproval(call model.ToolCall) bool {
	t, known := r.tool(call.Name)
	return known && t.Definition().RequiresApproval && t.Refusal(call.Arguments) == nil
}

// undecided are the calls that a person has yet to decide about.
func (r *Run) undecided(calls []model.ToolCall, done *toolSteps) []model.ToolCall {
	var waiting []model.ToolCall
	for _, call := range calls {
		if done.ended[call.ID] == nil && !done.begun[call.ID] && done.decided[call.ID] == nil && r.needsApproval(call) {
			waiting = append(waiting, call)
		}
	}
	return waiting
}

// pause ends the run until a person has decided about asked, for which its
// calls in waiting wait; a run that has been interrupted, it ends for good.
func (r *Run) pause(ctx context.Context, waiting, asked []model.ToolCall) *ending {
	if ctx.Err() != nil {
		for _, call := range waiting {
			r.finishTool(ctx, call, outcome{err: errUndecided}, false)
		}
		return interrupted(ctx)
	}
	if r.parent == nil { // else the others of its siblings go on
		for _, call := range asked {
			r.events.emit(ctx, &agentv1.RunEvent{ToolCallId: Within(call.ID), Event: &agentv1.RunEvent_ApprovalRequested{
				ApprovalRequested: &agentv1.ApprovalRequested{
					ToolCallId: call.ID, Tool: call.Name, ArgumentsJson: call.Arguments,
				},
			}})
		}
	}
	return r.awaits(asked)
}

// awaits is the ending of a run that waits for a person to decide about asked.
func (r *Run) awaits(asked []model.ToolCall) *ending {
	attempt := int32(1)
	if resume := r.root.resume; resume != nil {
		attempt = resume.Attempt
	}
	return &ending{approval: &ApprovalError{Calls: asked, Pause: Step{Asked: attempt}}}
}
