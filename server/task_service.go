package server

import (
	"context"
	"errors"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/store"
	"github.com/runwire/runwire/tasks"
	"google.golang.org/grpc"
)

// taskService is the agent service of a server that has tasks: it translates
// between the wire and package tasks.
type taskService struct {
	*agentService

	tasks *tasks.Service
	// watches are the calls of those who watch, who go on elsewhere when the
	// server drains.
	watches *calls
}

// SubmitTask implements agentv1.AgentServiceServer.
func (s *taskService) SubmitTask(ctx context.Context, req *agentv1.SubmitTaskRequest) (*agentv1.SubmitTaskResponse, error) {
	if err := s.durable.checkTask(ctx, tenant(ctx), keyName(ctx), req); err != nil {
		return nil, err
	}
	if id := req.GetSessionId(); id != "" {
		if _, err := usersSession(ctx, s.durable.store, req.GetUserId(), id); err != nil {
			return nil, err
		}
	}
	task, err := s.tasks.Submit(ctx, tenant(ctx), keyName(ctx), req)
	if err != nil {
		return nil, err
	}
	return &agentv1.SubmitTaskResponse{Task: task}, nil
}

// GetTask implements agentv1.AgentServiceServer.
func (s *taskService) GetTask(ctx context.Context, req *agentv1.GetTaskRequest) (*agentv1.GetTaskResponse, error) {
	task, err := s.tasks.Get(ctx, tenant(ctx), req.GetTaskId())
	if err != nil {
		return nil, named("task", req.GetTaskId(), err)
	}
	return &agentv1.GetTaskResponse{Task: task}, nil
}

// ListTasks implements agentv1.AgentServiceServer.
func (s *taskService) ListTasks(ctx context.Context, req *agentv1.ListTasksRequest) (*agentv1.ListTasksResponse, error) {
	filter := store.TaskFilter{
		Tenant: tenant(ctx), UserID: req.GetUserId(), SessionID: req.GetSessionId(), Labels: req.GetLabels(),
	}
	for _, status := range req.GetStatuses() {
		filter.Statuses = append(filter.Statuses, store.Status(status))
	}
	listed, next, err := s.tasks.List(ctx, filter, store.Page{Size: int(req.GetPageSize()), Token: req.GetPageToken()})
	if err != nil {
		return nil, err
	}
	return &agentv1.ListTasksResponse{Tasks: listed, NextPageToken: next}, nil
}

// CancelTask implements agentv1.AgentServiceServer.
func (s *taskService) CancelTask(ctx context.Context, req *agentv1.CancelTaskRequest) (*agentv1.CancelTaskResponse, error) {
	task, err := s.tasks.Cancel(ctx, tenant(ctx), req.GetTaskId())
	if err != nil {
		return nil, named("task", req.GetTaskId(), err)
	}
	return &agentv1.CancelTaskResponse{Task: task}, nil
}

// ResolveApproval implements agentv1.AgentServiceServer.
func (s *taskService) ResolveApproval(
	ctx context.Context, req *agentv1.ResolveApprovalRequest,
) (*agentv1.ResolveApprovalResponse, error) {
	task, err := s.tasks.ResolveApproval(ctx, tenant(ctx), req)
	if err != nil {
		return nil, named("task", req.GetTaskId(), err)
	}
	return &agentv1.ResolveApprovalResponse{Task: task}, nil
}

// WatchTask implements agentv1.AgentServiceServer.
func (s *taskService) WatchTask(req *agentv1.WatchTaskRequest, stream grpc.ServerStreamingServer[agentv1.WatchTaskResponse]) error {
	ctx, call := s.watches.enter(stream.Context())
	defer call.leave()
	write := func(event *agentv1.RunEvent) error { return stream.Send(&agentv1.WatchTaskResponse{Event: event}) }
	sender := startSender(stream.Context(), write, s.stall, call.cancel, func(send send) error {
		return s.tasks.Watch(ctx, tenant(ctx), req.GetTaskId(), req.GetAfterSequence(), send)
	})
	err := sender.wait()
	if cause := context.Cause(ctx); errors.Is(cause, errShuttingDown) {
		return cause
	}
	return named("task", req.GetTaskId(), err)
}
