package server

import (
	"context"
	"errors"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/schedules"
	"github.com/runwire/runwire/store"
)

// scheduleService translates between the wire and the schedules.
type scheduleService struct {
	agentv1.UnimplementedScheduleServiceServer

	schedules *schedules.Schedules
}

func newScheduleService(kept *schedules.Schedules) *scheduleService {
	return &scheduleService{schedules: kept}
}

// CreateSchedule implements agentv1.ScheduleServiceServer.
func (s *scheduleService) CreateSchedule(ctx context.Context, req *agentv1.CreateScheduleRequest) (*agentv1.CreateScheduleResponse, error) {
	schedule, err := s.schedules.Create(ctx, tenant(ctx), keyName(ctx), req)
	if wrong, ok := errors.AsType[*schedules.FieldError](err); ok {
		return nil, invalid(wrong.Field, wrong.Problem)
	}
	if err != nil {
		return nil, err
	}
	return &agentv1.CreateScheduleResponse{Schedule: schedule}, nil
}

// GetSchedule implements agentv1.ScheduleServiceServer.
func (s *scheduleService) GetSchedule(ctx context.Context, req *agentv1.GetScheduleRequest) (*agentv1.GetScheduleResponse, error) {
	schedule, err := s.schedules.Get(ctx, tenant(ctx), req.GetScheduleId())
	if err != nil {
		return nil, named("schedule", req.GetScheduleId(), err)
	}
	return &agentv1.GetScheduleResponse{Schedule: schedule}, nil
}

// ListSchedules implements agentv1.ScheduleServiceServer.
func (s *scheduleService) ListSchedules(ctx context.Context, req *agentv1.ListSchedulesRequest) (*agentv1.ListSchedulesResponse, error) {
	page := store.Page{Size: int(req.GetPageSize()), Token: req.GetPageToken()}
	listed, next, err := s.schedules.List(ctx, tenant(ctx), req.GetUserId(), page)
	if err != nil {
		return nil, err
	}
	return &agentv1.ListSchedulesResponse{Schedules: listed, NextPageToken: next}, nil
}

// PauseSchedule implements agentv1.ScheduleServiceServer.
func (s *scheduleService) PauseSchedule(ctx context.Context, req *agentv1.PauseScheduleRequest) (*agentv1.PauseScheduleResponse, error) {
	schedule, err := s.schedules.Pause(ctx, tenant(ctx), req.GetScheduleId())
	if err != nil {
		return nil, named("schedule", req.GetScheduleId(), err)
	}
	return &agentv1.PauseScheduleResponse{Schedule: schedule}, nil
}

// ResumeSchedule implements agentv1.ScheduleServiceServer.
func (s *scheduleService) ResumeSchedule(ctx context.Context, req *agentv1.ResumeScheduleRequest) (*agentv1.ResumeScheduleResponse, error) {
	schedule, err := s.schedules.Resume(ctx, tenant(ctx), req.GetScheduleId())
	if err != nil {
		return nil, named("schedule", req.GetScheduleId(), err)
	}
	return &agentv1.ResumeScheduleResponse{Schedule: schedule}, nil
}

// DeleteSchedule implements agentv1.ScheduleServiceServer.
func (s *scheduleService) DeleteSchedule(ctx context.Context, req *agentv1.DeleteScheduleRequest) (*agentv1.DeleteScheduleResponse, error) {
	if err := s.schedules.Delete(ctx, tenant(ctx), req.GetScheduleId()); err != nil {
		return nil, named("schedule", req.GetScheduleId(), err)
	}
	return &agentv1.DeleteScheduleResponse{}, nil
}
