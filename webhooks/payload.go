// Package webhooks tells receivers that tasks have ended: it signs each
// delivery by Standard Webhooks, calls its URL, and tries again until the
// receiver has it or a day has passed. It must not know how a task is run.
package webhooks

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/protobuf/encoding/protojson"
)

// event is what a receiver gets.
type event struct {
	Type      string          `json:"type"`
	Timestamp time.Time       `json:"timestamp"`
	Data      json.RawMessage `json:"data"`
}

// Payload is the body of the webhook that tells of a task's end at that time:
// its `data` is the task as protobuf's JSON with the contract's field names. A
// task that has not ended is an error.
func Payload(task *agentv1.Task, at time.Time) ([]byte, error) {
	kinds := map[agentv1.TaskStatus]string{
		agentv1.TaskStatus_TASK_STATUS_COMPLETED: "task.completed",
		agentv1.TaskStatus_TASK_STATUS_FAILED:    "task.failed",
		agentv1.TaskStatus_TASK_STATUS_CANCELLED: "task.cancelled",
	}
	kind, ended := kinds[task.GetStatus()]
	if !ended {
		return nil, fmt.Errorf("telling of task %q: it is %v", task.GetTaskId(), task.GetStatus())
	}
	data, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(task)
	if err != nil {
		return nil, fmt.Errorf("encoding a task: %w", err)
	}
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(event{Type: kind, Timestamp: at.UTC(), Data: data}); err != nil {
		return nil, fmt.Errorf("encoding a webhook: %w", err)
	}
	return bytes.TrimSuffix(body.Bytes(), []byte("\n")), nil
}
