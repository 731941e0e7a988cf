package webhooks

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestPayload(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 5, 4, 14, 0, 0, 123456000, time.FixedZone("", 2*3600))
	task := &agentv1.Task{
		TaskId: "t1", Message: "<b> & ünïcode", UserId: "alice", Attempt: 1, FinishTime: timestamppb.New(at),
		Result: &agentv1.RunResult{Content: "4", Success: true, StopReason: agentv1.StopReason_STOP_REASON_COMPLETED},
	}
	for status, kind := range map[agentv1.TaskStatus]string{
		agentv1.TaskStatus_TASK_STATUS_COMPLETED: "task.completed",
		agentv1.TaskStatus_TASK_STATUS_FAILED:    "task.failed",
		agentv1.TaskStatus_TASK_STATUS_CANCELLED: "task.cancelled",
	} {
		task.Status = status
		body, err := Payload(task, at)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Type, Timestamp string
			Data            json.RawMessage
		}
		if err := json.Unmarshal(body, &got); err != nil || got.Type != kind || got.Timestamp != "2026-05-04T12:00:00.123456Z" {
			t.Errorf("%s: %v", body, err)
		}
		var back agentv1.Task
		if err := protojson.Unmarshal(got.Data, &back); err != nil || !proto.Equal(&back, task) {
			t.Errorf("%s comes back as %v, %v", got.Data, &back, err)
		}
		if text := string(body); !strings.HasPrefix(text, `{"type":"`+kind+`","timestamp":"`) || !strings.Contains(text, `"task_id":"t1"`) ||
			!strings.Contains(text, "<b> & ünïcode") || strings.ContainsAny(text, "\n\t") {
			t.Errorf("the body is %s", text)
		}
	}
	task.Status = agentv1.TaskStatus_TASK_STATUS_RUNNING
	if _, err := Payload(task, at); err == nil {
		t.Error("a task that has not ended is told of")
	}
}
