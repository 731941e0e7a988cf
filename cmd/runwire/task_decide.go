package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/grpc"
)

// decision is what a person says to a tool call that waits.
type decision struct {
	Task taskID `embed:""`

	Call string `arg:"" optional:"" help:"The tool call's id; may be left out while only one waits."`
	Note string `help:"Why. The model is told it with a rejection." placeholder:"TEXT"`
	JSON bool   `name:"json" help:"Print the task as a JSON object."`

	Remote remote `embed:""`
}

type approveCommand struct {
	Decision decision `embed:""`
}

// Run has the call made.
func (c *approveCommand) Run(ctx context.Context, term terminal) error {
	return c.Decision.send(ctx, term, agentv1.ApprovalDecision_APPROVAL_DECISION_APPROVE, "approved")
}

type rejectCommand struct {
	Decision decision `embed:""`
}

// Run has the model told that the call is not made.
func (c *rejectCommand) Run(ctx context.Context, term terminal) error {
	return c.Decision.send(ctx, term, agentv1.ApprovalDecision_APPROVAL_DECISION_REJECT, "rejected")
}

func (d *decision) send(ctx context.Context, term terminal, what agentv1.ApprovalDecision, done string) error {
	return d.Remote.ask(ctx, term, func(conn grpc.ClientConnInterface) error {
		client := agentv1.NewAgentServiceClient(conn)
		call, err := d.call(ctx, client)
		if err != nil {
			return err
		}
		response, err := client.ResolveApproval(ctx, &agentv1.ResolveApprovalRequest{
			TaskId: d.Task.ID, ToolCallId: call, Decision: what, Note: d.Note,
		})
		if err != nil {
			return err
		}
		task := response.GetTask()
		if d.JSON {
			return writeLine(term.out, task)
		}
		left := ""
		if waiting := len(task.GetPendingApprovals()); waiting > 0 {
			left = fmt.Sprintf("; the task waits for %d more", waiting)
		}
		_, err = fmt.Fprintf(term.out, "call %s of task %s is %s%s\n", oneLine(call), oneLine(task.GetTaskId()), done, left)
		return err
	})
}

// call is the call to decide about: the one that was named, or the only one.
func (d *decision) call(ctx context.Context, client agentv1.AgentServiceClient) (string, error) {
	if d.Call != "" {
		return d.Call, nil
	}
	task, err := getTask(ctx, client, d.Task.ID)
	if err != nil {
		return "", err
	}
	pending := task.GetPendingApprovals()
	switch len(pending) {
	case 0:
		return "", errors.New("no tool call of the task waits for a decision")
	case 1:
		return pending[0].GetToolCallId(), nil
	}
	all := make([]string, len(pending))
	for i, call := range pending {
		all[i] = fmt.Sprintf("%s (%s)", oneLine(call.GetToolCallId()), oneLine(call.GetTool()))
	}
	return "", fmt.Errorf("name the tool call, one of %s", strings.Join(all, ", "))
}

func describePending(call *agentv1.PendingApproval) string {
	return fmt.Sprintf("%s: %s %s, since %s",
		call.GetToolCallId(), call.GetTool(), call.GetArgumentsJson(), instant(call.GetRequestTime()))
}

func describeRequest(call *agentv1.ApprovalRequested) string {
	return fmt.Sprintf("%s %s waits for approval; its call id is %s",
		call.GetTool(), call.GetArgumentsJson(), call.GetToolCallId())
}

func describeDecision(decided *agentv1.ApprovalResolved) string {
	said := fmt.Sprintf("%s is %s", decided.GetToolCallId(), decisionName(decided.GetDecision()))
	if decided.GetNote() != "" {
		said += ": " + decided.GetNote()
	}
	return said
}

func decisionName(d agentv1.ApprovalDecision) string {
	if d == agentv1.ApprovalDecision_APPROVAL_DECISION_APPROVE {
		return "approved"
	}
	return "rejected"
}
