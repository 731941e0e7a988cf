package tasks

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/runwire/runwire/agent"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/store"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// contract is a task as its owner sees it.
func contract(task *store.Task) (*agentv1.Task, error) {
	req, err := request(task)
	if err != nil {
		return nil, err
	}
	return contractOf(task, req)
}

// contractOf is contract for who has the task's request decoded. The store's
// numbers are the contract's.
//
//nolint:gosec // they are small
func contractOf(task *store.Task, req *agentv1.SubmitTaskRequest) (*agentv1.Task, error) {
	told := &agentv1.Task{
		TaskId: task.ID, Status: agentv1.TaskStatus(task.Status), Agent: task.Agent, UserId: task.UserID,
		SessionId: task.SessionID, Message: req.GetMessage(), Error: task.Error, Attempt: task.Attempt,
		CreateTime: stamp(task.CreateTime), StartTime: stamp(task.StartTime), FinishTime: stamp(task.FinishTime),
		LastSequence: task.LastSequence, Labels: req.GetLabels(), Priority: agentv1.TaskPriority(task.Priority),
		RunAfter: stamp(task.RunAfter), CancelRequested: task.CancelRequested,
		PendingApprovals: pendingContract(task.Pending),
	}
	if len(task.Result) > 0 {
		told.Result = &agentv1.RunResult{}
		if err := proto.Unmarshal(task.Result, told.GetResult()); err != nil {
			return nil, fmt.Errorf("decoding a result: %w", err)
		}
	}
	return told, nil
}

func request(task *store.Task) (*agentv1.SubmitTaskRequest, error) {
	req := &agentv1.SubmitTaskRequest{}
	if err := proto.Unmarshal(task.Request, req); err != nil {
		return nil, fmt.Errorf("decoding a request: %w", err)
	}
	return req, nil
}

func webhookURL(task *store.Task) (string, error) {
	req, err := request(task)
	return req.GetWebhookUrl(), err
}

//nolint:gosec // see contractOf
func deliveryContract(d *store.Delivery) *agentv1.WebhookDelivery {
	return &agentv1.WebhookDelivery{
		DeliveryId: d.ID, Url: d.URL, Status: agentv1.WebhookDeliveryStatus(d.Status), Attempt: d.Attempt,
		LastCode: int32(d.LastCode), LastError: d.LastError,
		NextTime: stamp(d.NextTime), CreateTime: stamp(d.CreateTime), FinishTime: stamp(d.FinishTime),
	}
}

// stamp is a time on the wire; absent for the zero time.
func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func decodeSteps(encoded [][]byte) ([]agent.Step, error) {
	steps := make([]agent.Step, len(encoded))
	for i, step := range encoded {
		if err := json.Unmarshal(step, &steps[i]); err != nil {
			return nil, fmt.Errorf("decoding step %d: %w", i+1, err)
		}
	}
	return steps, nil
}
