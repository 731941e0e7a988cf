package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/agent/tool"
)

// MaxNesting is how deep agents may ask agents: one that is asked by a request,
// which asks another, and so on, are so many beside the first.
const MaxNesting = 5

// ToolName is the name of the tool that asks the agent of that name.
func ToolName(agent string) string { return model.AgentPrefix + agent }

// pathMark is between the ids of tool calls that happen within one another.
const pathMark = "/"

// path is how all that is told of the run names one of its calls.
func (r *Run) path(callID string) string {
	if r.within == "" {
		return callID
	}
	return r.within + pathMark + callID
}

// Within is the call in which the agent ran that has made another, by the id
// that events have; empty for a call of the run itself.
func Within(callID string) string {
	within, _ := splitPath(callID)
	return within
}

func splitPath(path string) (within, id string) {
	i := strings.LastIndex(path, pathMark)
	return path[:max(i, 0)], path[i+1:]
}

// asTold are calls with the ids that events have.
func (r *Run) asTold(calls []model.ToolCall) []model.ToolCall {
	told := slices.Clone(calls)
	for i := range told {
		told[i].ID = r.path(told[i].ID)
	}
	return told
}

// connect gives every agent those that it may ask, and all their tools.
func (r *Runner) connect() error {
	for _, c := range r.agents {
		for _, name := range c.Agents {
			asked, ok := r.byName[name]
			if !ok {
				return fmt.Errorf("agent %q asks an agent %q, which there is not", c.Name, name)
			}
			c.asks = append(c.asks, asked)
		}
		var err error
		if c.tools, err = newToolset(c.Tools, c.asks); err != nil {
			return fmt.Errorf("agent %q: %w", c.Name, err)
		}
	}
	for _, c := range r.agents {
		if err := c.measure(nil); err != nil {
			return err
		}
	}
	return nil
}

// measure finds out how deep the agents are nested that c may ask, which above
// may ask.
func (c *configured) measure(above []string) error {
	if i := slices.Index(above, c.Name); i >= 0 {
		return fmt.Errorf("agents ask each other in a circle: %s", strings.Join(append(above[i:], c.Name), " → "))
	}
	if c.nesting > 0 {
		return nil
	}
	deepest := 0
	for _, asked := range c.asks {
		if err := asked.measure(append(above, c.Name)); err != nil {
			return err
		}
		deepest = max(deepest, asked.nesting)
	}
	if c.nesting = deepest + 1; deepest > MaxNesting {
		return fmt.Errorf("agent %q: agents ask agents more than %d deep", c.Name, MaxNesting)
	}
	return nil
}

// asTool is the agent as others' models see it.
func (c *configured) asTool() model.Tool {
	description := "Asks the agent " + c.Name + "."
	if c.Description != "" {
		description += " " + c.Description
	}
	return model.Tool{
		Name: ToolName(c.Name), Description: description,
		Parameters: json.RawMessage(`{"type":"object","properties":{"message":{"type":"string",` +
			`"description":"What to ask. The agent knows nothing else of this conversation."}},` +
			`"required":["message"],"additionalProperties":false}`),
	}
}

// messageOf is what a call asks an agent.
func messageOf(call model.ToolCall) (string, *tool.Error) {
	var asked struct {
		Message string `json:"message"`
	}
	err := json.Unmarshal([]byte(call.Arguments), &asked)
	if err == nil && strings.TrimSpace(asked.Message) == "" {
		err = errors.New("no message")
	}
	if err != nil {
		return "", &tool.Error{
			Type: tool.InvalidArguments, Message: `the arguments must be {"message": "what to ask"}`, Err: err,
		}
	}
	return asked.Message, nil
}

// callAgent runs the agent that a call asks, within the call. A non-nil ending
// is the run's: there is no outcome then.
func (r *Run) callAgent(ctx context.Context, call model.ToolCall, callee *configured) (result outcome, end *ending) {
	begin := time.Now()
	told := r.runner.telemetry
	ctx, span := told.startTool(ctx, r.span, call)
	defer func() {
		if p := recover(); p != nil {
			end = nil
			result = outcome{err: &tool.Error{
				Type: tool.Panicked, Message: "the agent has met a bug", Err: fmt.Errorf("panic: %v\n%s", p, debug.Stack()),
			}}
		}
		if end == nil {
			result.latency = time.Since(begin)
			told.endTool(ctx, span, r, call.Name, result)
		} else if span != nil {
			span.End()
		}
	}()
	message, refusal := messageOf(call)
	if refusal != nil {
		return outcome{err: refusal}, nil
	}
	nested, err := r.nest(call, callee, message)
	if err != nil {
		return outcome{err: toolError(err)}, nil
	}
	return nested.answerTo(ctx)
}

// nest prepares the run of an agent within a call. It may use what its parent
// has left.
func (r *Run) nest(call model.ToolCall, callee *configured, message string) (*Run, error) {
	tools, err := callee.toolsNow()
	if err != nil {
		return nil, err
	}
	nested := &Run{
		runner: r.runner, agent: callee, tools: tools, root: r.root, parent: r, within: r.path(call.ID),
		id: r.id, session: r.session, user: r.user, request: message, timeout: callee.Timeout,
		journal: r.journal, allowance: r.allowance, events: r.events, budget: r.budget.share(&callee.Agent),
	}
	steps := r.root.nested[nested.within]
	if r.past.paused > 0 && r.iterations == r.past.paused { // only what waited for a person has not ended
		attempt := r.root.resume.Attempt
		nested.past = newPast(slices.Concat(steps, []Step{{Asked: attempt - 1}}), attempt)
	} else {
		nested.past = past{steps: steps} // all of it is told again
	}
	return nested, nil
}

// answerTo runs the agent to its end, or to that of ctx, and returns what its
// parent's model is told.
func (r *Run) answerTo(ctx context.Context) (outcome, *ending) {
	begin := time.Now()
	limited, cancel := context.WithTimeoutCause(ctx, r.timeout, errTimeout)
	defer cancel()
	limited, r.span = r.runner.telemetry.startRun(limited, r)
	defer r.span.End()
	end := r.play(limited)
	switch {
	case end.lost != nil:
		return outcome{}, end
	case end.approval != nil:
		r.runner.telemetry.pauseRun(r)
		return outcome{}, end
	}
	latency := time.Since(begin)
	r.runner.telemetry.endRun(limited, r, end, latency)
	r.log(limited, end)
	result := r.result(end, latency)
	r.finish(limited, result)

	answer := outcome{output: tool.BoundOutput(result.GetContent())}
	switch {
	case result.GetSuccess():
	case ctx.Err() != nil:
		answer.err = &tool.Error{Type: tool.Cancelled, Message: "the run ended before the agent did", Err: context.Cause(ctx)}
	default:
		answer.err = &tool.Error{
			Type: tool.Failed, Message: fmt.Sprintf("the agent stopped (%s): %s", stopName(end.reason), end.why), Err: end.err,
		}
	}
	return answer, nil
}

// share is the budget of an agent that is asked: its own, and no more than is
// left.
func (b *budget) share(a *Agent) budget {
	return budget{
		maxTokens: min(a.MaxTokens, b.maxTokens-b.tokens()),
		maxCost:   min(a.MaxCost, b.maxCost-b.cost),
	}
}

// spendPast books what was used before within a call that is not continued.
func (r *Run) spendPast(call model.ToolCall) {
	path := r.path(call.ID)
	for _, within := range slices.Sorted(maps.Keys(r.root.nested)) {
		if within != path && !strings.HasPrefix(within, path+pathMark) {
			continue
		}
		for _, step := range r.root.nested[within] {
			if step.Model != nil {
				r.spend(r.runner.asked(step.Model.Agent, step.Model.Model), step.Model.Reply.Usage)
			}
		}
	}
}

// sortSteps tells a run's own steps from those within its calls, by the calls.
func sortSteps(steps []Step) (own []Step, nested map[string][]Step) {
	for _, step := range steps {
		if step.Decided != nil {
			local := *step.Decided
			step.Within, local.ID = splitPath(local.ID)
			step.Decided = &local
		}
		if step.Within == "" {
			own = append(own, step)
			continue
		}
		if nested == nil {
			nested = make(map[string][]Step)
		}
		nested[step.Within] = append(nested[step.Within], step)
	}
	return own, nested
}
