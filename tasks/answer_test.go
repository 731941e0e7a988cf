package tasks_test

import (
	"errors"
	"testing"
	"time"

	"github.com/runwire/runwire/agent"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

func TestATasksAnswerFitsItsSchema(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.model.plays(turn{say: []string{"Bern."}}) // whatever it is told
	r := h.replica(1, time.Second)
	id := r.submit(t, "Where?", func(req *agentv1.SubmitTaskRequest) {
		req.ResponseSchema = `{"type":"object","required":["city"]}`
	})
	events := r.watch(t, id, 0)
	task := r.task(t, id)
	if result := task.GetResult(); task.GetStatus() == completed || result.GetStopReason() != agentv1.StopReason_STOP_REASON_MODEL_ERROR ||
		result.GetUsage().GetLlmCalls() != 3 {
		t.Errorf("got %v after %s", task, said(events))
	}
	_, err := r.Submit(t.Context(), tenant, "", &agentv1.SubmitTaskRequest{Message: "Where?", UserId: "ann", ResponseSchema: "{"})
	if wrong := (*agent.SchemaError)(nil); !errors.As(err, &wrong) {
		t.Errorf("got %v", err)
	}
}
