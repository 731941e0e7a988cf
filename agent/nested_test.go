package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/agent/tool"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// player is a model whose turn depends on how far its conversation is, so that
// it answers alike whoever asks.
type player struct {
	script
}

func plays(name string, turns ...turn) *player { return &player{script{name: name, turns: turns}} }

func (p *player) Generate(ctx context.Context, req *model.Request, speak func(model.Delta)) (model.Reply, error) {
	at := 0
	for _, message := range req.Messages {
		if message.Role == model.RoleAssistant {
			at++
		}
	}
	p.mu.Lock()
	p.asked = append(p.asked, model.Request{System: req.System, Messages: slices.Clone(req.Messages), Tools: req.Tools})
	p.mu.Unlock()
	once := script{name: p.name, turns: p.turns[min(at, len(p.turns)-1):]}
	return once.Generate(ctx, req, speak)
}

// asks is a call that asks an agent.
func asks(id, name, message string) model.ToolCall {
	return model.ToolCall{ID: id, Name: agent.ToolName(name), Arguments: fmt.Sprintf(`{"message":%q}`, message)}
}

// named is an agent with generous limits that may ask others.
func named(name string, m model.Model, others ...string) agent.Agent {
	a := anAgent(m)
	a.Name, a.Agents, a.SystemPrompt, a.Description = name, others, "You are "+name+".", "Knows "+name+"s."
	return a
}

// within names events like kinds, behind the tool call within which they are.
func within(events []*agentv1.RunEvent) []string {
	var names []string
	for _, event := range events {
		name := kinds([]*agentv1.RunEvent{event})[0]
		if id := event.GetToolCallId(); id != "" {
			name = id + ": " + name
		}
		if n := len(names); n == 0 || names[n-1] != name || !strings.HasSuffix(name, "text") {
			names = append(names, name)
		}
	}
	return names
}

func TestAnAgentAsksAnother(t *testing.T) {
	t.Parallel()
	boss := plays("test/boss",
		turn{say: []string{"Let ", "me."}, calls: []model.ToolCall{asks("x", "scout", "Look.")}, usage: used(10, 1)},
		turn{say: []string{"All ", "done."}, usage: used(20, 2)})
	scout := plays("test/scout",
		turn{say: []string{"Hm."}, calls: []model.ToolCall{{ID: "x", Name: "look_up"}, asks("y", "expert", "Know?")}, usage: used(30, 3)},
		turn{say: []string{"It ", "is ", "so."}, usage: used(40, 4)})
	expert := plays("test/expert", turn{say: []string{"I ", "know."}, usage: used(50, 5)})
	s := named("scout", scout, "expert")
	var keys []string
	s.Tools = []*tool.Tool{aTool(t, "look_up", func(ctx context.Context, _ json.RawMessage) (string, error) {
		keys = append(keys, tool.CallKey(ctx))
		return "found", nil
	})}
	var paid []agent.ModelCall
	var kept []model.Message
	result, events, err := execute(t.Context(), t, newRunner(t, agent.Config{Agents: []agent.Agent{
		named("default", boss, "scout"), s, named("expert", expert),
	}}), agent.Request{
		RunID: "run_1", SessionID: "s", Message: "Do it.", History: []model.Message{{Role: model.RoleUser, Text: "Before."}},
		Ended: func(run *agent.Run) { paid, kept = run.Calls(), run.Turn() },
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"started", "text", "call agent.scout",
		"x: started", "x: text", "x: call look_up", "x: call agent.expert", "x: done look_up",
		"x/y: started", "x/y: text", "x/y: iteration", "x/y: finished",
		"x: done agent.expert", "x: iteration", "x: text", "x: iteration", "x: finished",
		"done agent.scout", "iteration", "text", "iteration", "finished",
	}
	if diff := cmp.Diff(want, within(events)); diff != "" {
		t.Error(diff)
	}
	checkTree(t, events)
	if result.GetContent() != "All done." || !slices.Equal(result.GetToolCallsMade(), []string{"agent.scout"}) ||
		result.GetIterations() != 2 || result.GetUsage().GetTotalTokens() != 165 || result.GetUsage().GetLlmCalls() != 5 {
		t.Errorf("got %v", result)
	}
	var calls []string
	for _, call := range paid {
		calls = append(calls, call.ID+" "+call.Agent+" "+call.Model)
	}
	if diff := cmp.Diff([]string{
		"run_1-1 default test/boss", "run_1-2 scout test/scout", "run_1-3 expert test/expert",
		"run_1-4 scout test/scout", "run_1-5 default test/boss",
	}, calls); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"run_1/x/x"}, keys); diff != "" {
		t.Error(diff)
	}
	first, last := scout.requests()[0], boss.requests()[1].Messages
	if first.System != "You are scout." || len(first.Messages) != 1 || first.Messages[0].Text != "Look." {
		t.Errorf("the scout was asked %+v", first)
	}
	if got := last[len(last)-1].Text; got != "It is so." || len(kept) != 4 {
		t.Errorf("the boss was told %q, the session %v", got, kept)
	}
	offered := boss.requests()[0].Tools[0]
	if offered.Name != "agent.scout" || offered.Description != "Asks the agent scout. Knows scouts." || !json.Valid(offered.Parameters) {
		t.Errorf("the boss was offered %+v", offered)
	}
}

// checkTree checks what the contract says of the events of each tool call: they
// stand between its start and its end, from `started` to `finished`, and the
// text after their last call is the answer.
func checkTree(t *testing.T, events []*agentv1.RunEvent) {
	t.Helper()
	said, open, ended := map[string]string{}, map[string]bool{"": true}, map[string]bool{}
	for _, event := range events {
		in := event.GetToolCallId()
		if !open[in] || ended[in] {
			t.Errorf("%v stands elsewhere", event)
		}
		switch e := event.GetEvent().(type) {
		case *agentv1.RunEvent_TextDelta:
			said[in] += e.TextDelta.GetText()
		case *agentv1.RunEvent_ToolCallStarted:
			id := e.ToolCallStarted.GetToolCallId()
			if agent.Within(id) != in || open[id] {
				t.Errorf("%v has a wrong id", event)
			}
			said[in], open[id] = "", true
		case *agentv1.RunEvent_ToolCallFinished:
			open[e.ToolCallFinished.GetToolCallId()] = false
		case *agentv1.RunEvent_Finished:
			ended[in] = true
			if e.Finished.GetResult().GetContent() != said[in] {
				t.Errorf("%q said %q, and has the result %v", in, said[in], e.Finished.GetResult())
			}
		}
	}
}

// Whatever becomes of the agent that is asked, the one that asks is told, and
// goes on.
func TestWhatAnAgentIsTold(t *testing.T) {
	t.Parallel()
	broken := &model.Error{Kind: model.KindBroken, Model: "test/m", Err: errors.New("cut")}
	more := turn{say: []string{"Hm."}, calls: []model.ToolCall{{Name: "none"}}}
	for name, test := range map[string]struct {
		call   model.ToolCall
		turns  []turn
		change func(*agent.Agent)
		told   string
	}{
		"the answer": {turns: []turn{{say: []string{"It is so."}}}, told: "It is so."},
		"of a model that fails": {
			turns: []turn{{say: []string{"It is "}, err: broken}},
			told:  "error: the agent stopped (model_error): model test/m broke off its answer\nIt had said:\nIt is ",
		},
		"of a model that has a bug": {
			turns: []turn{{panic: "bug"}}, told: "error: the agent stopped (model_error): model test/m broke off its answer",
		},
		"of no end": {
			turns: []turn{more}, change: func(a *agent.Agent) { a.MaxIterations = 3 },
			told: "error: the agent stopped (max_iterations): the agent may ask its model 3 times, and has",
		},
		"of an answer too long": {
			turns: []turn{{say: []string{"It is"}, stop: model.StopLength}}, change: func(a *agent.Agent) { a.MaxOutputTokens = 7 },
			told: "error: the agent stopped (token_budget): the answer reached the 7 tokens that one reply may have\nIt had said:\nIt is",
		},
		"of an agent that is too slow": {
			turns: []turn{forever()}, change: func(a *agent.Agent) { a.Timeout = time.Nanosecond },
			told: "error: the agent stopped (timeout): the run's time is up",
		},
		"of a call without a message": {
			call: model.ToolCall{ID: "x", Name: "agent.other", Arguments: `{"message": " "}`},
			told: `error: the arguments must be {"message": "what to ask"}`,
		},
		"of a call without arguments": {
			call: model.ToolCall{ID: "x", Name: "agent.other", Arguments: "Look."},
			told: `error: the arguments must be {"message": "what to ask"}`,
		},
		"of an agent that is not there": {
			call: asks("x", "nobody", "Look."), told: `error: there is no tool "agent.nobody"; there are: agent.other`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			call := test.call
			if call.Name == "" {
				call = asks("x", "other", "Look.")
			}
			boss := plays("test/boss", turn{calls: []model.ToolCall{call}}, turn{say: []string{"So."}})
			other := named("other", plays("test/m", test.turns...))
			if test.change != nil {
				test.change(&other)
			}
			result, events, err := execute(t.Context(), t, newRunner(t, agent.Config{
				Agents: []agent.Agent{named("default", boss, "other"), other},
			}), agent.Request{Message: "Go."})
			if err != nil || result.GetStopReason() != completed || result.GetContent() != "So." {
				t.Fatalf("got %v, %v", result, err)
			}
			checkTree(t, events)
			messages := boss.requests()[1].Messages
			if got := messages[len(messages)-1].Text; got != test.told {
				t.Errorf("it was told %q\nwant %q", got, test.told)
			}
		})
	}
}

// Tools go on while an agent is asked beside them, and agents one after another.
func TestToolsRunBesideAgents(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{})
	boss := plays("test/boss", turn{calls: []model.ToolCall{
		asks("a", "one", "Go."), {ID: "b", Name: "wait"}, asks("c", "two", "Go."),
	}}, turn{say: []string{"So."}})
	one := named("one", plays("test/one", turn{calls: []model.ToolCall{{ID: "d", Name: "begin"}}}, turn{say: []string{"1"}}))
	one.Tools = []*tool.Tool{aTool(t, "begin", func(context.Context, json.RawMessage) (string, error) {
		close(begun)
		return "", nil
	})}
	a := named("default", boss, "one", "two")
	a.Tools = []*tool.Tool{aTool(t, "wait", func(ctx context.Context, _ json.RawMessage) (string, error) {
		select {
		case <-begun:
			return "waited", nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	})}
	_, events, err := execute(t.Context(), t, newRunner(t, agent.Config{Agents: []agent.Agent{
		a, one, named("two", plays("test/two", turn{say: []string{"2"}})),
	}}), agent.Request{Message: "Go."})
	if err != nil {
		t.Fatal(err)
	}
	checkTree(t, events)
	var outputs []string
	for _, event := range events {
		if done := event.GetToolCallFinished(); done != nil && event.GetToolCallId() == "" {
			outputs = append(outputs, done.GetOutput())
		}
	}
	if diff := cmp.Diff([]string{"1", "waited", "2"}, outputs); diff != "" {
		t.Error(diff)
	}
}

// The end of a run is the end of the agents that it asks, at once.
func TestAnEndReachesTheAgentsThatAreAsked(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		timeout time.Duration
		want    agentv1.StopReason
	}{"cancelled": {time.Hour, cancelled}, "timeout": {10 * time.Second, timedOut}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				deep := plays("test/deep", forever())
				boss := named("default", plays("test/boss", turn{calls: []model.ToolCall{asks("a", "one", "Go."), asks("b", "two", "Go.")}}), "one", "two")
				boss.Timeout = test.timeout
				two := plays("test/two", turn{say: []string{"2"}})
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(20*time.Second, cancel)
				begin := time.Now()
				kept := &journal{dies: -1}
				result, events, err := execute(ctx, t, newRunner(t, agent.Config{Agents: []agent.Agent{
					boss, named("one", plays("test/one", turn{calls: []model.ToolCall{asks("c", "deep", "Go.")}}), "deep"), named("two", two), named("deep", deep),
				}}), agent.Request{Message: "Go.", Journal: kept})
				if err != nil || result.GetStopReason() != test.want || len(two.requests()) != 0 {
					t.Errorf("got %v, %v, %d", result, err, len(two.requests()))
				}
				if took := time.Since(begin); took != min(test.timeout, 20*time.Second) {
					t.Errorf("it took %v", took)
				}
				checkTree(t, events)
				for _, step := range kept.kept(t) {
					if step.Tool != nil {
						t.Errorf("a call that was cut off is kept as %+v", step.Tool)
					}
				}
			})
		})
	}
}

// Agents that are asked are paid for out of the run's allowance, too: each of
// their calls is reserved under the id by which it is accounted for.
func TestAgentsThatAreAskedShareTheAllowance(t *testing.T) {
	t.Parallel()
	boss := plays("test/priced", turn{calls: []model.ToolCall{asks("x", "scout", "Look.")}, usage: used(10, 1)}, turn{say: []string{"So."}, usage: used(10, 1)})
	scout := plays("test/priced", turn{say: []string{"Yes."}, usage: used(10, 1)})
	for left, want := range map[model.Money]int{model.Dollar: 3, 0: 1} {
		p := &purse{left: left}
		run, err := newRunner(t, agent.Config{
			Agents: []agent.Agent{named("default", boss, "scout"), named("scout", scout)}, Prices: prices,
		}).NewRun(agent.Request{RunID: "run_1", Message: "Go.", Allowance: p})
		if err != nil {
			t.Fatal(err)
		}
		_, _ = run.Execute(t.Context(), nil)
		calls := run.Calls()
		if len(p.asked) != want || len(calls) != want && left > 0 {
			t.Fatalf("with %d left, %d calls are reserved, %d made", left, len(p.asked), len(calls))
		}
		for i, call := range calls {
			if call.ID != p.asked[i].CallID || !call.Reserved || len(p.asked[i].Ended) != i {
				t.Errorf("%+v was reserved as %+v", call, p.asked[i])
			}
		}
	}
}

func TestRunnersRefuseAgents(t *testing.T) {
	t.Parallel()
	m := plays("test/m", turn{})
	for want, agents := range map[string][]agent.Agent{
		`agent "default" asks an agent "nobody", which there is not`: {named("default", m, "nobody")},
		"agents ask each other in a circle: default → default":       {named("default", m, "default")},
		"agents ask each other in a circle: a → b → c → a":           {named("c", m, "a"), named("a", m, "b"), named("b", m, "c")},
		`agent "a": tool "agent.b" is given twice`:                   {named("a", m, "b", "b"), named("b", m)},
		`agent "1": agents ask agents more than 5 deep`: {
			named("1", m, "2"), named("2", m, "3"), named("3", m, "4"), named("4", m, "5"), named("5", m, "6"), named("6", m, "7"), named("7", m),
		},
	} {
		if _, err := agent.NewRunner(agent.Config{Agents: agents}); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

// An agent's span is within that of the call that asks it, and is counted once.
func TestAnAgentsSpanIsWithinItsCall(t *testing.T) {
	t.Parallel()
	recorder := tracetest.NewSpanRecorder()
	boss := plays("test/boss", turn{calls: []model.ToolCall{asks("x", "scout", "Look.")}}, turn{say: []string{"So."}})
	_, _, err := execute(t.Context(), t, newRunner(t, agent.Config{
		Agents: []agent.Agent{named("default", boss, "scout"), named("scout", plays("test/scout", turn{say: []string{"Yes."}}))},
		Tracer: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)),
	}), agent.Request{Message: "Go."})
	if err != nil {
		t.Fatal(err)
	}
	names, parents := map[string]string{}, map[string]string{}
	for _, span := range recorder.Ended() {
		names[span.SpanContext().SpanID().String()] = span.Name()
	}
	for _, span := range recorder.Ended() {
		parents[span.Name()] = names[span.Parent().SpanID().String()]
	}
	if diff := cmp.Diff(map[string]string{
		"invoke_agent default": "", "chat boss": "invoke_agent default", "execute_tool agent.scout": "invoke_agent default",
		"invoke_agent scout": "execute_tool agent.scout", "chat scout": "invoke_agent scout",
	}, parents); diff != "" {
		t.Error(diff)
	}
}
