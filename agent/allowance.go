package agent

import (
	"context"
	"errors"
	"time"

	"github.com/runwire/runwire/agent/model"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

// Allowance is money that a run shares with others, such as what its user may
// spend in a day. It must be safe for concurrent use.
type Allowance interface {
	// Reserve sets money aside for a model call, before it is made: all of
	// Most, or what is left, if that is Least or more. It stays set aside until
	// the call's usage is written, whose ModelCall is Reserved.
	//
	// If less is left it is a *SpentError. After any other error nobody knows
	// what is left; the call is not made either.
	Reserve(ctx context.Context, reservation Reservation) (Grant, error)
}

// Reservation is what a model call may cost.
type Reservation struct {
	// CallID is its ModelCall's. What was set aside under it before, by a try
	// that was lost, is no longer.
	CallID string
	// Least pays for the input and one token of an answer, Most for all that the
	// call may use.
	Least, Most model.Money
	// Within is how long the run may go on: then the call's usage is written.
	Within time.Duration
	// Ended are the run's calls whose usage is not written yet. It is known by
	// now what they have cost.
	Ended []ModelCall
}

// Grant is what was set aside.
type Grant struct {
	Amount model.Money
	// Limit says which limit has left no more, for the caller; empty if Amount
	// is the reservation's Most.
	Limit string
}

// SpentError says that too little is left of an allowance to ask the model.
type SpentError struct {
	// Limits are those in the way, at least one.
	Limits []SpentLimit
	// RetryAfter is when more may be left.
	RetryAfter time.Duration
}

// SpentLimit is a limit that was reached.
type SpentLimit struct {
	// Subject is whose limit it is: `user:ID` or `key:NAME`.
	Subject string
	// Description says what is allowed, in a few words for callers.
	Description string
}

// Error says which limit was reached.
func (e *SpentError) Error() string {
	return "the spend limit of " + e.Limits[0].Description + " leaves too little for the next call"
}

// metered says whether a call of m is paid for out of the allowance.
func (r *Run) metered(m *pricedModel) bool {
	return r.allowance != nil && m.priced && m.price != model.Price{}
}

// reserve sets aside what the call may cost, and lowers what it may say to what
// is left. A non-nil ending is the run's.
func (r *Run) reserve(ctx context.Context, m *pricedModel, req *model.Request) *ending {
	if !r.metered(m) {
		return nil
	}
	most := m.price.Worst(r.room.input, r.room.output)
	grant, err := r.allowance.Reserve(ctx, Reservation{
		CallID: r.callID(r.root.budget.calls + 1), Least: max(m.price.Worst(r.room.input, 1), 1), Most: max(most, 1),
		Within: time.Until(r.root.deadline), Ended: r.root.calls,
	})
	spent := (*SpentError)(nil)
	switch {
	case err == nil:
	case errors.As(err, &spent):
		return &ending{reason: agentv1.StopReason_STOP_REASON_COST_BUDGET, why: spent.Error(), spent: spent}
	case ctx.Err() != nil:
		return interrupted(ctx)
	default:
		return &ending{
			reason: agentv1.StopReason_STOP_REASON_MODEL_ERROR, err: err, unavailable: true,
			why: "nobody knows whether the spend limit leaves enough for the next call",
		}
	}
	if grant.Amount < most {
		r.room.output = m.price.Affords(grant.Amount, r.room.input)
		r.room.bound, r.room.why = agentv1.StopReason_STOP_REASON_COST_BUDGET,
			"the spend limit of "+grant.Limit+" leaves no more for the answer"
		req.MaxOutputTokens = r.room.output
	}
	return nil
}

// LeastCost is what it takes to ask an agent's first model about a message at
// all; 0 if nobody says what it costs. Its error is an *UnknownAgentError.
func (r *Runner) LeastCost(name, message string) (model.Money, error) {
	c, err := r.find(name)
	if err != nil {
		return 0, err
	}
	first := &c.models[0]
	input := first.InputTokens(&model.Request{
		System: c.SystemPrompt, Tools: c.tools.offered,
		Messages: []model.Message{{Role: model.RoleUser, Text: message}},
	})
	return first.price.Worst(input, 1), nil
}
