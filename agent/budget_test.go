package agent_test

import (
	"context"
	"testing"

	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/agent/model"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"pgregory.net/rapid"
)

// spender is a model that uses all it is given: the input it was counted to
// have at its dearest, and every token of its max_tokens or a part of them.
type spender struct {
	t     *rapid.T
	calls int
}

func (*spender) Name() string { return "test/spender" }

func (s *spender) InputTokens(req *model.Request) int64 { return 10 + 25*int64(len(req.Messages)) }

func (s *spender) Generate(_ context.Context, req *model.Request, speak func(model.Delta)) (model.Reply, error) {
	s.calls++
	speak(model.Delta{Text: "x"})
	input, output := s.InputTokens(req), rapid.Int64Range(0, req.MaxOutputTokens).Draw(s.t, "output")
	if rapid.Bool().Draw(s.t, "all") {
		output = req.MaxOutputTokens
	}
	reply := model.Reply{Stop: model.StopToolCalls, ToolCalls: []model.ToolCall{{Name: "more"}}}
	reply.Usage = model.Usage{InputTokens: input, CacheWriteTokens: rapid.Int64Range(0, input).Draw(s.t, "written"), OutputTokens: output}
	if output == req.MaxOutputTokens {
		reply.Stop, reply.ToolCalls = model.StopLength, nil
	}
	return reply, nil
}

// No run uses more than its budget, whatever the prices and the limits, as
// long as the provider bills what it was told.
func TestNoRunPassesItsBudget(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		money := func(name string, most model.Money) model.Money {
			return model.Money(rapid.Int64Range(0, int64(most)).Draw(rt, name))
		}
		a := anAgent(&spender{t: rt})
		a.MaxOutputTokens = rapid.Int64Range(1, 5000).Draw(rt, "max output tokens")
		a.MaxTokens = rapid.Int64Range(1, 100_000).Draw(rt, "max tokens")
		a.MaxCost = 1 + money("max cost", model.Dollar)
		req := agent.Request{
			MaxTokens: rapid.Int64Range(0, 100_000).Draw(rt, "requested tokens"),
			MaxCost:   money("requested cost", model.Dollar),
		}
		runner, err := agent.NewRunner(agent.Config{Agents: []agent.Agent{a}, Prices: model.Prices{"test/spender": {
			Input: money("input", 100*model.Dollar), CacheWrite: money("write", 100*model.Dollar), Output: money("output price", 600*model.Dollar),
		}}})
		if err != nil {
			rt.Fatal(err)
		}
		run, err := runner.NewRun(req)
		if err != nil {
			rt.Fatal(err)
		}
		result, err := run.Execute(t.Context(), nil)
		if err != nil {
			rt.Fatal(err)
		}
		tokens, cost := a.MaxTokens, a.MaxCost
		if req.MaxTokens > 0 {
			tokens = min(tokens, req.MaxTokens)
		}
		if req.MaxCost > 0 {
			cost = min(cost, req.MaxCost)
		}
		usage := result.GetUsage()
		if usage.GetTotalTokens() > tokens || usage.GetCostUsd() > cost.USD() {
			rt.Fatalf("used %v of %d tokens and %v dollars", usage, tokens, cost.USD())
		}
		if usage.GetLlmCalls() == 0 && result.GetStopReason() == agentv1.StopReason_STOP_REASON_COMPLETED {
			rt.Fatalf("nothing was asked, and yet: %v", result)
		}
	})
}

func TestRequestOnlyLowersTheBudget(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		request agent.Request
		want    int64 // the max_tokens of the first call, of an agent with 1,000 tokens and 1,000 microdollars
	}{
		"nothing asked":    {agent.Request{}, 450}, // 1000 - 100 of input, at two microdollars each
		"less tokens":      {agent.Request{MaxTokens: 300}, 200},
		"more tokens":      {agent.Request{MaxTokens: 1e9}, 450},
		"less money":       {agent.Request{MaxCost: 300 * model.Dollar / 1e6}, 100},
		"more money":       {agent.Request{MaxCost: 1e6 * model.Dollar}, 450},
		"less of both":     {agent.Request{MaxTokens: 150, MaxCost: 300 * model.Dollar / 1e6}, 50},
		"endless of money": {agent.Request{MaxCost: 1<<63 - 1}, 450},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &script{name: "test/priced", turns: []turn{{}}, input: 100}
			a := anAgent(m)
			a.MaxTokens, a.MaxCost = 1000, 1000*model.Dollar/1e6
			if _, _, err := execute(t.Context(), t, newRunner(t, agent.Config{Agents: []agent.Agent{a}, Prices: prices}), tt.request); err != nil {
				t.Fatal(err)
			}
			// One token less may be offered: half a nano-dollar is kept for rounding.
			if got := m.requests()[0].MaxOutputTokens; got != tt.want && got != tt.want-1 {
				t.Errorf("max tokens of the call: %d, want %d", got, tt.want)
			}
		})
	}
}
