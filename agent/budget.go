package agent

import (
	"fmt"

	"github.com/runwire/runwire/agent/model"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

// budget is what a run may use and what it has used. Before each model call
// fit says how much the call may say; after it spend books what it used.
//
// So a run costs more than its budget only by what its last call is billed
// beyond what was counted on: for more input than Model.InputTokens says, and for
// more output than the max_tokens that it was given. Whatever a call is billed
// more than it was to cost at most, the next one does not have.
type budget struct {
	maxTokens int64
	maxCost   model.Money

	used      model.Usage
	cost      model.Money
	unpriced  bool // a model without a known price was called
	calls     int64
	estimated bool
}

func newBudget(a *Agent, req Request) budget {
	b := budget{maxTokens: a.MaxTokens, maxCost: a.MaxCost}
	if req.MaxTokens > 0 {
		b.maxTokens = min(b.maxTokens, req.MaxTokens)
	}
	if req.MaxCost > 0 {
		b.maxCost = min(b.maxCost, req.MaxCost)
	}
	return b
}

// room is how many output tokens a call may have that reads at most input, and
// what ends the run when the model uses them all.
type room struct {
	input  int64
	output int64
	bound  agentv1.StopReason
	why    string
}

// fit returns the room for a call that reads at most input tokens and would
// like to say at most want. No room for a single token means that the call
// must not be made.
func (b *budget) fit(m *pricedModel, input, want int64) room {
	fits := room{
		input:  input,
		output: want,
		bound:  agentv1.StopReason_STOP_REASON_TOKEN_BUDGET,
		why:    fmt.Sprintf("the answer reached the %d tokens that one reply may have", want),
	}
	if left := b.maxTokens - b.tokens() - input; left < fits.output {
		fits.output = max(left, 0)
		fits.why = fmt.Sprintf("the run's budget of %d tokens is used up: %d used, the next call reads up to %d",
			b.maxTokens, b.tokens(), input)
	}
	if !m.priced {
		return fits
	}
	if affordable := m.price.Affords(b.maxCost-b.cost, input); affordable < fits.output {
		fits.output = affordable
		fits.bound = agentv1.StopReason_STOP_REASON_COST_BUDGET
		fits.why = fmt.Sprintf("the run's budget of %v is used up: %v spent, the next call could cost more than the rest",
			b.maxCost, b.cost)
	}
	return fits
}

// spend books a call's usage and returns its cost; known is whether there is a price.
func (b *budget) spend(m *pricedModel, u model.Usage) (cost model.Money, known bool) {
	b.calls++
	b.used.InputTokens += u.InputTokens
	b.used.CachedInputTokens += u.CachedInputTokens
	b.used.CacheWriteTokens += u.CacheWriteTokens
	b.used.OutputTokens += u.OutputTokens
	b.estimated = b.estimated || u.Estimated
	if !m.priced {
		b.unpriced = b.unpriced || u.InputTokens+u.OutputTokens > 0
		return 0, false
	}
	cost = m.price.Cost(u)
	b.cost += cost
	return cost, true
}

func (b *budget) tokens() int64 { return b.used.InputTokens + b.used.OutputTokens }

// usage is the budget's account, for events and results.
func (b *budget) usage() *agentv1.Usage {
	u := &agentv1.Usage{
		InputTokens:       b.used.InputTokens,
		CachedInputTokens: b.used.CachedInputTokens,
		CacheWriteTokens:  b.used.CacheWriteTokens,
		OutputTokens:      b.used.OutputTokens,
		TotalTokens:       b.tokens(),
		LlmCalls:          b.calls,
		Estimated:         b.estimated,
	}
	if !b.unpriced {
		usd := b.cost.USD()
		u.CostUsd = &usd
	}
	return u
}
