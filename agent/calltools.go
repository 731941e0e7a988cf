package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/agent/tool"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/protobuf/types/known/durationpb"
)

// parallelTools bounds how many of a reply's tool calls are made at once.
const parallelTools = 16

// outcome is what came of a tool call.
type outcome struct {
	output  string
	err     *tool.Error
	latency time.Duration
}

// errUnknownOutcome is what a model is told of a call that must not be made
// twice and may have been made.
var errUnknownOutcome = &tool.Error{
	Type:    tool.Failed,
	Message: "its outcome is unknown: the call had begun when it was interrupted, and is not made again",
}

// callTools calls a reply's tools in parallel, its agents beside them one after
// another, tells of all in the order in which the model asked, and adds both
// sides to the conversation. Those that have ended before an interruption are
// not called again, and those that a person must agree to not before. A non-nil
// ending is the run's.
func (r *Run) callTools(ctx context.Context, calls []model.ToolCall) *ending {
	done := r.past.toolSteps()
	r.find(ctx, calls, &done)
	waiting := r.undecided(calls, &done)
	asked := r.asTold(waiting)
	if len(waiting) > 0 && r.journal == nil {
		return r.awaits(asked)
	}
	r.startedTools(ctx, calls)
	r.messages = append(r.messages, model.Message{
		Role: model.RoleAssistant, Text: r.said.String(), ToolCalls: calls, Opaque: r.reply.Opaque,
	})
	r.said.Reset()

	outcomes, missing := known(calls, waiting, &done)
	if end := r.keep(ctx, r.beginning(calls, missing)...); end != nil {
		return end
	}
	r.startTools(ctx, calls, missing, outcomes)
	for i, made := range outcomes {
		if made == nil {
			continue
		}
		result, end := r.outcomeOf(ctx, calls[i], made)
		if end != nil && end.approval != nil && r.journal != nil {
			waiting, asked = append(waiting, calls[i]), append(asked, end.approval.Calls...)
			continue
		}
		if end == nil {
			before := done.ended[calls[i].ID] != nil
			r.finishTool(ctx, calls[i], result, before && r.iterations == r.past.paused)
			if i == len(calls)-1 && len(waiting) == 0 {
				r.finishIteration(ctx) // so that a journal has it with the last step
			}
			if before || result.cutOff() {
				continue
			}
			end = r.keep(ctx, result.step(calls[i].ID))
		}
		if end != nil {
			r.settle(calls[i+1:], outcomes[i+1:])
			return end
		}
	}
	if len(waiting) > 0 {
		return r.pause(ctx, waiting, asked)
	}
	return nil
}

// outcomeOf waits for what comes of a call. An agent is asked only now.
func (r *Run) outcomeOf(ctx context.Context, call model.ToolCall, made <-chan outcome) (outcome, *ending) {
	if callee := r.tools.agents[call.Name]; callee != nil && len(made) == 0 {
		return r.callAgent(ctx, call, callee)
	}
	r.spendPast(call)
	return <-made, nil
}

// settle waits for the calls that were started, so that no goroutine is left
// behind.
func (r *Run) settle(calls []model.ToolCall, outcomes []chan outcome) {
	for i, made := range outcomes {
		if made != nil && r.tools.agents[calls[i].Name] == nil {
			<-made
		}
	}
}

// startedTools tells that calls begin.
func (r *Run) startedTools(ctx context.Context, calls []model.ToolCall) {
	for _, call := range calls {
		r.toolCalls = append(r.toolCalls, call.Name)
		if r.past.told(r.iterations) {
			continue
		}
		r.tell(ctx, &agentv1.RunEvent{Event: &agentv1.RunEvent_ToolCallStarted{
			ToolCallStarted: &agentv1.ToolCallStarted{
				ToolCallId: r.path(call.ID), Tool: call.Name, ArgumentsJson: call.Arguments,
			},
		}})
	}
}

// known are the outcomes of calls, those in it that are known already, and
// which ones are missing. There is none of a call that waits for a person.
func known(calls, waiting []model.ToolCall, done *toolSteps) (outcomes []chan outcome, missing []int) {
	outcomes = make([]chan outcome, len(calls))
	for i, call := range calls {
		if slices.ContainsFunc(waiting, func(w model.ToolCall) bool { return w.ID == call.ID }) {
			continue
		}
		outcomes[i] = make(chan outcome, 1)
		decision := done.decided[call.ID]
		switch step := done.ended[call.ID]; {
		case step != nil:
			outcomes[i] <- step.outcome()
		case done.begun[call.ID]:
			outcomes[i] <- outcome{err: errUnknownOutcome}
		case decision != nil && !decision.Approved:
			outcomes[i] <- decision.outcome()
		default:
			missing = append(missing, i)
		}
	}
	return outcomes, missing
}

// beginning are the steps to journal before calls that must not be made twice.
func (r *Run) beginning(calls []model.ToolCall, missing []int) []Step {
	var steps []Step
	for _, i := range missing {
		if t, known := r.tool(calls[i].Name); known && t.Definition().Effect == tool.Once {
			steps = append(steps, Step{Begun: calls[i].ID})
		}
	}
	return steps
}

// cutOff says whether the run's end has ended the call. That is no outcome: who
// takes the run over makes the call again, if it may be.
func (o *outcome) cutOff() bool { return o.err != nil && o.err.Type == tool.Cancelled }

// step is the outcome as it is journaled.
func (o *outcome) step(callID string) Step {
	step := &ToolStep{ID: callID, Output: o.output, Latency: o.latency}
	if o.err != nil {
		step.Error = o.err.Message
	}
	return Step{Tool: step}
}

// outcome is what step tells.
func (s *ToolStep) outcome() outcome {
	o := outcome{output: s.Output, latency: s.Latency}
	if s.Error != "" {
		o.err = &tool.Error{Type: tool.Failed, Message: s.Error}
	}
	return o
}

// identify gives every call an id that is unique in the run and no path, where
// the provider's is not, and keeps what a model wrote fit for an event.
func (r *Run) identify(calls []model.ToolCall) {
	if r.callIDs == nil {
		r.callIDs = make(map[string]struct{}, len(calls))
	}
	for i := range calls {
		id := strings.ToValidUTF8(calls[i].ID, "\uFFFD")
		for n := len(r.callIDs) + 1; ; n++ {
			if _, taken := r.callIDs[id]; !taken && id != "" && !strings.Contains(id, pathMark) {
				break
			}
			id = fmt.Sprintf("call_%d", n)
		}
		r.callIDs[id] = struct{}{}
		calls[i] = model.ToolCall{
			ID:        id,
			Name:      strings.ToValidUTF8(calls[i].Name, "\uFFFD"),
			Arguments: strings.ToValidUTF8(calls[i].Arguments, "\uFFFD"),
		}
	}
}

// startTools makes the missing calls in order, parallelTools at a time, but for
// those of agents. Its goroutines end when the calls do, which tool.Call bounds.
func (r *Run) startTools(ctx context.Context, calls []model.ToolCall, missing []int, outcomes []chan outcome) {
	missing = slices.DeleteFunc(missing, func(i int) bool { return r.tools.agents[calls[i].Name] != nil })
	var taken atomic.Int64
	for range min(len(missing), parallelTools) {
		go func() {
			for n := taken.Add(1) - 1; n < int64(len(missing)); n = taken.Add(1) - 1 {
				i := missing[n]
				outcomes[i] <- r.callTool(ctx, calls[i])
			}
		}()
	}
}

func (r *Run) callTool(ctx context.Context, call model.ToolCall) outcome {
	begin := time.Now()
	ctx, span := r.runner.telemetry.startTool(ctx, r.span, call)
	ctx = tool.WithCallKey(ctx, r.id+pathMark+r.path(call.ID))
	t, known := r.tool(call.Name)
	var result outcome
	if !known {
		result.err = r.found[call.Name].err
	} else if output, err := t.Call(ctx, call.Arguments); err != nil {
		result.err = toolError(err)
	} else {
		result.output = output
	}
	result.latency = time.Since(begin)
	r.runner.telemetry.endTool(ctx, span, r, call.Name, result)
	return result
}

func toolError(err error) *tool.Error {
	if failed, ok := errors.AsType[*tool.Error](err); ok {
		return failed
	}
	return &tool.Error{Type: tool.Failed, Message: "the tool failed", Err: err}
}

// finishTool tells the model what came of a call, and callers unless they were
// told.
func (r *Run) finishTool(ctx context.Context, call model.ToolCall, result outcome, before bool) {
	finished := &agentv1.ToolCallFinished{
		ToolCallId: r.path(call.ID), Tool: call.Name, Output: result.output, Latency: durationpb.New(result.latency),
	}
	told := result.output
	if result.err != nil {
		finished.Error = result.err.Message
		if told = "error: " + result.err.Message; result.output != "" {
			told += "\nIt had said:\n" + result.output
		}
		if result.err.Type == tool.Panicked {
			r.runner.log.ErrorContext(ctx, "tool panicked", slog.String("run_id", r.id),
				slog.String("tool", call.Name), slog.Any("error", result.err.Err))
		}
	}
	if !before {
		r.tell(ctx, &agentv1.RunEvent{Event: &agentv1.RunEvent_ToolCallFinished{ToolCallFinished: finished}})
	}
	r.messages = append(r.messages, model.Message{Role: model.RoleTool, Text: told, ToolCallID: call.ID})
}
