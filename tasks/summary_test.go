package tasks_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runwire/runwire/agent/model"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/sessions"
	"github.com/runwire/runwire/store"
)

// talk fills a session with so many turns of 1,000 tokens or so.
func (h *house) talk(t *testing.T, session string, turns int) {
	t.Helper()
	for i := range turns {
		payload, err := sessions.Encode(model.Message{Role: model.RoleUser, Text: fmt.Sprint("Turn ", i)})
		if err == nil {
			err = h.store.AppendTurn(t.Context(), store.Turn{
				Tenant: tenant, SessionID: session, UserID: "ann", Position: int64(i), RunID: fmt.Sprint("r", i),
				Messages: []store.Message{{Tokens: 1000, Payload: payload}},
			})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A task that is handed on behind its summary has it already: the model is
// asked once for it, which is told and paid for once.
func TestASummaryIsHandedOn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.talk(t, "chat", 15)
	h.summary = &script{turns: []turn{{say: []string{"All", " so far."}}}}
	h.model.plays(turn{say: []string{"Yes", "."}})
	held := make(chan struct{})
	var once sync.Once
	h.model.hold = func(ctx context.Context, _ int) error {
		first := false
		once.Do(func() { first = true })
		if !first {
			return nil
		}
		close(held)
		<-ctx.Done()
		return ctx.Err()
	}
	r, watcher := h.replica(1, 0), h.replica(0, 0)
	id := r.submit(t, "And now?", func(req *agentv1.SubmitTaskRequest) { req.SessionId = "chat" })
	<-held
	r.stop()
	<-r.stopped
	h.replica(1, time.Second)
	got := strings.ReplaceAll(said(watcher.watch(t, id, 0)), "Yes .", "Yes.")
	if got != "started sum of 12 retrying Yes. | finished" {
		t.Errorf("got %s", got)
	}
	result := watcher.task(t, id).GetResult()
	if h.summary.count() != 1 || h.model.count() != 2 || result.GetUsage().GetLlmCalls() != 3 {
		t.Errorf("%d summaries, %d calls, %v", h.summary.count(), h.model.count(), result)
	}
	sums, err := h.store.SumUsage(t.Context(), store.UsageFilter{Tenant: tenant})
	if err != nil || sums[0].Calls != 3 {
		t.Errorf("usage %v, %v", sums, err)
	}
	kept, err := h.store.GetSummary(t.Context(), tenant, "chat")
	if err != nil || kept.Messages != 12 || string(kept.Payload) != "All so far." {
		t.Errorf("kept %v, %v", kept, err)
	}
}
