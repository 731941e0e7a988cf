package tasks

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/runwire/runwire/bus"
	"github.com/runwire/runwire/store"
)

const (
	// sweepEvery is how late a task that is due may be noticed.
	sweepEvery = 500 * time.Millisecond
	// leadership is how long a silent leader keeps others from sweeping: a part
	// of how late the tasks of a process that died may be taken over.
	leadership = 3 * time.Second
	// again is when a dispatched task that nobody has claimed is dispatched again.
	again = 2 * time.Minute
	// cleanEvery is how often finished tasks are looked for that are old.
	cleanEvery = time.Minute
	// freeEvery is how late what was reserved for calls that are no more is
	// there to be spent.
	freeEvery = 5 * time.Second
	// sweepBatch is how many tasks are taken up at once.
	sweepBatch = 500
)

// Sweeper looks, on one replica for all, for tasks that nobody is told of and
// for those that have been kept for long enough.
type Sweeper struct {
	service   *Service
	retention time.Duration
	sole      bool
	// fire submits the tasks of the schedules that are due.
	fire func(context.Context) error

	cleaned time.Time
	freed   time.Time
	led     time.Time
	leads   bool
	failing bool
}

// SweeperConfig is what a sweeper is made of.
type SweeperConfig struct {
	// Retention is how long finished tasks are kept.
	Retention time.Duration
	// Sole: no other process has the store, so that this sweeper leads, and
	// whatever runs in the store when it begins has lost its worker.
	Sole bool
	// Fire submits the tasks of the schedules that are due.
	Fire func(context.Context) error
}

// NewSweeper returns a sweeper that has yet to run.
func (s *Service) NewSweeper(cfg SweeperConfig) *Sweeper {
	return &Sweeper{service: s, retention: cfg.Retention, sole: cfg.Sole, fire: cfg.Fire}
}

// Run sweeps until ctx ends, whenever this replica leads.
func (s *Sweeper) Run(ctx context.Context) error {
	if s.sole {
		if err := errors.Join(s.service.Store.BreakLeases(ctx, s.service.worker.name), s.service.Store.WakeTasks(ctx)); err != nil {
			s.service.Log.WarnContext(ctx, "tasks of the last process wait for their leases", slog.Any("error", err))
		}
	}
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil && !s.failing {
			s.service.Log.WarnContext(ctx, "sweeping has failed", slog.Any("error", err))
			s.failing = true
		} else if err == nil {
			s.failing = false
		}
		select {
		case <-ctx.Done():
			if s.leads {
				_ = s.service.Store.Resign(context.WithoutCancel(ctx), "sweeper", s.service.worker.name) // else it runs out
			}
			return nil
		case <-s.service.Bus.Renewed():
			if err := s.service.Store.WakeTasks(ctx); err != nil {
				s.service.Log.WarnContext(ctx, "tasks will be dispatched later", slog.Any("error", err))
			}
		case <-ticker.C:
		}
	}
}

func (s *Sweeper) sweep(ctx context.Context) (err error) {
	if !s.sole && (!s.leads || time.Since(s.led) > leadership/3) {
		asked := time.Now()
		if s.leads, err = s.service.Store.Lead(ctx, "sweeper", s.service.worker.name, leadership); err != nil || !s.leads {
			return err
		}
		s.led = asked
	}
	return errors.Join(s.dispatch(ctx), s.fire(ctx), s.free(ctx), s.clean(ctx))
}

// dispatch tells workers of the tasks that somebody should claim.
func (s *Sweeper) dispatch(ctx context.Context) error {
	if !s.service.Bus.Connected() {
		return nil // what is due stays due
	}
	for {
		due, err := s.service.Store.DueTasks(ctx, sweepBatch)
		if err != nil || len(due) == 0 {
			return err
		}
		dispatches := make([]bus.Dispatch, len(due))
		for i, task := range due {
			dispatches[i] = bus.Dispatch{Tenant: task.Tenant, Task: task.ID, Priority: priority(task)}
		}
		settled, err := s.service.Bus.Dispatch(ctx, dispatches...)
		full := errors.Is(err, bus.ErrFull)
		if full {
			err = nil
		}
		// Only now: who dies before has forgotten none.
		err = errors.Join(err, s.service.Store.PutOffTasks(ctx, due[:settled], again))
		if err != nil || full || len(due) < sweepBatch {
			return err
		}
	}
}

// priority is what a task is dispatched with. What has begun goes before what
// has not: somebody may be watching it.
func priority(task store.DueTask) bus.Priority {
	if task.Begun {
		return bus.High
	}
	return bus.Priority(task.Priority)
}

// free takes back what was reserved for model calls whose process has died.
func (s *Sweeper) free(ctx context.Context) error {
	if time.Since(s.freed) < freeEvery {
		return nil
	}
	freed, err := s.service.Store.FreeSpend(ctx, sweepBatch)
	if err == nil && freed < sweepBatch {
		s.freed = time.Now()
	}
	return err
}

// clean deletes finished tasks that have been kept for long enough.
func (s *Sweeper) clean(ctx context.Context) error {
	if time.Since(s.cleaned) < cleanEvery {
		return nil
	}
	for range 20 { // others wait for the store, too
		deleted, err := s.service.Store.DeleteFinished(ctx, s.retention, sweepBatch)
		if err != nil {
			return err
		}
		if deleted < sweepBatch {
			s.cleaned = time.Now()
			return nil
		}
	}
	return nil
}
