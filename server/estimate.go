package server

import (
	"context"
	"errors"

	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/agent/tool"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/store"
)

// EstimateCost implements agentv1.AgentServiceServer.
func (s *agentService) EstimateCost(ctx context.Context, req *agentv1.EstimateCostRequest) (*agentv1.EstimateCostResponse, error) {
	answering, err := s.runner.Find(req.GetAgent())
	if err != nil {
		return nil, err
	}
	var history int64
	var past []agent.PastRun
	if s.durable != nil {
		if history, err = sessionTokens(ctx, s.durable.store, &answering, req); err != nil {
			return nil, err
		}
		// By their words: nothing is paid for an estimate.
		ctx = tool.WithMemory(ctx, notesOf(s.durable.store, 0)(tenant(ctx), req.GetUserId(), ""))
		if past, err = pastRuns(ctx, s.durable.store, &answering); err != nil {
			return nil, err
		}
	}
	estimate, err := s.runner.Estimate(ctx, answering.Name, req.GetMessage(), history, past)
	if err != nil {
		return nil, err
	}
	return estimateOf(&estimate), nil
}

// usersSession returns a user's session, the zero one where nobody has it yet.
// One that is another user's does not exist.
func usersSession(ctx context.Context, from store.Conversations, user, id string) (store.Session, error) {
	session, err := from.GetSession(ctx, tenant(ctx), id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return store.Session{}, nil
	case err == nil && session.UserID != user:
		return store.Session{}, named("session", id, store.ErrNotFound)
	default:
		return session, err
	}
}

// sessionTokens is how much of its session a run would be told.
func sessionTokens(
	ctx context.Context, from store.Conversations, answering *agent.Agent, req *agentv1.EstimateCostRequest,
) (tokens int64, err error) {
	if req.GetSessionId() == "" || answering.HistoryTokens == 0 {
		return 0, nil
	}
	session, err := usersSession(ctx, from, req.GetUserId(), req.GetSessionId())
	if err != nil || session.ID == "" {
		return 0, err
	}
	messages, err := from.RecentMessages(ctx, session.Tenant, session.ID, answering.HistoryTokens)
	for i := range messages {
		tokens += messages[i].Tokens
	}
	return tokens, err
}

// pastRuns are the agent's last with the model that it asks first.
func pastRuns(ctx context.Context, from store.Usage, answering *agent.Agent) ([]agent.PastRun, error) {
	runs, err := from.RecentRuns(ctx, tenant(ctx), answering.Name, answering.Models[0].Name(), agent.PastRuns)
	past := make([]agent.PastRun, len(runs))
	for i, run := range runs {
		past[i] = agent.PastRun{
			Calls:            run.Calls,
			InputTokens:      run.InputTokens,
			CachedTokens:     run.CachedTokens,
			CacheWriteTokens: run.CacheWriteTokens,
			OutputTokens:     run.OutputTokens,
			FirstInputTokens: run.LeastInputTokens,
		}
	}
	return past, err
}

func estimateOf(e *agent.Estimate) *agentv1.EstimateCostResponse {
	response := &agentv1.EstimateCostResponse{
		InputTokens:  e.InputTokens,
		OutputTokens: e.OutputTokens,
		Iterations:   int32(e.Iterations), //nolint:gosec // no more than the agent may have
		Basis:        agentv1.EstimateBasis_ESTIMATE_BASIS_FORMULA,
	}
	if e.History {
		response.Basis = agentv1.EstimateBasis_ESTIMATE_BASIS_HISTORY
	}
	if e.Priced {
		cost, low, high := e.Cost.USD(), e.Low.USD(), e.High.USD()
		response.EstimatedCostUsd, response.LowCostUsd, response.HighCostUsd = &cost, &low, &high
	}
	return response
}
