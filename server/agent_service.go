package server

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/agent/model"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/interceptors"
	"google.golang.org/grpc"
)

// agentService translates between the wire and the runner.
type agentService struct {
	agentv1.UnimplementedAgentServiceServer

	runner *agent.Runner
	calls  *calls
	// ending is done when calls that still run must end now.
	ending context.Context
	// stall is how long a stream's reader may take nothing before it is cut off.
	stall time.Duration
}

// runRequest is what RunRequest and StreamRunRequest have in common: all of it.
type runRequest interface {
	GetMessage() string
	GetUserId() string
	GetSessionId() string
	GetAgent() string
	GetMaxTokens() int64
	GetMaxCostUsd() float64
}

// Run implements agentv1.AgentServiceServer.
func (s *agentService) Run(ctx context.Context, req *agentv1.RunRequest) (*agentv1.RunResponse, error) {
	defer s.calls.enter()()
	run, err := s.newRun(ctx, req)
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.endable(ctx)
	defer cancel(nil)
	result, err := run.Execute(ctx, nil)
	if err = cutOff(ctx, result, err); err != nil {
		return nil, err
	}
	return &agentv1.RunResponse{Result: result}, nil
}

// StreamRun implements agentv1.AgentServiceServer.
func (s *agentService) StreamRun(req *agentv1.StreamRunRequest, stream grpc.ServerStreamingServer[agentv1.StreamRunResponse]) error {
	defer s.calls.enter()()
	run, err := s.newRun(stream.Context(), req)
	if err != nil {
		return err
	}
	ctx, cancel := s.endable(stream.Context())
	defer cancel(nil)
	events := agent.NewEvents()
	sender := startSender(stream, events, s.stall, cancel)
	result, err := run.Execute(ctx, events)
	sent := sender.wait()
	if err = cutOff(ctx, result, err); err != nil {
		return err
	}
	return sent
}

// ListAgents implements agentv1.AgentServiceServer.
func (s *agentService) ListAgents(context.Context, *agentv1.ListAgentsRequest) (*agentv1.ListAgentsResponse, error) {
	response := &agentv1.ListAgentsResponse{}
	for _, a := range s.runner.Agents() {
		listed := &agentv1.Agent{Name: a.Name, Model: a.Models[0].Name(), Description: a.Description}
		for _, t := range a.Tools {
			listed.Tools = append(listed.Tools, t.Definition().Name)
		}
		response.Agents = append(response.Agents, listed)
	}
	return response, nil
}

func (s *agentService) newRun(ctx context.Context, req runRequest) (*agent.Run, error) {
	run, err := s.runner.NewRun(agent.Request{
		Message:   req.GetMessage(),
		UserID:    req.GetUserId(),
		SessionID: req.GetSessionId(),
		Agent:     req.GetAgent(),
		MaxTokens: req.GetMaxTokens(),
		MaxCost:   money(req.GetMaxCostUsd()),
	})
	if err != nil {
		return nil, fmt.Errorf("prepare a run: %w", err)
	}
	interceptors.SetRun(ctx, run.ID(), run.Agent())
	return run, nil
}

// money is a caller's amount of dollars to the nano-dollar below. Amounts too
// large to count, and the smallest that is not nothing, keep their meaning: a
// limit that never binds, and one that always does.
func money(usd float64) model.Money {
	nanos := usd * float64(model.Dollar)
	switch {
	case nanos >= math.MaxInt64:
		return math.MaxInt64
	case nanos > 0 && nanos < 1:
		return 1
	default:
		return model.Money(nanos)
	}
}

// endable is ctx, ended also when the server must end its calls.
func (s *agentService) endable(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.ending, func() { cancel(context.Cause(s.ending)) })
	return ctx, func(cause error) {
		stop()
		cancel(cause)
	}
}

// cutOff is how a call ends whose run has: with the run's error, or, if the
// run was cancelled, with what cancelled it.
func cutOff(ctx context.Context, result *agentv1.RunResult, err error) error {
	if err != nil || result.GetStopReason() != agentv1.StopReason_STOP_REASON_CANCELLED {
		return err
	}
	return context.Cause(ctx)
}
