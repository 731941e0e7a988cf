// Package schedules submits tasks again and again: it keeps schedules, and
// fires each of their ticks once, however many servers run. It must not know
// how a task is run.
package schedules

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/store"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Submitter submits the task of a tick, which spends by an API key or by none. An error that wraps
// store.ErrUnavailable, or is ctx's own, means later; any other means never.
type Submitter interface {
	Submit(ctx context.Context, tenant, key string, req *agentv1.SubmitTaskRequest) (*agentv1.Task, error)
}

// Config is what schedules are made of.
type Config struct {
	// Store keeps them.
	Store store.Schedules
	// Submitter submits what they fire.
	Submitter Submitter
	// Check says why a task could never be submitted, such as an agent that
	// does not exist, before a schedule is made of it; nil checks nothing.
	Check func(ctx context.Context, tenant string, req *agentv1.SubmitTaskRequest) error
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Log takes what goes wrong; nil is none.
	Log *slog.Logger
}

// Schedules is all about schedules. It is safe for concurrent use. Its errors
// are the store's, wrapped, or a *FieldError for a request that is wrong.
type Schedules struct{ cfg Config }

// New returns the schedules that cfg.Store keeps.
func New(cfg Config) *Schedules {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Schedules{cfg}
}

// Create keeps a new schedule, whose tasks spend by an API key or by none, and
// returns it. An id that is taken is store.ErrExists.
func (s *Schedules) Create(ctx context.Context, tenant, key string, req *agentv1.CreateScheduleRequest) (*agentv1.Schedule, error) {
	ticks, err := Parse(req.GetCron(), req.GetTimeZone())
	if err != nil {
		return nil, err
	}
	if s.cfg.Check != nil {
		if err = s.cfg.Check(ctx, tenant, req.GetTask()); err != nil {
			return nil, fmt.Errorf("checking a schedule's task: %w", err)
		}
	}
	request, err := proto.Marshal(req.GetTask())
	if err != nil {
		return nil, fmt.Errorf("encoding a schedule's task: %w", err)
	}
	id := req.GetScheduleId()
	if id == "" {
		made, err := uuid.NewV7()
		if err != nil {
			return nil, fmt.Errorf("making a schedule's id: %w", err)
		}
		id = made.String()
	}
	kept, err := s.cfg.Store.CreateSchedule(ctx, store.Schedule{
		Tenant:   tenant,
		ID:       id,
		UserID:   req.GetTask().GetUserId(),
		Key:      key,
		Cron:     req.GetCron(),
		TimeZone: cmp.Or(req.GetTimeZone(), time.UTC.String()),
		Request:  request,
		NextTime: ticks.Next(s.cfg.Now()),
	})
	return message(kept, err)
}

// Get returns a schedule, or store.ErrNotFound.
func (s *Schedules) Get(ctx context.Context, tenant, id string) (*agentv1.Schedule, error) {
	return message(s.cfg.Store.GetSchedule(ctx, tenant, id))
}

// List returns a page of a tenant's schedules, of one user where userID is not
// empty, newest first, and the next page's token.
func (s *Schedules) List(ctx context.Context, tenant, userID string, page store.Page) ([]*agentv1.Schedule, string, error) {
	kept, next, err := s.cfg.Store.ListSchedules(ctx, tenant, userID, page)
	if err != nil {
		return nil, "", err
	}
	listed := make([]*agentv1.Schedule, len(kept))
	for i, schedule := range kept {
		if listed[i], err = message(schedule, nil); err != nil {
			return nil, "", err
		}
	}
	return listed, next, nil
}

// Pause lets no tick fire until Resume, and returns the schedule, or store.ErrNotFound.
func (s *Schedules) Pause(ctx context.Context, tenant, id string) (*agentv1.Schedule, error) {
	return message(s.cfg.Store.PauseSchedule(ctx, tenant, id))
}

// Resume lets ticks fire again, those after now, and returns the schedule, or
// store.ErrNotFound. One that is not paused is left as it is.
func (s *Schedules) Resume(ctx context.Context, tenant, id string) (*agentv1.Schedule, error) {
	schedule, err := s.cfg.Store.GetSchedule(ctx, tenant, id)
	if err != nil || !schedule.Paused {
		return message(schedule, err)
	}
	ticks, err := Parse(schedule.Cron, schedule.TimeZone)
	if err != nil {
		return nil, err
	}
	return message(s.cfg.Store.ResumeSchedule(ctx, tenant, id, ticks.Next(s.cfg.Now())))
}

// Delete deletes a schedule, or returns store.ErrNotFound.
func (s *Schedules) Delete(ctx context.Context, tenant, id string) error {
	return s.cfg.Store.DeleteSchedule(ctx, tenant, id)
}

// batch is how many due schedules are looked at together.
const batch = 100

// Fire submits the tasks of the ticks that are due and sets the next ones. Of
// ticks that were missed the latest is made up for. It may run on several
// servers at once. An error, which is joined of all there were, means that some
// could not be submitted now; the next Fire tries again.
func (s *Schedules) Fire(ctx context.Context) error {
	for {
		due, err := s.cfg.Store.DueSchedules(ctx, batch)
		if err != nil {
			return err
		}
		var errs []error
		for _, schedule := range due {
			if err := s.fire(ctx, schedule); err != nil && !errors.Is(err, store.ErrFenced) {
				errs = append(errs, fmt.Errorf("firing schedule %q: %w", schedule.ID, err))
			}
		}
		if len(due) < batch || len(errs) > 0 {
			return errors.Join(errs...)
		}
	}
}

// fire fires one schedule; store.ErrFenced when another has done so.
func (s *Schedules) fire(ctx context.Context, schedule store.Schedule) error {
	ticks, request, err := decode(schedule)
	if err != nil {
		s.cfg.Log.WarnContext(ctx, "a schedule can not be read and is paused", slog.String("tenant", schedule.Tenant),
			slog.String("schedule", schedule.ID), slog.Any("error", err))
		_, err = s.cfg.Store.PauseSchedule(ctx, schedule.Tenant, schedule.ID)
		return err
	}
	now, due := s.cfg.Now(), schedule.NextTime
	tick := ticks.Latest(due, now)
	if !tick.Equal(due) {
		// One of all who see different latest ticks decides which it is.
		if err = s.cfg.Store.AdvanceSchedule(ctx, schedule.Tenant, schedule.ID, due, tick); err != nil {
			return err
		}
	}
	request.IdempotencyKey = "schedule/" + schedule.ID + "/" + tick.UTC().Format(time.RFC3339)
	_, err = s.cfg.Submitter.Submit(ctx, schedule.Tenant, schedule.Key, request)
	switch {
	case later(err):
		return err
	case err != nil:
		s.cfg.Log.WarnContext(ctx, "a schedule's task was refused, so its tick is left out",
			slog.String("tenant", schedule.Tenant), slog.String("schedule", schedule.ID),
			slog.Time("tick", tick), slog.Any("error", err))
	}
	return s.cfg.Store.AdvanceSchedule(ctx, schedule.Tenant, schedule.ID, tick, ticks.Next(tick))
}

// later says whether what was refused now may be taken later.
func later(err error) bool {
	return errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrClosed) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// decode reads what a schedule does and when.
func decode(schedule store.Schedule) (Ticks, *agentv1.SubmitTaskRequest, error) {
	ticks, err := Parse(schedule.Cron, schedule.TimeZone)
	if err != nil {
		return Ticks{}, nil, err
	}
	request := &agentv1.SubmitTaskRequest{}
	if err := proto.Unmarshal(schedule.Request, request); err != nil {
		return Ticks{}, nil, fmt.Errorf("decoding a schedule's task: %w", err)
	}
	return ticks, request, nil
}

// message is a schedule as callers see it, or the error with which it came.
func message(schedule store.Schedule, err error) (*agentv1.Schedule, error) {
	if err != nil {
		return nil, err
	}
	task := &agentv1.SubmitTaskRequest{}
	if err := proto.Unmarshal(schedule.Request, task); err != nil {
		return nil, fmt.Errorf("decoding a schedule's task: %w", err)
	}
	return &agentv1.Schedule{
		ScheduleId: schedule.ID,
		Cron:       schedule.Cron,
		TimeZone:   schedule.TimeZone,
		Task:       task,
		Paused:     schedule.Paused,
		NextTime:   timestamp(schedule.NextTime),
		LastTime:   timestamp(schedule.LastTime),
		CreateTime: timestamp(schedule.CreateTime),
	}, nil
}

func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
