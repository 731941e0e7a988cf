package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

// callTools calls a reply's tools in parallel, tells of them in the order in
// which the model asked, and adds both sides to the conversation.
func (r *Run) callTools(ctx context.Context, calls []model.ToolCall) {
	r.identify(calls)
	for _, call := range calls {
		r.toolCalls = append(r.toolCalls, call.Name)
		r.events.emit(ctx, &agentv1.RunEvent{Event: &agentv1.RunEvent_ToolCallStarted{
			ToolCallStarted: &agentv1.ToolCallStarted{
				ToolCallId: call.ID, Tool: call.Name, ArgumentsJson: call.Arguments,
			},
		}})
	}
	r.messages = append(r.messages, model.Message{
		Role: model.RoleAssistant, Text: r.said.String(), ToolCalls: calls,
	})
	r.said.Reset()

	for i, done := range r.startTools(ctx, calls) {
		result := <-done
		r.finishTool(ctx, calls[i], result)
	}
}

// identify gives every call an id that is unique in the run, where the
// provider's is not, and keeps what a model wrote fit for an event.
func (r *Run) identify(calls []model.ToolCall) {
	if r.callIDs == nil {
		r.callIDs = make(map[string]struct{}, len(calls))
	}
	for i := range calls {
		id := strings.ToValidUTF8(calls[i].ID, "\uFFFD")
		for n := len(r.callIDs) + 1; ; n++ {
			if _, taken := r.callIDs[id]; !taken && id != "" {
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

// startTools makes the calls in order, parallelTools at a time, and returns a
// channel for each outcome. Its goroutines end when the calls do, which
// tool.Call bounds.
func (r *Run) startTools(ctx context.Context, calls []model.ToolCall) []chan outcome {
	outcomes := make([]chan outcome, len(calls))
	for i := range outcomes {
		outcomes[i] = make(chan outcome, 1)
	}
	var taken atomic.Int64
	for range min(len(calls), parallelTools) {
		go func() {
			for i := taken.Add(1) - 1; i < int64(len(calls)); i = taken.Add(1) - 1 {
				outcomes[i] <- r.callTool(ctx, calls[i])
			}
		}()
	}
	return outcomes
}

func (r *Run) callTool(ctx context.Context, call model.ToolCall) outcome {
	begin := time.Now()
	ctx, span := r.runner.telemetry.startTool(ctx, r.span, call)
	t, known := r.agent.tools.byName[call.Name]
	var result outcome
	if !known {
		result.err = &tool.Error{
			Type:    tool.UnknownTool,
			Message: fmt.Sprintf("there is no tool %q; there are: %s", call.Name, strings.Join(r.agent.tools.names, ", ")),
		}
	} else if output, err := t.Call(ctx, call.Arguments); err != nil {
		result.err = toolError(err)
	} else {
		result.output = output
	}
	result.latency = time.Since(begin)
	r.runner.telemetry.endTool(ctx, span, r.agent.metrics, call.Name, result)
	return result
}

func toolError(err error) *tool.Error {
	if failed, ok := errors.AsType[*tool.Error](err); ok {
		return failed
	}
	return &tool.Error{Type: tool.Failed, Message: "the tool failed", Err: err}
}

// finishTool tells callers and the model what came of a call.
func (r *Run) finishTool(ctx context.Context, call model.ToolCall, result outcome) {
	finished := &agentv1.ToolCallFinished{
		ToolCallId: call.ID, Tool: call.Name, Output: result.output, Latency: durationpb.New(result.latency),
	}
	told := result.output
	if result.err != nil {
		finished.Error = result.err.Message
		told = "error: " + result.err.Message
		if result.err.Type == tool.Panicked {
			r.runner.log.ErrorContext(ctx, "tool panicked", slog.String("run_id", r.id),
				slog.String("tool", call.Name), slog.Any("error", result.err.Err))
		}
	}
	r.events.emit(ctx, &agentv1.RunEvent{Event: &agentv1.RunEvent_ToolCallFinished{ToolCallFinished: finished}})
	r.messages = append(r.messages, model.Message{Role: model.RoleTool, Text: told, ToolCallID: call.ID})
}
