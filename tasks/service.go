// Package tasks is runs in the background: they are kept in the store, moved
// by the bus, run by workers, watched from anywhere, and outlive whoever has
// anything to do with them. It must not know of gRPC, nor how an agent runs.
package tasks

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/agent/tool"
	"github.com/runwire/runwire/bus"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/sessions"
	"github.com/runwire/runwire/store"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Webhooks tells others of a task's end.
type Webhooks interface {
	// Check refuses a URL that will not be told.
	Check(tenant, url string) error
	// Payload is what will be told.
	Payload(task *agentv1.Task, at time.Time) ([]byte, error)
	// Wake says that there is something to tell.
	Wake()
}

// Config is what a service is made of; all of it is needed but Memory and Allowance.
type Config struct {
	Store    store.Store
	Bus      *bus.Bus
	Runner   *agent.Runner
	Sessions *sessions.Keeper
	Webhooks Webhooks
	// Memory makes the notes that a task's run has about its user; nil is none.
	Memory func(tenant, user, session string) tool.Memory
	// Allowance is what a task's run shares with others of its user and of the
	// API key with which it was submitted; nil is none.
	Allowance func(tenant, user, key string) agent.Allowance
	Log       *slog.Logger
}

// Service is tasks as their owners see them. Safe for concurrent use.
type Service struct {
	Config

	worker *Worker
	hub    hub
}

// NewService returns a service whose worker, if this process is one, has yet to run.
func NewService(cfg Config) *Service {
	s := &Service{Config: cfg}
	s.hub = hub{bus: cfg.Bus, log: cfg.Log, feeds: make(map[taskKey]*feed)}
	s.worker = newWorker(s)
	return s
}

// Worker runs tasks in this process.
func (s *Service) Worker() *Worker { return s.worker }

// WebhookError says that a task's webhook URL is refused.
type WebhookError struct {
	// Err says why, for the caller.
	Err error
}

// Error gives the reason.
func (e *WebhookError) Error() string { return "webhook_url: " + e.Err.Error() }

// Unwrap returns the reason.
func (e *WebhookError) Unwrap() error { return e.Err }

const (
	taskPrefix = "task_"
	runPrefix  = "run_"
	// submitTimeout is how long the store has to take a task that a slot is kept for.
	submitTimeout = 5 * time.Second
)

// runID is the id of a task's run, the same on every try.
func runID(taskID string) string { return runPrefix + strings.TrimPrefix(taskID, taskPrefix) }

// Submit keeps a task, which spends by an API key or by none, and returns once
// it is durable. Its errors are an
// *agent.UnknownAgentError, a *WebhookError, and those of store.SubmitTask.
func (s *Service) Submit(ctx context.Context, tenant, key string, req *agentv1.SubmitTaskRequest) (*agentv1.Task, error) {
	if err := s.Check(tenant, req); err != nil {
		return nil, fmt.Errorf("submitting a task: %w", err)
	}
	spec, err := newSpec(tenant, key, cmp.Or(req.GetAgent(), agent.DefaultName), req)
	if err != nil {
		return nil, err
	}
	task, err := s.keep(ctx, spec, req.GetSessionId() == "" && req.GetRunAfter() == nil)
	if err != nil {
		return nil, err
	}
	return contractOf(&task, req) // one that was kept before has the same
}

// keep keeps a new task, and gives it to a worker if it is due. One that is free
// here takes it as it is kept, which saves a claim and the way over the bus. A
// claim must look at the order of the task's session, unless it is fresh.
func (s *Service) keep(ctx context.Context, spec store.TaskSpec, fresh bool) (store.Task, error) {
	if fresh {
		if place := s.worker.reserve(taskKey{spec.Tenant, spec.ID}); place != nil {
			return s.keepIn(ctx, place, spec)
		}
	}
	task, created, err := s.Store.SubmitTask(ctx, spec)
	if err == nil && created && !task.RunAfter.After(task.CreateTime) {
		s.Bus.DispatchSoon(task.Tenant, task.ID, bus.Priority(task.Priority))
	}
	return task, err
}

// keepIn keeps a new task as claimed by this process's worker, and runs it. It
// goes on without a caller who has gone, and without an answer of the store: else
// the task would be nobody's until its lease runs out.
func (s *Service) keepIn(ctx context.Context, place place, spec store.TaskSpec) (store.Task, error) {
	defer close(place)
	if ctx.Err() != nil {
		return store.Task{}, context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), submitTimeout)
	defer cancel()
	task, created, err := s.Store.SubmitClaimed(ctx, spec, s.worker.name, lease)
	if errors.Is(err, context.DeadlineExceeded) { // not the caller's
		err = fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	switch {
	case errors.Is(err, store.ErrUnavailable):
		place <- func(ctx context.Context) *store.Task { return s.claimed(ctx, spec) }
	case err == nil && created:
		// What is told is what was done for the caller; that it runs already is luck.
		told := store.Task{TaskSpec: task.TaskSpec, Status: store.StatusQueued, CreateTime: task.CreateTime}
		place <- func(context.Context) *store.Task { return &task }
		return told, nil
	}
	return task, err
}

// claimed is a task that may have been kept as this worker's although the store's
// answer was lost; nil if it is not found soon.
func (s *Service) claimed(ctx context.Context, spec store.TaskSpec) *store.Task {
	const tries = 10
	for range tries {
		task, err := s.Store.GetTask(ctx, spec.Tenant, spec.ID)
		if err == nil {
			if task.Status != store.StatusRunning || task.Worker != s.worker.name || task.Attempt != 1 {
				return nil
			}
			return &task
		}
		<-time.After(keepRetry)
	}
	return nil
}

// Check says why a tenant could not submit a task whenever it was: its agent does
// not exist, or its webhook's URL is refused.
func (s *Service) Check(tenant string, req *agentv1.SubmitTaskRequest) error {
	if _, err := s.Runner.Find(req.GetAgent()); err != nil {
		return err
	}
	if err := agent.CheckSchema(req.GetResponseSchema()); err != nil {
		return err
	}
	if url := req.GetWebhookUrl(); url != "" {
		if err := s.Webhooks.Check(tenant, url); err != nil {
			return &WebhookError{Err: err}
		}
	}
	return nil
}

// newSpec is what the store keeps of a request.
func newSpec(tenant, key, agentName string, req *agentv1.SubmitTaskRequest) (store.TaskSpec, error) {
	request, err := proto.MarshalOptions{Deterministic: true}.Marshal(req)
	if err != nil {
		return store.TaskSpec{}, fmt.Errorf("encoding a request: %w", err)
	}
	id, err := agent.NewID(taskPrefix)
	if err != nil {
		return store.TaskSpec{}, err
	}
	session := req.GetSessionId()
	if session == "" {
		session = "sess_" + strings.TrimPrefix(id, taskPrefix)
	}
	spec := store.TaskSpec{
		Tenant: tenant, ID: id, UserID: req.GetUserId(), SessionID: session, Key: key, Agent: agentName,
		Priority: int(cmp.Or(req.GetPriority(), agentv1.TaskPriority_TASK_PRIORITY_NORMAL)),
		Labels:   req.GetLabels(), IdempotencyKey: req.GetIdempotencyKey(), Request: request,
	}
	if spec.IdempotencyKey != "" {
		hash := sha256.Sum256(request)
		spec.RequestHash = hash[:]
	}
	if after := req.GetRunAfter(); after != nil {
		spec.RunAfter = after.AsTime()
	}
	return spec, nil
}

// Get returns a task with its webhook deliveries, or store.ErrNotFound.
func (s *Service) Get(ctx context.Context, tenant, id string) (*agentv1.Task, error) {
	task, err := s.Store.GetTask(ctx, tenant, id)
	if err != nil {
		return nil, err
	}
	told, err := contract(&task)
	if err != nil || !task.Status.Ended() {
		return told, err
	}
	deliveries, err := s.Store.ListDeliveries(ctx, tenant, id)
	if err != nil {
		return nil, err
	}
	for i := range deliveries {
		told.WebhookDeliveries = append(told.WebhookDeliveries, deliveryContract(&deliveries[i]))
	}
	return told, nil
}

// List returns a page of tasks, newest first, and the next page's token.
func (s *Service) List(ctx context.Context, filter store.TaskFilter, page store.Page) ([]*agentv1.Task, string, error) {
	tasks, next, err := s.Store.ListTasks(ctx, filter, page)
	if err != nil {
		return nil, "", err
	}
	told := make([]*agentv1.Task, len(tasks))
	for i := range tasks {
		if told[i], err = contract(&tasks[i]); err != nil {
			return nil, "", err
		}
	}
	return told, next, nil
}

// Cancel asks a task to end; the wish is durable when it returns. One that
// waits is CANCELLED at once, one that runs soon after, and one that has ended
// stays as it is.
func (s *Service) Cancel(ctx context.Context, tenant, id string) (*agentv1.Task, error) {
	before, err := s.Store.GetTask(ctx, tenant, id)
	if err != nil {
		return nil, err
	}
	var steps [][]byte
	if before.Attempt > 0 && !before.Status.Ended() { // what was paid for is in its result
		if steps, err = s.Store.ListSteps(ctx, tenant, id); err != nil {
			return nil, err
		}
	}
	var end ending
	task, err := s.Store.CancelTask(ctx, tenant, id, func(t store.Task) store.Ending {
		end = s.cancelled(&t, steps)
		return end.Ending
	})
	if err = errors.Join(err, end.err); err != nil {
		return nil, err
	}
	switch {
	case before.Status.Ended():
	case len(end.entries) > 0 && task.Status == store.StatusCancelled:
		s.ended(ctx, &task, end)
	case task.CancelRequested:
		s.Bus.PublishCancel(tenant, id)
	}
	return contract(&task)
}

// ending is a task's end, and what to tell once it is written.
type ending struct {
	store.Ending

	entries []entry
	err     error
}

// cancelled is the end of a task that is cancelled while it waits.
func (s *Service) cancelled(task *store.Task, steps [][]byte) ending {
	past, err := decodeSteps(steps)
	if err != nil {
		return ending{err: err}
	}
	return s.endWithoutRun(task, store.StatusCancelled, &agentv1.RunResult{
		StopReason: agentv1.StopReason_STOP_REASON_CANCELLED, Error: "the task was cancelled",
		Usage: s.Runner.Spent(task.Agent, past),
	})
}

// endWithoutRun ends a task with a result that no run has made.
func (s *Service) endWithoutRun(task *store.Task, status store.Status, result *agentv1.RunResult) ending {
	result.RunId, result.SessionId, result.Agent = runID(task.ID), task.SessionID, task.Agent
	var end ending
	sequence := task.LastSequence
	add := func(event *agentv1.RunEvent) {
		if task.Attempt > 0 && sequence == task.LastSequence {
			event.Merged = ahead
		}
		sequence += 1 + event.GetMerged()
		event.Sequence = sequence
		event.CreateTime = timestamppb.Now()
		end.entries = append(end.entries, entry{event: event})
	}
	if task.LastSequence == 0 {
		add(&agentv1.RunEvent{Event: &agentv1.RunEvent_Started{Started: &agentv1.RunStarted{
			RunId: result.GetRunId(), SessionId: result.GetSessionId(), Agent: result.GetAgent(),
		}}})
	}
	add(&agentv1.RunEvent{Event: &agentv1.RunEvent_Finished{Finished: &agentv1.RunFinished{Result: result}}})
	end.Events, end.err = encodeEvents(end.entries)
	if end.err == nil {
		end.err = s.conclude(task, &end.Ending, status, result)
	}
	return end
}

// conclude fills in what every task's end has: status, result, and who is told.
func (s *Service) conclude(task *store.Task, end *store.Ending, status store.Status, result *agentv1.RunResult) error {
	end.Status = status
	if status == store.StatusFailed {
		end.Error = result.GetError()
	}
	var err error
	if end.Result, err = proto.Marshal(result); err != nil {
		return fmt.Errorf("encoding a result: %w", err)
	}
	url, err := webhookURL(task)
	if err != nil || url == "" {
		return err
	}
	at := time.Now()
	ended := *task
	ended.Status, ended.Result, ended.Error, ended.FinishTime = status, end.Result, end.Error, at
	told, err := contract(&ended)
	if err != nil {
		return err
	}
	payload, err := s.Webhooks.Payload(told, at)
	if err != nil {
		return fmt.Errorf("writing a webhook: %w", err)
	}
	id, err := agent.NewID("msg_")
	end.Delivery = &store.NewDelivery{ID: id, URL: url, Payload: payload}
	return err
}

// ended is what is left to do for a task that has ended in the store as end says.
func (s *Service) ended(ctx context.Context, task *store.Task, end ending) {
	s.publish(task.Tenant, task.ID, task.Attempt, end.entries)
	if end.Delivery != nil {
		s.Webhooks.Wake()
	}
	next, err := s.Store.TurnInSession(context.WithoutCancel(ctx), task.Tenant, task.SessionID)
	if err == nil {
		s.Bus.DispatchSoon(next.Tenant, next.ID, priority(next))
	} else if !errors.Is(err, store.ErrNotFound) {
		s.Log.WarnContext(ctx, "session's next task was not dispatched", slog.Any("error", err))
	}
}

// publish sends entries to whoever watches.
func (s *Service) publish(tenant, id string, attempt int64, entries []entry) {
	if len(entries) == 0 {
		return
	}
	batch, err := appendBatch(attempt, entries)
	if err != nil {
		s.Log.Error("event could not be encoded", slog.String("task_id", id), slog.Any("error", err))
		return
	}
	s.Bus.PublishEvents(tenant, id, batch)
}

// runRequest is what a task's run is asked.
func runRequest(task *store.Task, req *agentv1.SubmitTaskRequest) agent.Request {
	return agent.Request{
		Message: req.GetMessage(), UserID: task.UserID, SessionID: task.SessionID, Agent: task.Agent,
		MaxTokens: req.GetMaxTokens(), MaxCost: model.FromUSD(req.GetMaxCostUsd()), RunID: runID(task.ID),
		ResponseSchema: req.GetResponseSchema(),
	}
}
