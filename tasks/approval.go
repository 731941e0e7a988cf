package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/bus"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/store"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// suspend leaves the task to the people who must decide about calls; whoever
// takes it up then goes on with it.
func (a *attempt) suspend(ctx context.Context, run *agent.Run, progress *progress, needed *agent.ApprovalError) {
	err := a.trySuspend(ctx, run, progress, needed)
	switch {
	case err == nil:
	case errors.Is(err, store.ErrCancelRequested):
		a.task.CancelRequested = true
		a.keep(ctx, progress)
		a.fail(ctx, errors.New("the task was cancelled"))
	default:
		a.abandon(ctx, err)
	}
}

// trySuspend writes that the task waits, again and again while the store
// cannot be reached.
func (a *attempt) trySuspend(
	ctx context.Context, run *agent.Run, progress *progress, needed *agent.ApprovalError,
) error {
	pause, err := json.Marshal(needed.Pause)
	if err != nil {
		return fmt.Errorf("encoding a step: %w", err)
	}
	since := time.Now().UTC().Truncate(time.Microsecond)
	calls := make([]store.PendingCall, len(needed.Calls))
	for i, call := range needed.Calls {
		calls[i] = store.PendingCall{ID: call.ID, Tool: call.Name, Arguments: call.Arguments, RequestTime: since}
	}
	unsure := false // a commit may have come through whose answer did not
	for {
		events, held, err := progress.ending(ctx)
		if err == nil {
			err = a.service.Store.SuspendTask(ctx, a.task.Ref(), store.Progress{
				Position: progress.steps, Steps: [][]byte{pause}, Usage: usageRows(a.task, run.Calls()), Events: events,
			}, calls)
		}
		if unsure && errors.Is(err, store.ErrFenced) {
			err = a.cameThrough(ctx, func(now store.Status) bool { return now == store.StatusWaiting })
		}
		switch {
		case err == nil:
			a.service.publish(a.task.Tenant, a.task.ID, a.task.Attempt, held)
			return nil
		case !errors.Is(err, store.ErrUnavailable) || a.service.worker.lost(a.task.Ref()):
			return err
		}
		unsure = true
		<-time.After(keepRetry)
	}
}

// ResolveApproval decides about a tool call that a task waits for, and returns
// the task. With the last decision the task goes on. A decision that was made
// before is answered alike; another about the same call, and one about a call
// that does not wait, is store.ErrNotPending. A task that does not exist is
// store.ErrNotFound.
func (s *Service) ResolveApproval(
	ctx context.Context, tenant string, req *agentv1.ResolveApprovalRequest,
) (*agentv1.Task, error) {
	decision := &agent.Decision{
		ID: req.GetToolCallId(), Note: req.GetNote(),
		Approved: req.GetDecision() == agentv1.ApprovalDecision_APPROVAL_DECISION_APPROVE,
	}
	step, err := json.Marshal(agent.Step{Decided: decision})
	if err != nil {
		return nil, fmt.Errorf("encoding a step: %w", err)
	}
	var told []entry
	task, err := s.Store.ResolveCall(ctx, tenant, req.GetTaskId(), decision.ID, func(t store.Task) (store.Progress, error) {
		told = []entry{{event: resolved(t.LastSequence+1, req)}}
		events, err := encodeEvents(told)
		return store.Progress{Steps: [][]byte{step}, Events: events}, err
	})
	if errors.Is(err, store.ErrNotPending) {
		return s.decidedBefore(ctx, tenant, req.GetTaskId(), decision, err)
	}
	if err != nil {
		return nil, err
	}
	s.publish(tenant, task.ID, task.Attempt, told)
	if task.Status == store.StatusQueued {
		s.Bus.DispatchSoon(tenant, task.ID, bus.High) // it has begun
	}
	return contract(&task)
}

// resolved is the event of a decision.
func resolved(sequence int64, req *agentv1.ResolveApprovalRequest) *agentv1.RunEvent {
	return &agentv1.RunEvent{
		Sequence: sequence, CreateTime: timestamppb.Now(), ToolCallId: agent.Within(req.GetToolCallId()),
		Event: &agentv1.RunEvent_ApprovalResolved{ApprovalResolved: &agentv1.ApprovalResolved{
			ToolCallId: req.GetToolCallId(), Decision: req.GetDecision(), Note: req.GetNote(),
		}},
	}
}

// decidedBefore answers a decision that does not count with the task as it
// stands, if the one that counts is the same; with refused otherwise.
func (s *Service) decidedBefore(
	ctx context.Context, tenant, id string, decision *agent.Decision, refused error,
) (*agentv1.Task, error) {
	encoded, err := s.Store.ListSteps(ctx, tenant, id)
	if err != nil {
		return nil, err
	}
	steps, err := decodeSteps(encoded)
	if err != nil {
		return nil, err
	}
	for _, step := range steps {
		if step.Decided != nil && *step.Decided == *decision {
			return s.Get(ctx, tenant, id)
		}
	}
	return nil, refused
}

// pendingContract are the calls that a task waits for as its owner sees them.
func pendingContract(calls []store.PendingCall) []*agentv1.PendingApproval {
	told := make([]*agentv1.PendingApproval, len(calls))
	for i, call := range calls {
		told[i] = &agentv1.PendingApproval{
			ToolCallId: call.ID, Tool: call.Tool, ArgumentsJson: call.Arguments, RequestTime: stamp(call.RequestTime),
		}
	}
	return told
}
