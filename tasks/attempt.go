package tasks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/runwire/runwire/agent"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/sessions"
	"github.com/runwire/runwire/store"
)

const (
	// softLimit is when a run is told to stop that names no time of its own.
	softLimit = 300 * time.Second
	// retries is how often a task is tried again whose models would not answer.
	retries = 2
	// retryAfter is when.
	retryAfter = 5 * time.Second
	// mostAttempts is how often a task is taken up: one that kills its workers
	// must end.
	mostAttempts = 50
	// busySession is when a task is tried again whose session a call has.
	busySession = time.Second
)

// hardLimit is when a run that was told to stop is given up: a fifth of its
// time later, at least ten seconds.
func hardLimit(soft time.Duration) time.Duration { return soft + max(soft/5, 10*time.Second) }

// attempt is one try of a task by this worker.
type attempt struct {
	service *Service
	task    *store.Task
	log     *slog.Logger

	ctx  context.Context // the run's
	stop context.CancelCauseFunc
	lost bool // whatever it was stopped for before; the worker's mu guards it

	abandoned bool
}

func newAttempt(ctx context.Context, s *Service, task *store.Task) *attempt {
	a := &attempt{service: s, task: task, log: s.Log.With(
		slog.String("task_id", task.ID), slog.String("run_id", runID(task.ID)), slog.Int64("attempt", task.Attempt))}
	a.ctx, a.stop = context.WithCancelCause(ctx)
	if task.CancelRequested {
		a.stop(errCancelled)
	}
	return a
}

// outcome is how a try has ended.
type outcome struct {
	result *agentv1.RunResult
	err    error
}

// run tries the task and writes what came of it. ctx is the worker's: it lasts
// until all is written.
func (a *attempt) run(ctx context.Context) {
	req, err := request(a.task)
	if err != nil {
		a.fail(ctx, err)
		return
	}
	if a.task.Attempt > mostAttempts {
		a.fail(ctx, fmt.Errorf("gave up after %d attempts: each worker that took the task was lost", mostAttempts))
		return
	}
	session, err := a.openSession(ctx, req)
	switch {
	case errors.Is(err, store.ErrSessionBusy):
		a.release(ctx, busySession)
		return
	case errors.Is(err, store.ErrNotFound):
		a.fail(ctx, errors.New("the session is another user's"))
		return
	case err != nil:
		a.abandon(ctx, err)
		return
	}
	if session != nil {
		defer func() { _ = session.Close(ctx) }() // it runs out otherwise
	}
	a.runIn(ctx, req, session)
}

// openSession returns the task's session, nil where its agent has none.
func (a *attempt) openSession(ctx context.Context, req *agentv1.SubmitTaskRequest) (*sessions.Session, error) {
	answering, err := a.service.Runner.Find(a.task.Agent)
	if err != nil || answering.HistoryTokens == 0 {
		return nil, nil //nolint:nilerr,nilnil // newRun tells of the agent
	}
	key := sessions.Key{Tenant: a.task.Tenant, ID: a.task.SessionID, User: a.task.UserID, Owner: a.task.ID}
	if req.GetSessionId() == "" {
		return a.service.Sessions.Fresh(key), nil
	}
	return a.service.Sessions.Open(ctx, key, Window(&answering))
}

func (a *attempt) runIn(ctx context.Context, req *agentv1.SubmitTaskRequest, session *sessions.Session) {
	progress := newProgress(a.service, a.task, a.stop)
	run, err := a.newRun(ctx, req, session, progress)
	if unknown := (*agent.UnknownAgentError)(nil); errors.As(err, &unknown) {
		a.fail(ctx, err)
		return
	}
	if err != nil {
		a.abandon(ctx, err)
		return
	}
	sending, sent := context.WithCancel(ctx)
	var sender sync.WaitGroup
	sender.Go(func() { progress.run(sending) })
	out := a.execute(run, progress, cmp.Or(req.GetTimeout().AsDuration(), softLimit))
	sent()
	sender.Wait()
	a.settle(ctx, run, session, progress, out)
	if a.abandoned && !errors.Is(out.err, errHardLimit) { // such a run still goes on
		a.book(ctx, run)
	}
}

// book counts what the run has used of a task that was deleted meanwhile: nobody
// will have it who could.
func (a *attempt) book(ctx context.Context, run *agent.Run) {
	_, err := a.service.Store.GetTask(ctx, a.task.Tenant, a.task.ID)
	if !errors.Is(err, store.ErrNotFound) {
		return
	}
	if err := a.service.Store.AppendUsage(ctx, usageRows(a.task, run.Calls())); err != nil {
		a.log.WarnContext(ctx, "usage of a deleted task was not kept", slog.Any("error", err))
	}
}

// newRun prepares the run, which goes on behind the last step that was kept.
func (a *attempt) newRun(
	ctx context.Context, req *agentv1.SubmitTaskRequest, session *sessions.Session, progress *progress,
) (*agent.Run, error) {
	asked := runRequest(a.task, req)
	asked.Timeout = cmp.Or(req.GetTimeout().AsDuration(), softLimit)
	asked.Journal = progress
	asked.LastTry = a.task.Failures >= retries
	if session != nil {
		Tell(&asked, session)
	}
	if remember := a.service.Memory; remember != nil {
		asked.Memory = remember(a.task.Tenant, a.task.UserID, a.task.SessionID)
	}
	if allow := a.service.Allowance; allow != nil {
		asked.Allowance = allow(a.task.Tenant, a.task.UserID, a.task.Key)
	}
	if a.task.Attempt > 1 {
		var err error
		if asked.Resume, err = a.resume(ctx); err != nil {
			return nil, err
		}
	}
	return a.service.Runner.NewRun(asked)
}

// resume is how the run goes on behind the last step that was kept.
func (a *attempt) resume(ctx context.Context) (*agent.Resume, error) {
	encoded, err := a.service.Store.ListSteps(ctx, a.task.Tenant, a.task.ID)
	if err != nil {
		return nil, err
	}
	steps, err := decodeSteps(encoded)
	if err != nil {
		return nil, err
	}
	resume := &agent.Resume{
		Attempt: int32(a.task.Attempt), //nolint:gosec // see mostAttempts
		Reason:  cmp.Or(a.task.Error, "another worker goes on with the task"),
		Steps:   steps, Told: a.task.LastSequence > 0, Skipped: ahead,
	}
	text, within, err := a.lastReply(ctx)
	if n := len(steps); n == 0 || !replied(&steps[n-1], text, within) {
		resume.CutOff = text
	}
	return resume, err
}

// replied says whether a step is the end of the reply that the last events tell
// of: so it was not cut off, and is booked.
func replied(step *agent.Step, text, within string) bool {
	return step.Model != nil && step.Within == within && (step.Model.Failed || strings.HasSuffix(text, step.Model.Text))
}

// lastReply is what was kept of the reply that the events end with, the text
// since the last of them that is no delta, and the tool call within which it was.
func (a *attempt) lastReply(ctx context.Context) (reply, within string, err error) {
	var text strings.Builder
	for after := int64(0); ; {
		events, err := a.service.Store.ListEvents(ctx, a.task.Tenant, a.task.ID, after, historyPage)
		if err != nil {
			return "", "", err
		}
		for _, event := range events {
			e, err := parseEntry(event.Payload)
			if err != nil {
				return "", "", fmt.Errorf("reading event %d: %w", event.Sequence, err)
			}
			piece, kind, ok := e.delta()
			if !ok {
				text.Reset()
			}
			text.WriteString(piece)
			within, after = kind.within, event.Sequence
		}
		if len(events) < historyPage {
			return text.String(), within, nil
		}
	}
}

// execute runs until the run ends, the task is lost, or the hard limit is
// reached; then the run is left behind, and what it still does is fenced off.
func (a *attempt) execute(run *agent.Run, progress *progress, soft time.Duration) outcome {
	done := make(chan outcome, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				done <- outcome{err: fmt.Errorf("panic: %v\n%s", p, debug.Stack())}
			}
		}()
		result, err := run.Execute(a.ctx, progress.events)
		done <- outcome{result, err}
	}()
	limit := time.NewTimer(hardLimit(soft))
	defer limit.Stop()
	select {
	case out := <-done:
		return out
	case <-limit.C:
		a.stop(errHardLimit)
		return outcome{err: errHardLimit}
	}
}
