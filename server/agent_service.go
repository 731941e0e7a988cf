package server

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	// durable keeps sessions and usage; nil is a server without a memory.
	durable *durable
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
	GetResponseSchema() string
}

// Run implements agentv1.AgentServiceServer.
func (s *agentService) Run(ctx context.Context, req *agentv1.RunRequest) (*agentv1.RunResponse, error) {
	ctx, call := s.calls.enter(ctx)
	defer call.leave()
	run, end, err := s.newRun(ctx, req)
	if err != nil {
		return nil, err
	}
	defer end()
	result, err := run.Execute(ctx, nil)
	if err = cutOff(ctx, result, err); err != nil {
		return nil, err
	}
	return &agentv1.RunResponse{Result: result}, nil
}

// StreamRun implements agentv1.AgentServiceServer.
func (s *agentService) StreamRun(req *agentv1.StreamRunRequest, stream grpc.ServerStreamingServer[agentv1.StreamRunResponse]) error {
	ctx, call := s.calls.enter(stream.Context())
	defer call.leave()
	run, end, err := s.newRun(stream.Context(), req)
	if err != nil {
		return err
	}
	defer end()
	events := agent.NewEvents()
	write := func(event *agentv1.RunEvent) error { return stream.Send(&agentv1.StreamRunResponse{Event: event}) }
	sender := startSender(stream.Context(), write, s.stall, call.cancel, func(send send) error {
		return forward(stream.Context(), events, send)
	})
	result, err := run.Execute(ctx, events)
	sent := sender.wait()
	if err = cutOff(ctx, result, err); err != nil {
		return err
	}
	return sent
}

// forward sends a run's events as they come.
func forward(ctx context.Context, events *agent.Events, send send) error {
	for {
		event, err := events.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := send(event); err != nil {
			return err
		}
	}
}

// ListAgents implements agentv1.AgentServiceServer.
func (s *agentService) ListAgents(context.Context, *agentv1.ListAgentsRequest) (*agentv1.ListAgentsResponse, error) {
	response := &agentv1.ListAgentsResponse{}
	for _, a := range s.runner.Agents() {
		listed := &agentv1.Agent{Name: a.Name, Model: a.Models[0].Name(), Description: a.Description}
		for _, t := range a.Tools {
			listed.Tools = append(listed.Tools, t.Definition().Name)
		}
		for _, asked := range a.Agents {
			listed.Tools = append(listed.Tools, agent.ToolName(asked))
		}
		response.Agents = append(response.Agents, listed)
	}
	return response, nil
}

// newRun prepares a run, in its session where there are such. end gives the
// session back.
func (s *agentService) newRun(ctx context.Context, req runRequest) (run *agent.Run, end func(), err error) {
	asked := agent.Request{
		Message:   req.GetMessage(),
		UserID:    req.GetUserId(),
		SessionID: req.GetSessionId(),
		Agent:     req.GetAgent(),
		MaxTokens: req.GetMaxTokens(),
		MaxCost:   model.FromUSD(req.GetMaxCostUsd()),

		ResponseSchema: req.GetResponseSchema(),
	}
	end = func() {}
	if s.durable != nil {
		if end, err = s.durable.remember(ctx, &asked); err != nil {
			return nil, nil, err
		}
	}
	if run, err = s.runner.NewRun(asked); err != nil {
		end()
		return nil, nil, fmt.Errorf("prepare a run: %w", err)
	}
	interceptors.SetRun(ctx, run.ID(), run.Agent())
	return run, end, nil
}

// cutOff is how a call ends whose run has: with the run's error, or, if the
// run was cancelled, with what cancelled it.
func cutOff(ctx context.Context, result *agentv1.RunResult, err error) error {
	if err != nil || result.GetStopReason() != agentv1.StopReason_STOP_REASON_CANCELLED {
		return err
	}
	return context.Cause(ctx)
}
