package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

func waitingTask(calls ...string) *agentv1.Task {
	task := &agentv1.Task{TaskId: "t1", Status: agentv1.TaskStatus_TASK_STATUS_WAITING_APPROVAL}
	for _, id := range calls {
		task.PendingApprovals = append(task.PendingApprovals, &agentv1.PendingApproval{
			ToolCallId: id, Tool: "mail", ArgumentsJson: `{"to":"ann"}`, RequestTime: morning,
		})
	}
	return task
}

func TestACallIsDecided(t *testing.T) {
	t.Parallel()
	const approve, reject = agentv1.ApprovalDecision_APPROVAL_DECISION_APPROVE, agentv1.ApprovalDecision_APPROVAL_DECISION_REJECT
	for name, test := range map[string]struct {
		args    []string
		waiting []string
		left    []string
		request *agentv1.ResolveApprovalRequest
		code    int
		out     string
		said    string
	}{
		"the one that is named": {
			args: []string{"approve", "t1", "c1"}, waiting: []string{"c1", "c2"}, left: []string{"c2"},
			request: &agentv1.ResolveApprovalRequest{TaskId: "t1", ToolCallId: "c1", Decision: approve},
			out:     "call c1 of task t1 is approved; the task waits for 1 more\n",
		},
		"the only one": {
			args: []string{"reject", "t1", "--note", "too dear"}, waiting: []string{"c1"},
			request: &agentv1.ResolveApprovalRequest{TaskId: "t1", ToolCallId: "c1", Decision: reject, Note: "too dear"},
			out:     "call c1 of task t1 is rejected\n",
		},
		"as JSON": {
			args: []string{"approve", "t1", "--json"}, waiting: []string{"c1"},
			request: &agentv1.ResolveApprovalRequest{TaskId: "t1", ToolCallId: "c1", Decision: approve},
			out:     `{"taskId":"t1","status":"TASK_STATUS_WAITING_APPROVAL"}` + "\n",
		},
		"one of several": {
			args: []string{"approve", "t1"}, waiting: []string{"c1", "c2"}, code: exitFailed,
			said: "name the tool call, one of c1 (mail), c2 (mail)",
		},
		"none": {
			args: []string{"reject", "t1"}, code: exitFailed, said: "no tool call of the task waits for a decision",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := &standIn{unary: map[string]answer{
				"GetTask":         answers(&agentv1.GetTaskResponse{Task: waitingTask(test.waiting...)}),
				"ResolveApproval": answers(&agentv1.ResolveApprovalResponse{Task: waitingTask(test.left...)}),
			}}
			code, out, said := s.run(t, append([]string{"task"}, test.args...)...)
			if code != test.code || out != test.out || !strings.Contains(said, test.said) {
				t.Errorf("exit code %d, out %q, err %q", code, out, said)
			}
			var decided *agentv1.ResolveApprovalRequest
			for _, request := range s.requests() {
				if r, ok := request.(*agentv1.ResolveApprovalRequest); ok {
					decided = r
				}
			}
			if decided.String() != test.request.String() {
				t.Errorf("asked for %v", decided)
			}
		})
	}
}

func TestWhatWaitsIsShown(t *testing.T) {
	t.Parallel()
	s := &standIn{unary: map[string]answer{"GetTask": answers(&agentv1.GetTaskResponse{Task: waitingTask("c1")})}}
	code, out, _ := s.run(t, "task", "get", "t1")
	if code != exitOK || !strings.Contains(out, "waiting_approval") ||
		!strings.Contains(out, `c1: mail {"to":"ann"}, since 2026-03-01`) {
		t.Errorf("exit code %d, out %q", code, out)
	}
	var both bytes.Buffer
	screen := &screen{answer: voice{w: &both}, aside: voice{w: &both}}
	foot := &foot{status: "running"}
	var statuses []string
	decided := func(id, note string, decision agentv1.ApprovalDecision) *agentv1.RunEvent {
		return &agentv1.RunEvent{Event: &agentv1.RunEvent_ApprovalResolved{
			ApprovalResolved: &agentv1.ApprovalResolved{ToolCallId: id, Decision: decision, Note: note},
		}}
	}
	for _, event := range []*agentv1.RunEvent{
		asksFor("c1"), asksFor("c2"),
		decided("c1", "", agentv1.ApprovalDecision_APPROVAL_DECISION_APPROVE),
		decided("c2", "no\nway", agentv1.ApprovalDecision_APPROVAL_DECISION_REJECT),
	} {
		if err := screen.show(event); err != nil {
			t.Fatal(err)
		}
		foot.learn(event)
		statuses = append(statuses, foot.text(time.Now()))
	}
	const want = `? mail {"to":"ann"} waits for approval; its call id is c1
? mail {"to":"ann"} waits for approval; its call id is c2
! c1 is approved
! c2 is rejected: no way
`
	if diff := cmp.Diff(want, both.String()); diff != "" {
		t.Error(diff)
	}
	for i, status := range []string{"waiting for approval", "waiting for approval", "waiting for approval", "queued"} {
		if !strings.HasPrefix(statuses[i], status+" ·") {
			t.Errorf("after %d events the foot says %q", i+1, statuses[i])
		}
	}
}

func asksFor(id string) *agentv1.RunEvent {
	return &agentv1.RunEvent{Event: &agentv1.RunEvent_ApprovalRequested{
		ApprovalRequested: &agentv1.ApprovalRequested{ToolCallId: id, Tool: "mail", ArgumentsJson: `{"to":"ann"}`},
	}}
}
