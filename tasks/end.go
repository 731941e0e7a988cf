package tasks

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/bus"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/sessions"
	"github.com/runwire/runwire/store"
)

// settle writes what came of the try.
func (a *attempt) settle(
	ctx context.Context, run *agent.Run, session *sessions.Session, progress *progress, out outcome,
) {
	why := context.Cause(a.ctx) //nolint:contextcheck // the run's end is asked for, not the worker's
	journal := (*agent.JournalError)(nil)
	unavailable := (*agent.UnavailableError)(nil)
	needed := (*agent.ApprovalError)(nil)
	switch {
	case errors.Is(why, errLost), errors.As(out.err, &journal):
		a.abandon(ctx, cmp.Or(out.err, why))
	case errors.As(out.err, &needed):
		a.suspend(ctx, run, progress, needed)
	case errors.Is(why, errHandBack) && (out.err != nil ||
		out.result.GetStopReason() == agentv1.StopReason_STOP_REASON_CANCELLED):
		a.keep(ctx, progress)
		a.release(ctx, 0)
	case errors.As(out.err, &unavailable):
		a.keep(ctx, progress)
		a.retry(ctx, unavailable)
	case out.err != nil:
		a.log.ErrorContext(ctx, "task failed", slog.Any("error", out.err))
		a.keep(ctx, progress)
		public := errors.New("internal error")
		if errors.Is(out.err, errHardLimit) {
			public = errHardLimit
		}
		a.fail(ctx, public)
	default:
		a.finish(ctx, run, session, progress, out.result)
	}
}

// keep writes the events that are left, of a try that has not ended the task.
func (a *attempt) keep(ctx context.Context, p *progress) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	err := p.send(ctx)
	if err == nil {
		err = p.keep(ctx, p.unkept, nil, nil)
	}
	if err != nil {
		a.log.WarnContext(ctx, "events were not kept", slog.Any("error", err))
	}
	a.task.LastSequence = p.kept
}

// finish ends the task with its run's result.
func (a *attempt) finish(
	ctx context.Context, run *agent.Run, session *sessions.Session, progress *progress, result *agentv1.RunResult,
) {
	status := store.StatusFailed
	switch {
	case result.GetSuccess():
		status = store.StatusCompleted
	case errors.Is(context.Cause(a.ctx), errCancelled): //nolint:contextcheck // see settle
		status = store.StatusCancelled
	}
	var turn *store.Turn
	if session != nil {
		var err error
		if turn, err = session.Turn(result.GetRunId(), run.Turn()); err != nil {
			a.abandon(ctx, err)
			return
		}
	}
	usage := usageRows(a.task, run.Calls())
	a.end(ctx, status, result, func(status store.Status) (end ending) {
		end.Ending = store.Ending{Usage: usage, Turn: turn}
		if end.Events, end.entries, end.err = progress.ending(ctx); end.err == nil {
			end.err = a.service.conclude(a.task, &end.Ending, status, result)
		}
		return end
	})
}

// fail ends the task without a run's result.
func (a *attempt) fail(ctx context.Context, why error) {
	status := store.StatusFailed
	result := &agentv1.RunResult{StopReason: agentv1.StopReason_STOP_REASON_MODEL_ERROR, Error: why.Error()}
	switch {
	case a.task.CancelRequested:
		status, result.StopReason = store.StatusCancelled, agentv1.StopReason_STOP_REASON_CANCELLED
	case errors.Is(why, errHardLimit):
		result.StopReason = agentv1.StopReason_STOP_REASON_TIMEOUT
	}
	a.end(ctx, status, result, func(status store.Status) ending {
		encoded, err := a.service.Store.ListSteps(ctx, a.task.Tenant, a.task.ID)
		if err != nil {
			return ending{err: err}
		}
		steps, err := decodeSteps(encoded)
		if err != nil {
			a.log.ErrorContext(ctx, "journal cannot be read", slog.Any("error", err))
		}
		result.Usage = a.service.Runner.Spent(a.task.Agent, steps)
		return a.service.endWithoutRun(a.task, status, result)
	})
}

// end writes the end that compose makes, again and again while the store cannot
// be reached: cancelled if that was asked for meanwhile, and without its turn
// if the session has gone on.
func (a *attempt) end(
	ctx context.Context, status store.Status, result *agentv1.RunResult, compose func(store.Status) ending,
) {
	turnless := false
	unsure := false // a commit may have come through whose answer did not
	late := false   // an earlier write has come through only now
	for {
		end := compose(status)
		if turnless {
			end.Turn = nil
		}
		err := end.err
		if err == nil {
			err = a.service.Store.FinishTask(ctx, a.task.Ref(), end.Ending)
		}
		if unsure && errors.Is(err, store.ErrFenced) {
			err = a.cameThrough(ctx, store.Status.Ended)
		}
		switch {
		case err == nil:
			a.service.ended(ctx, a.task, end)
			return
		case errors.Is(err, store.ErrCancelRequested):
			status = store.StatusCancelled
			result.Success, result.StopReason = false, agentv1.StopReason_STOP_REASON_CANCELLED
			result.Error = "the task was cancelled"
		case !late && errors.Is(err, store.ErrConflict):
			late = true // or the session has gone on, and this is in vain
		case end.Turn != nil && (errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrSessionBusy) ||
			errors.Is(err, store.ErrNotFound)):
			a.log.WarnContext(ctx, "session has gone on without this run", slog.Any("error", err))
			turnless = true
		case errors.Is(err, store.ErrUnavailable) && !a.service.worker.lost(a.task.Ref()):
			unsure = true
			<-time.After(keepRetry)
		default:
			a.abandon(ctx, err)
			return
		}
	}
}

// cameThrough is store.ErrFenced unless this attempt has left the task as a write
// would have whose answer was lost.
func (a *attempt) cameThrough(ctx context.Context, left func(store.Status) bool) error {
	task, err := a.service.Store.GetTask(ctx, a.task.Tenant, a.task.ID)
	if err == nil && (!left(task.Status) || task.Attempt != a.task.Attempt) {
		err = store.ErrFenced
	}
	return err
}

// retry hands the task back to be tried again later.
func (a *attempt) retry(ctx context.Context, unavailable *agent.UnavailableError) {
	after := retryAfter
	if failed := (*model.Error)(nil); errors.As(unavailable, &failed) {
		after = max(after, min(failed.RetryAfter, time.Hour))
	}
	a.log.WarnContext(ctx, "task will be tried again", slog.Any("error", unavailable), slog.String("after", after.String()))
	if err := a.service.Store.RetryTask(ctx, a.task.Ref(), after, "no model answered"); err != nil {
		a.abandon(ctx, err)
	}
}

// release hands the task back as it is, for another worker. A store that is
// away for a moment is waited for: else the task would wait for its lease.
func (a *attempt) release(ctx context.Context, after time.Duration) {
	const tries = 10
	for n := 1; ; n++ {
		err := a.service.Store.ReleaseTask(ctx, a.task.Ref(), after)
		switch {
		case err == nil, n > 1 && errors.Is(err, store.ErrFenced): // by a try whose answer was lost, or by another
			if after <= 0 {
				a.service.Bus.DispatchSoon(a.task.Tenant, a.task.ID, bus.High)
			} // else whoever sweeps tells of it in time
			return
		case n == tries || !errors.Is(err, store.ErrUnavailable):
			a.abandon(ctx, err)
			return
		}
		<-time.After(keepRetry)
	}
}

// abandon leaves the task to whoever has it, or will have it when its lease
// has run out.
func (a *attempt) abandon(ctx context.Context, why error) {
	a.abandoned = true
	if !errors.Is(why, store.ErrFenced) && !errors.Is(why, errLost) {
		a.log.WarnContext(ctx, "task was given up by this worker", slog.Any("error", why))
	}
}
