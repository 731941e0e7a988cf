package tasks_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runwire/runwire/agent/tool"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/store"
)

const (
	waiting = agentv1.TaskStatus_TASK_STATUS_WAITING_APPROVAL
	approve = agentv1.ApprovalDecision_APPROVAL_DECISION_APPROVE
	reject  = agentv1.ApprovalDecision_APPROVAL_DECISION_REJECT
)

// calls counts how often tools were called, by name.
type calls struct {
	mu    sync.Mutex
	count map[string]int
}

func (c *calls) of(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count[name]
}

// tool is one that answers with its name, after work if there is any.
func (c *calls) tool(t *testing.T, def tool.Definition, work func(context.Context) error) *tool.Tool {
	t.Helper()
	def.Parameters = json.RawMessage(`{"type":"object"}`)
	made, err := tool.New(def, func(ctx context.Context, _ json.RawMessage) (string, error) {
		c.mu.Lock()
		if c.count == nil {
			c.count = make(map[string]int)
		}
		c.count[def.Name]++
		c.mu.Unlock()
		if work != nil {
			if err := work(ctx); err != nil {
				return "", err
			}
		}
		return def.Name + "!", nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func (r *replica) resolve(t *testing.T, id, call string, decision agentv1.ApprovalDecision, note string) *agentv1.Task {
	t.Helper()
	task, err := r.ResolveApproval(t.Context(), tenant, &agentv1.ResolveApprovalRequest{
		TaskId: id, ToolCallId: call, Decision: decision, Note: note,
	})
	if err != nil {
		t.Fatal(err)
	}
	return task
}

func (r *replica) waits(t *testing.T, id string) *agentv1.Task {
	t.Helper()
	var task *agentv1.Task
	eventually(t, "the task waits", func() bool {
		task = r.task(t, id)
		return task.GetStatus() == waiting
	})
	return task
}

// A task waits without a worker, and any other goes on with it: what was done
// is not done again, told again or paid for again.
func TestATaskWaitsForPeople(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var made calls
	h.tools = []*tool.Tool{
		made.tool(t, tool.Definition{Name: "look"}, nil),
		made.tool(t, tool.Definition{Name: "pay", RequiresApproval: true}, nil),
		made.tool(t, tool.Definition{Name: "mail", RequiresApproval: true}, nil),
	}
	h.model.plays(turn{say: []string{"Let me."}, calls: []string{"pay", "look", "mail"}}, turn{say: []string{"Done."}})
	first, owner := h.replica(1, time.Second), h.replica(0, 0)
	id := first.submit(t, "Pay and mail.")
	var events []*agentv1.RunEvent
	var watching sync.WaitGroup
	watching.Go(func() { events = owner.watch(t, id, 0) })

	task := owner.waits(t, id)
	pending := task.GetPendingApprovals()
	if len(pending) != 2 || pending[0].GetToolCallId() != "c0" || pending[0].GetTool() != "pay" ||
		pending[1].GetToolCallId() != "c2" || pending[1].GetTool() != "mail" || pending[1].GetArgumentsJson() != "{}" ||
		time.Since(pending[0].GetRequestTime().AsTime()) > time.Minute {
		t.Errorf("pending: %v", pending)
	}
	if made.of("look") != 1 || made.of("pay")+made.of("mail") != 0 {
		t.Errorf("called: %v", made.count)
	}
	other := first.submit(t, "And you?") // the only worker is free
	eventually(t, "another task waits, too", func() bool { return owner.task(t, other).GetStatus() == waiting })
	first.stop()
	<-first.stopped

	if task = owner.resolve(t, id, "c2", reject, "not him"); task.GetStatus() != waiting || len(task.GetPendingApprovals()) != 1 {
		t.Errorf("after one decision: %v", task)
	}
	if task = owner.resolve(t, id, "c0", approve, ""); len(task.GetPendingApprovals()) != 0 {
		t.Errorf("after both decisions: %v", task)
	}
	h.replica(1, time.Second)
	watching.Wait()
	const want = "started Let me. <pay <look <mail look!> pay? mail? REJECTnot him APPROVE " +
		"pay!> a person rejected the call: not him> | Done. | finished"
	if got := said(events); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	task = owner.task(t, id)
	if task.GetStatus() != completed || task.GetAttempt() != 2 || task.GetResult().GetUsage().GetLlmCalls() != 2 ||
		len(task.GetResult().GetToolCallsMade()) != 3 || len(task.GetPendingApprovals()) != 0 {
		t.Errorf("got %v", task)
	}
	if made.of("pay") != 1 || made.of("mail") != 0 || h.model.count() != 3 {
		t.Errorf("called: %v, and %d model calls", made.count, h.model.count())
	}
	if got := said(owner.watch(t, id, 0)); got != want {
		t.Errorf("kept %s\nwant %s", got, want)
	}
	if got := h.log.String(); got != "" {
		t.Errorf("logged: %s", got)
	}
}

// The first decision counts; the same again is answered alike.
func TestADecisionStands(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var made calls
	h.tools = []*tool.Tool{made.tool(t, tool.Definition{Name: "pay", RequiresApproval: true}, nil)}
	h.model.plays(turn{calls: []string{"pay"}}, turn{say: []string{"Done."}})
	r := h.replica(1, time.Second)
	id := r.submit(t, "Pay.")
	r.waits(t, id)
	r.resolve(t, id, "c0", reject, "no")
	r.watch(t, id, 0)
	if task := r.resolve(t, id, "c0", reject, "no"); task.GetStatus() != completed {
		t.Errorf("the same again: %v", task)
	}
	for _, test := range []struct {
		task, call, note string
		decision         agentv1.ApprovalDecision
		want             error
	}{
		{id, "c0", "no", approve, store.ErrNotPending},
		{id, "c0", "never", reject, store.ErrNotPending},
		{id, "c1", "no", reject, store.ErrNotPending},
		{"none", "c0", "no", reject, store.ErrNotFound},
	} {
		_, err := r.ResolveApproval(t.Context(), tenant, &agentv1.ResolveApprovalRequest{
			TaskId: test.task, ToolCallId: test.call, Decision: test.decision, Note: test.note,
		})
		if !errors.Is(err, test.want) {
			t.Errorf("%+v: got %v", test, err)
		}
	}
	if made.of("pay") != 0 {
		t.Error("the call was made")
	}
}

// A worker that stops within an approved call hands it on; nobody is asked again.
func TestAnApprovalOutlivesItsWorker(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var made calls
	begun := make(chan struct{})
	var once sync.Once
	h.tools = []*tool.Tool{made.tool(t, tool.Definition{
		Name: "pay", RequiresApproval: true, Effect: tool.Idempotent,
	}, func(ctx context.Context) error {
		first := false
		once.Do(func() { first = true })
		if !first {
			return nil
		}
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	})}
	h.model.plays(turn{say: []string{"Let me."}, calls: []string{"pay"}}, turn{say: []string{"Done."}})
	r, owner := h.replica(1, 0), h.replica(0, 0)
	id := r.submit(t, "Pay.")
	r.waits(t, id)
	owner.resolve(t, id, "c0", approve, "")
	<-begun
	r.stop()
	<-r.stopped
	h.replica(1, time.Second)
	if got, want := said(owner.watch(t, id, 0)), "started retrying Let me. <pay pay!> | Done. | finished"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if task := owner.task(t, id); task.GetStatus() != completed || task.GetAttempt() != 3 {
		t.Errorf("got %v", task)
	}
	if made.of("pay") != 2 || h.model.count() != 2 {
		t.Errorf("called: %v, and %d model calls", made.count, h.model.count())
	}
}

// That a person is asked is told at once, too, where the answer to the write is lost.
func TestAWaitWhoseAnswerIsLostIsTold(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var made calls
	h.tools = []*tool.Tool{made.tool(t, tool.Definition{Name: "pay", RequiresApproval: true}, nil)}
	h.model.plays(turn{say: []string{"Let me."}, calls: []string{"pay"}})
	asked := make(chan struct{})
	h.model.hold = until(asked)
	var lost atomic.Int32
	h.loseEnd = func() bool { return lost.Add(1) == 1 }
	r := h.replica(1, time.Second)
	id := r.submit(t, "Pay.")
	var begin time.Time
	told := errors.New("told")
	err := r.Watch(t.Context(), tenant, id, 0, func(event *agentv1.RunEvent) error {
		switch {
		case event.GetStarted() != nil:
			begin = time.Now()
			time.AfterFunc(time.Second, func() { close(asked) }) // who watches trusts the bus by then
		case event.GetApprovalRequested() != nil:
			return told
		}
		return nil
	})
	if took := time.Since(begin); !errors.Is(err, told) || took > 10*time.Second || lost.Load() == 0 {
		t.Errorf("%v after %v, %d writes", err, took, lost.Load())
	}
}

func TestATaskThatWaitsIsCancelledAtOnce(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var made calls
	h.tools = []*tool.Tool{made.tool(t, tool.Definition{Name: "pay", RequiresApproval: true}, nil)}
	h.model.plays(turn{say: []string{"Let me."}, calls: []string{"pay"}})
	r := h.replica(1, time.Second)
	id := r.submit(t, "Pay.", func(req *agentv1.SubmitTaskRequest) { req.SessionId = "chat" })
	next := r.submit(t, "And?", func(req *agentv1.SubmitTaskRequest) { req.SessionId = "chat" })
	r.waits(t, id)
	if got := r.task(t, next).GetStatus(); got != agentv1.TaskStatus_TASK_STATUS_QUEUED {
		t.Errorf("the session's next task is %v", got)
	}
	task, err := r.Cancel(t.Context(), tenant, id)
	if err != nil || task.GetStatus() != cancelled || len(task.GetPendingApprovals()) != 0 ||
		task.GetResult().GetUsage().GetLlmCalls() != 1 {
		t.Errorf("got %v, %v", task, err)
	}
	if got, want := said(r.watch(t, id, 0)), "started Let me. <pay pay? finished"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	r.waits(t, next) // it was its turn
}

// A cancel that nobody heard of in time ends the task that would wait, and
// nobody is asked in vain.
func TestATaskThatIsCancelledDoesNotWait(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var made calls
	h.tools = []*tool.Tool{made.tool(t, tool.Definition{Name: "pay", RequiresApproval: true}, nil)}
	h.model.plays(turn{say: []string{"Let me."}, calls: []string{"pay"}})
	asked, answer := make(chan struct{}), make(chan struct{})
	h.model.hold = func(context.Context, int) error {
		close(asked)
		<-answer
		return nil
	}
	r := h.replica(1, time.Second)
	id := r.submit(t, "Pay.")
	<-asked
	if _, err := h.store.CancelTask(t.Context(), tenant, id, nil); err != nil {
		t.Fatal(err)
	}
	close(answer)
	if got, want := said(r.watch(t, id, 0)), "started Let me. <pay finished"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if task := r.task(t, id); task.GetStatus() != cancelled || task.GetResult().GetUsage().GetLlmCalls() != 1 {
		t.Errorf("got %v", task)
	}
}
