package agent_test

import (
	"context"
	"errors"
	"testing"

	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/agent/model"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"pgregory.net/rapid"
)

// spender is a model that uses some or all of what it is given, or more: it
// may read what it was not counted to read, and not stop at its max_tokens.
type spender struct {
	*rapid.T

	name  string
	price model.Price
	// over is how many times as much as it should it may bill.
	over int64
	bill *bill
}

// bill is what the calls of a run came to.
type bill struct {
	calls int
	cost  model.Money
	// beyond is what the last call has cost beyond what it could have, had the
	// model kept to its request.
	beyondCost   model.Money
	beyondTokens int64
}

func (s *spender) Name() string { return s.name }

func (*spender) InputTokens(req *model.Request) int64 { return 10 + 25*int64(len(req.Messages)) }

func (s *spender) Generate(_ context.Context, req *model.Request, speak func(model.Delta)) (model.Reply, error) {
	counted := s.InputTokens(req)
	var u model.Usage
	u.InputTokens = rapid.Int64Range(0, counted*s.over).Draw(s.T, "input")
	u.OutputTokens = rapid.Int64Range(0, req.MaxOutputTokens*s.over).Draw(s.T, "output")
	if rapid.Bool().Draw(s.T, "all") {
		u.InputTokens, u.OutputTokens = counted, req.MaxOutputTokens
	}
	u.CachedInputTokens = rapid.Int64Range(0, u.InputTokens).Draw(s.T, "cached")
	u.CacheWriteTokens = rapid.Int64Range(0, u.InputTokens-u.CachedInputTokens).Draw(s.T, "written")
	s.bill.calls++
	s.bill.cost += s.price.Cost(u)
	s.bill.beyondCost = max(0, s.price.Cost(u)-s.price.Worst(counted, req.MaxOutputTokens))
	s.bill.beyondTokens = max(0, u.InputTokens+u.OutputTokens-counted-req.MaxOutputTokens)
	reply := model.Reply{Stop: model.StopToolCalls, ToolCalls: []model.ToolCall{{Name: "more"}}, Usage: u}
	switch rapid.IntRange(0, 9).Draw(s.T, "ending") {
	case 0:
		return reply, &model.Error{Kind: model.KindUnavailable, Model: s.name, Err: errors.New("busy")}
	case 1:
		speak(model.Delta{Text: "x"})
		return reply, &model.Error{Kind: model.KindBroken, Model: s.name, Err: errors.New("cut")}
	case 2:
		reply.Stop, reply.ToolCalls = model.StopEnd, nil
	case 3:
		reply.Stop, reply.ToolCalls = model.StopLength, nil
	}
	speak(model.Delta{Text: "x"})
	return reply, nil
}

// No run uses more than its budget, whatever is said, what it costs and what is
// allowed, by more than its last call was billed beyond what it was to cost.
func TestNoRunPassesItsBudget(t *testing.T) {
	t.Parallel()
	const runs = 40 // a check: 4,000 conversations
	calls := 0
	rapid.Check(t, func(rt *rapid.T) {
		for range runs {
			calls += spendBudget(t.Context(), rt).calls
		}
	})
	if calls < 100*runs {
		t.Errorf("only %d calls were made", calls)
	}
}

func spendBudget(ctx context.Context, rt *rapid.T) *bill {
	money := func(name string, most model.Money) model.Money {
		return model.Money(rapid.Int64Range(0, int64(most)).Draw(rt, name))
	}
	spent := &bill{}
	prices := model.Prices{}
	over := rapid.SampledFrom([]int64{1, 1, 1, 2, 1000}).Draw(rt, "over")
	var models []model.Model
	for _, name := range []string{"test/first", "test/second", "test/third"}[:rapid.IntRange(1, 3).Draw(rt, "models")] {
		price := model.Price{
			Input: money("input", 100*model.Dollar), CachedInput: money("cached", 100*model.Dollar),
			CacheWrite: money("write", 200*model.Dollar), Output: money("output price", 600*model.Dollar),
		}
		prices[name] = price
		models = append(models, &spender{T: rt, name: name, price: price, over: over, bill: spent})
	}
	a := anAgent(models...)
	a.MaxOutputTokens = rapid.Int64Range(1, 5000).Draw(rt, "max output tokens")
	tight := func(name string, tight, least, most int64) int64 { // or not, mostly
		return rapid.OneOf(rapid.Int64Range(1, tight), rapid.Int64Range(least, most), rapid.Int64Range(least, most)).Draw(rt, name)
	}
	a.MaxTokens = tight("max tokens", 500, 2000, 100_000)
	a.MaxCost = model.Money(tight("max cost", 1e6, 1e8, 1e9))
	var req agent.Request
	if rapid.Bool().Draw(rt, "asks for less") {
		req.MaxTokens, req.MaxCost = tight("requested tokens", 500, 2000, 100_000), model.Money(tight("requested cost", 1e6, 1e8, 1e9))
	}
	runner, err := agent.NewRunner(agent.Config{Agents: []agent.Agent{a}, Prices: prices})
	if err != nil {
		rt.Fatal(err)
	}
	run, err := runner.NewRun(req)
	if err != nil {
		rt.Fatal(err)
	}
	result, err := run.Execute(ctx, nil)
	if unavailable := (*agent.UnavailableError)(nil); err != nil && !errors.As(err, &unavailable) {
		rt.Fatal(err)
	}
	tokens, cost := a.MaxTokens, a.MaxCost
	if req.MaxTokens > 0 {
		tokens = min(tokens, req.MaxTokens)
	}
	if req.MaxCost > 0 {
		cost = min(cost, req.MaxCost)
	}
	var usedTokens int64
	var usedCost model.Money
	for _, call := range run.Calls() {
		usedTokens += call.Usage.InputTokens + call.Usage.OutputTokens
		usedCost += call.Cost
	}
	if usedCost != spent.cost || len(run.Calls()) != spent.calls {
		rt.Fatalf("billed %v for %d calls, booked %v for %d", spent.cost, spent.calls, usedCost, len(run.Calls()))
	}
	if usedCost > cost+spent.beyondCost || usedTokens > tokens+spent.beyondTokens {
		rt.Fatalf("used %v and %d tokens of %v and %d, the last call %v and %d beyond its worst",
			usedCost, usedTokens, cost, tokens, spent.beyondCost, spent.beyondTokens)
	}
	if spent.calls == 0 && result.GetStopReason() == agentv1.StopReason_STOP_REASON_COMPLETED {
		rt.Fatalf("nothing was asked, and yet: %v", result)
	}
	return spent
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
			if got := m.requests()[0].MaxOutputTokens; got != tt.want {
				t.Errorf("max tokens of the call: %d, want %d", got, tt.want)
			}
		})
	}
}
