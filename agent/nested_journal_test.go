package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/agent/tool"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"pgregory.net/rapid"
)

// family is agents three deep, with tools that must not be called twice, two
// siblings in one reply, a model that falls back and a reply that is too long.
type family struct {
	models []*player
	runner *agent.Runner
	paid   sync.Map // how often, by call key
}

func newFamily(t *testing.T) *family {
	t.Helper()
	f := &family{}
	pay := aTool(t, "pay", func(ctx context.Context, _ json.RawMessage) (string, error) {
		n, _ := f.paid.LoadOrStore(tool.CallKey(ctx), new(atomic.Int32))
		n.(*atomic.Int32).Add(1)
		return "paid", nil
	})
	m := func(name string, turns ...turn) *player {
		f.models = append(f.models, plays(name, turns...))
		return f.models[len(f.models)-1]
	}
	payment := model.ToolCall{ID: "p", Name: "pay"}
	boss := named("default", m("test/boss",
		turn{say: []string{"First."}, calls: []model.ToolCall{asks("a", "lead", "Go."), payment, asks("b", "hand", "Go.")}, usage: used(10, 1)},
		turn{say: []string{"Then."}, calls: []model.ToolCall{asks("c", "hand", "Once more.")}, usage: used(20, 2)},
		turn{say: []string{"Done."}, usage: used(30, 3)},
	), "lead", "hand")
	lead := named("lead", m("test/lead",
		turn{say: []string{"Well."}, calls: []model.ToolCall{payment, asks("a", "hand", "You.")}, usage: used(40, 4)},
		turn{say: []string{"Led."}, usage: used(50, 5)},
	), "hand")
	hand := named("hand", m("test/hand",
		turn{say: []string{"Hm."}, calls: []model.ToolCall{payment}, usage: used(60, 6)},
		turn{say: []string{"Made"}, stop: model.StopLength, usage: used(70, 7)},
	))
	down := m("test/down", turn{err: &model.Error{Kind: model.KindUnavailable, Model: "test/down"}, usage: used(1, 0)})
	lead.Models = append([]model.Model{down}, lead.Models...)
	for _, a := range []*agent.Agent{&boss, &lead, &hand} {
		a.Tools = []*tool.Tool{pay}
	}
	f.runner = newRunner(t, agent.Config{Agents: []agent.Agent{boss, lead, hand}})
	return f
}

// asked is how often models were asked.
func (f *family) asked() int {
	n := 0
	for _, m := range f.models {
		n += len(m.requests())
	}
	return n
}

func modelSteps(steps []agent.Step) int {
	n := 0
	for _, step := range steps {
		if step.Model != nil {
			n++
		}
	}
	return n
}

// shown is what somebody sees who drops what `retrying` says to drop.
func shown(parts ...[]*agentv1.RunEvent) []string {
	var seen []string
	step := 0
	for _, event := range slices.Concat(parts...) {
		own := event.GetToolCallId() == ""
		switch e := event.GetEvent().(type) {
		case *agentv1.RunEvent_Retrying:
			if own {
				seen = seen[:step]
			}
			continue
		case *agentv1.RunEvent_TextDelta:
			seen = append(seen, event.GetToolCallId()+": "+e.TextDelta.GetText())
		case *agentv1.RunEvent_ToolCallFinished:
			seen = append(seen, e.ToolCallFinished.GetToolCallId()+" = "+e.ToolCallFinished.GetOutput()+e.ToolCallFinished.GetError())
		default:
			seen = append(seen, within([]*agentv1.RunEvent{event})...)
		}
		if own && (event.GetStarted() != nil || event.GetIterationFinished() != nil) {
			step = len(seen)
		}
	}
	return seen
}

// Wherever a run is lost within the agents that it asks, whoever takes it over
// asks no model again whose reply is kept, makes no call twice that must not be
// made twice, and accounts for the same; and again, should that one be lost too.
func TestARunGoesOnWithinAnAgent(t *testing.T) {
	t.Parallel()
	request := agent.Request{RunID: "run_1", SessionID: "s", Message: "Go."}
	whole := newFamily(t)
	calm := &journal{dies: -1}
	request.Journal = calm
	want, events, err := execute(t.Context(), t, whole.runner, request)
	if err != nil || want.GetContent() != "Done." || want.GetUsage().GetLlmCalls() != 12 {
		t.Fatalf("got %v, %v", want, err)
	}
	checkTree(t, events)
	for dies := range len(calm.steps) {
		for _, again := range []int{1, 2, 5} {
			f := newFamily(t)
			j := &journal{dies: dies}
			request.Journal, request.Resume = j, nil
			var told []*agentv1.RunEvent
			var result *agentv1.RunResult
			lost := (*agent.JournalError)(nil)
			before := 0 // replies that are kept
			for attempt := int32(1); ; attempt++ {
				asked := f.asked()
				var part []*agentv1.RunEvent
				result, part, err = execute(t.Context(), t, f.runner, request)
				told = append(told, part...)
				steps := j.kept(t)
				fresh, kept := f.asked()-asked, modelSteps(steps)-before
				if fresh != kept && fresh != kept+1 {
					t.Fatalf("%d: of %d replies %d are kept", dies, fresh, kept)
				}
				if err == nil {
					break
				}
				if !errors.As(err, &lost) {
					t.Fatal(err)
				}
				before = modelSteps(steps)
				if j.dies += again; attempt > 2 {
					j.dies = -1
				}
				request.Resume = &agent.Resume{Attempt: attempt + 1, Reason: "lost", Steps: steps, Told: len(told) > 0, Skipped: 100}
			}
			if result.GetContent() != "Done." || result.GetIterations() != 3 ||
				!slices.Equal(result.GetToolCallsMade(), want.GetToolCallsMade()) {
				t.Errorf("%d: %v", dies, result)
			}
			// What was asked for in vain was not kept: the calls are those that are.
			if usage := result.GetUsage(); usage.GetTotalTokens() != want.GetUsage().GetTotalTokens() || usage.GetLlmCalls() != 12 {
				t.Errorf("%d: used %v", dies, usage)
			}
			ids := map[string]bool{}
			for _, call := range j.calls {
				if ids[call.ID] {
					t.Errorf("%d: %s is accounted for twice", dies, call.ID)
				}
				ids[call.ID] = true
			}
			f.paid.Range(func(key, n any) bool {
				if n.(*atomic.Int32).Load() != 1 {
					t.Errorf("%d: paid %d times for %s", dies, n.(*atomic.Int32).Load(), key)
				}
				return true
			})
			checkSeen(t, dies, shown(told), shown(events))
		}
	}
}

// checkSeen checks that who has watched a run that was taken over has seen what
// there was to see. Of an agent that had ended before, it is only the call.
func checkSeen(t *testing.T, dies int, seen, want []string) {
	t.Helper()
	for _, line := range seen {
		if !slices.Contains(want, line) && !strings.Contains(line, "its outcome is unknown") {
			t.Errorf("%d: saw %q", dies, line)
		}
	}
	for _, line := range want {
		nested := strings.Contains(line, ":") && !strings.HasPrefix(line, ":") || strings.Contains(line, "/")
		if !nested && !strings.Contains(line, "paid") && !slices.Contains(seen, line) {
			t.Errorf("%d: did not see %q", dies, line)
		}
	}
}

// A person decides about what agents want to do that are asked, beside what the
// run itself wants.
func TestAnAgentThatIsAskedWaitsForAPerson(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		attempt int32
		approve bool
		told    string
		mails   int32
		events  []string
	}{
		"approved": {2, true, "sent", 2, []string{
			"a/m: done mail", "a/m: iteration", "a/m: text", "a/m: iteration", "a/m: finished",
		}},
		"rejected": {2, false, "error: a person rejected the call: no", 0, []string{
			"a/m: done mail", "a/m: iteration", "a/m: text", "a/m: iteration", "a/m: finished",
		}},
		"later": {3, true, "sent", 2, []string{
			"retrying", "text", "call agent.lead", "call mail",
			"a: started", "a: text", "a: call agent.clerk",
			"a/m: started", "a/m: text", "a/m: call look_up", "a/m: call mail", "a/m: done look_up", "a/m: done mail",
			"a/m: iteration", "a/m: text", "a/m: iteration", "a/m: finished",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mails, looked atomic.Int32
			mail := guarded(t, "mail", &mails)
			boss := plays("test/boss", turn{say: []string{"Go."}, calls: []model.ToolCall{
				asks("a", "lead", "Go."), {ID: "b", Name: "mail"},
			}}, turn{say: []string{"So."}})
			lead := plays("test/lead", turn{say: []string{"On."}, calls: []model.ToolCall{asks("m", "clerk", "Mail.")}}, turn{say: []string{"Led."}})
			clerk := plays("test/clerk", turn{say: []string{"Well."}, calls: []model.ToolCall{
				{ID: "l", Name: "look_up"}, {ID: "m", Name: "mail"},
			}}, turn{say: []string{"It is sent."}})
			a, c := named("default", boss, "lead"), named("clerk", clerk)
			a.Tools = []*tool.Tool{mail}
			c.Tools = []*tool.Tool{mail, aTool(t, "look_up", func(context.Context, json.RawMessage) (string, error) {
				looked.Add(1)
				return "found", nil
			})}
			runner := newRunner(t, agent.Config{Agents: []agent.Agent{a, named("lead", lead, "clerk"), c}})
			kept := &journal{dies: -1}
			request := agent.Request{RunID: "run_1", SessionID: "s", Message: "Mail.", Journal: kept}
			_, events, err := execute(t.Context(), t, runner, request)
			needed := (*agent.ApprovalError)(nil)
			if !errors.As(err, &needed) {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{
				"started", "text", "call agent.lead", "call mail", "a: started", "a: text", "a: call agent.clerk",
				"a/m: started", "a/m: text", "a/m: call look_up", "a/m: call mail", "a/m: done look_up", "ask mail", "a/m: ask mail",
			}, within(events)); diff != "" {
				t.Error(diff)
			}
			steps := []agent.Step{needed.Pause}
			for _, call := range needed.Calls {
				decision := &agent.Decision{ID: call.ID, Approved: test.approve}
				if !test.approve {
					decision.Note = "no"
				}
				steps = append(steps, agent.Step{Decided: decision})
			}
			if len(needed.Calls) != 2 || needed.Calls[0].ID != "b" || needed.Calls[1].ID != "a/m/m" {
				t.Fatalf("asked about %v", needed.Calls)
			}
			if err := kept.Append(t.Context(), steps, nil); err != nil {
				t.Fatal(err)
			}
			request.Resume = &agent.Resume{Attempt: test.attempt, Steps: kept.kept(t), Told: true}
			result, events, err := execute(t.Context(), t, runner, request)
			if err != nil || result.GetContent() != "So." || result.GetUsage().GetLlmCalls() != 6 {
				t.Errorf("got %v, %v", result, err)
			}
			want := slices.Concat(test.events, []string{
				"a: done agent.clerk", "a: iteration", "a: text", "a: iteration", "a: finished",
				"done agent.lead", "done mail", "iteration", "text", "iteration", "finished",
			})
			if diff := cmp.Diff(want, within(events)); diff != "" {
				t.Error(diff)
			}
			messages := clerk.requests()[1].Messages
			if got := messages[len(messages)-1].Text; got != test.told || mails.Load() != test.mails || looked.Load() != 1 {
				t.Errorf("it was told %q; %d mails, %d looked up", got, mails.Load(), looked.Load())
			}
			if n := len(boss.requests()) + len(lead.requests()) + len(clerk.requests()); n != 6 {
				t.Errorf("models were asked %d times", n)
			}
		})
	}
}

// Who has no journal cannot wait, however deep the tool is.
func TestACallCannotWaitWithinAnAgent(t *testing.T) {
	t.Parallel()
	var mails atomic.Int32
	clerk := named("clerk", plays("test/clerk", turn{calls: []model.ToolCall{{ID: "m", Name: "mail"}}}))
	clerk.Tools = []*tool.Tool{guarded(t, "mail", &mails)}
	_, events, err := execute(t.Context(), t, newRunner(t, agent.Config{Agents: []agent.Agent{
		named("default", plays("test/boss", turn{calls: []model.ToolCall{asks("a", "clerk", "Mail.")}}), "clerk"), clerk,
	}}), agent.Request{Message: "Mail."})
	needed := (*agent.ApprovalError)(nil)
	if !errors.As(err, &needed) || needed.Calls[0].ID != "a/m" || mails.Load() != 0 {
		t.Errorf("got %v", err)
	}
	if diff := cmp.Diff([]string{"started", "call agent.clerk", "a: started"}, within(events)); diff != "" {
		t.Error(diff)
	}
}

// delegator is a model that asks the agents that it has, until it is short of
// room.
type delegator struct {
	t     *rapid.T
	calls int
}

func (*delegator) Name() string { return "test/delegator" }

func (*delegator) InputTokens(req *model.Request) int64 { return 10 + 25*int64(len(req.Messages)) }

func (d *delegator) Generate(_ context.Context, req *model.Request, speak func(model.Delta)) (model.Reply, error) {
	d.calls++
	speak(model.Delta{Text: "x"})
	reply := model.Reply{Stop: model.StopEnd}
	reply.Usage = model.Usage{InputTokens: d.InputTokens(req), OutputTokens: min(req.MaxOutputTokens, rapid.Int64Range(50, 500).Draw(d.t, "output"))}
	if reply.Usage.OutputTokens == req.MaxOutputTokens {
		reply.Stop = model.StopLength
		return reply, nil
	}
	for _, offered := range req.Tools {
		for range rapid.IntRange(0, 2).Draw(d.t, "calls") {
			reply.Stop = model.StopToolCalls
			reply.ToolCalls = append(reply.ToolCalls, model.ToolCall{Name: offered.Name, Arguments: `{"message":"Go."}`})
		}
	}
	return reply, nil
}

// No run uses more than its budget with all the agents that it asks, nor any of
// these more than its own, and the account of all is that of their calls.
func TestNoTreePassesItsBudget(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		money := func(name string, least, most model.Money) model.Money {
			return model.Money(rapid.Int64Range(int64(least), int64(most)).Draw(rt, name))
		}
		m, byMoney := &delegator{t: rt}, rapid.Bool().Draw(rt, "bound by money")
		names := []string{"default", "b", "c", "d"}
		byName := map[string]*agent.Agent{}
		agents := make([]agent.Agent, len(names))
		for i, name := range names {
			a := named(name, m)
			for _, other := range names[i+1:] {
				if rapid.Bool().Draw(rt, name+" asks "+other) {
					a.Agents = append(a.Agents, other)
				}
			}
			a.MaxIterations = rapid.IntRange(1, 4).Draw(rt, "iterations")
			a.MaxOutputTokens = rapid.Int64Range(1, 2000).Draw(rt, "max output tokens")
			if byMoney {
				a.MaxTokens, a.MaxCost = 1_000_000, money("max cost", model.Dollar/1000, model.Dollar/20)
			} else {
				a.MaxTokens, a.MaxCost = rapid.Int64Range(1, 10_000).Draw(rt, "max tokens"), model.Dollar
			}
			agents[i], byName[name] = a, &agents[i]
		}
		runner, err := agent.NewRunner(agent.Config{Agents: agents, Prices: model.Prices{"test/delegator": {
			Input: money("input", 0, 20*model.Dollar), Output: money("output price", model.Dollar, 30*model.Dollar),
		}}})
		if err != nil {
			rt.Fatal(err)
		}
		run, err := runner.NewRun(agent.Request{Message: "Go."})
		if err != nil {
			rt.Fatal(err)
		}
		events := agent.NewEvents()
		ended := make(chan *agentv1.RunResult)
		go func() {
			result, _ := run.Execute(t.Context(), events)
			ended <- result
		}()
		check := func(result *agentv1.RunResult) {
			a, usage := byName[result.GetAgent()], result.GetUsage()
			if usage.GetTotalTokens() > a.MaxTokens || usage.GetCostUsd() > a.MaxCost.USD() || usage.GetLlmCalls() < int64(result.GetIterations()) {
				rt.Fatalf("%s used %v of %d tokens and %v dollars", a.Name, usage, a.MaxTokens, a.MaxCost.USD())
			}
		}
		for {
			event, err := events.Next(t.Context())
			if err != nil {
				break
			}
			if finished := event.GetFinished(); finished != nil {
				check(finished.GetResult())
			}
		}
		var tokens int64
		var cost model.Money
		for _, call := range run.Calls() {
			tokens += call.Usage.InputTokens + call.Usage.OutputTokens
			cost += call.Cost
		}
		usage := (<-ended).GetUsage()
		if usage.GetTotalTokens() != tokens || usage.GetCostUsd() != cost.USD() || usage.GetLlmCalls() != int64(m.calls) {
			rt.Fatalf("%d calls of %d tokens and %v dollars are told as %v", m.calls, tokens, cost.USD(), usage)
		}
	})
}
