package tasks_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/agent/model"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/store"
)

// purse is an allowance that the store keeps.
type purse struct {
	store.Spending

	limit store.SpendLimit
}

func (p *purse) Reserve(ctx context.Context, r agent.Reservation) (agent.Grant, error) {
	grant, err := p.ReserveSpend(ctx, store.SpendReservation{
		Tenant: tenant, ID: r.CallID, Least: int64(r.Least), Most: int64(r.Most),
		Limits: []store.SpendLimit{p.limit}, Lasts: r.Within,
	})
	if errors.Is(err, store.ErrSpendLimit) {
		err = &agent.SpentError{Limits: []agent.SpentLimit{{Description: "$1 a day for a user"}}}
	}
	return agent.Grant{Amount: model.Money(grant.Nano), Limit: "$1 a day for a user"}, err
}

// limited lets ann spend so much by the key `backend`, and nothing by another.
func (h *house) limited(most model.Money) store.SpendLimit {
	limit := store.SpendLimit{Scope: store.SpendOfKey, Name: "backend", Nano: int64(most)}
	h.allowance = func(_, user, key string) agent.Allowance {
		own := limit
		if user != "ann" || key != limit.Name {
			own.Nano = 0
		}
		return &purse{h.store, own}
	}
	return limit
}

func (h *house) spent(t *testing.T, limit store.SpendLimit) store.Spent {
	t.Helper()
	spent, err := h.store.SpentToday(t.Context(), tenant, []store.SpendLimit{limit})
	if err != nil {
		t.Fatal(err)
	}
	return spent[0]
}

// used is what the usage of all tasks has cost.
func (h *house) used(t *testing.T) int64 {
	t.Helper()
	sums, err := h.store.SumUsage(t.Context(), store.UsageFilter{Tenant: tenant})
	if err != nil || len(sums) == 0 {
		t.Fatal(sums, err)
	}
	return sums[0].CostNano
}

// A worker that dies while it asks leaves a reservation, which is that of the
// try that takes its place.
func TestAReservationOfALostWorkerIsTakenOver(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.model.plays(turn{say: []string{"Hello."}})
	limit := h.limited(model.Dollar)
	api := h.replica(0, 0)
	task, err := api.Submit(t.Context(), tenant, limit.Name, &agentv1.SubmitTaskRequest{Message: "Hello?", UserId: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.store.ClaimTask(t.Context(), tenant, task.GetTaskId(), "lost", 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	run := "run_" + strings.TrimPrefix(task.GetTaskId(), "task_")
	lost := store.SpendReservation{
		Tenant: tenant, ID: run + "-1", Least: limit.Nano, Most: limit.Nano, Limits: []store.SpendLimit{limit}, Lasts: time.Hour,
	}
	if _, err := h.store.ReserveSpend(t.Context(), lost); err != nil {
		t.Fatal(err)
	}
	r := h.replica(1, 0)
	if got := said(r.watch(t, task.GetTaskId(), 0)); !strings.HasSuffix(got, "Hello. | finished") {
		t.Errorf("it said %s", got)
	}
	if got, want := h.spent(t, limit), (store.Spent{SettledNano: h.used(t)}); got != want || want.SettledNano == 0 {
		t.Errorf("what stands against the limit is %+v, want %+v", got, want)
	}
}

func TestATaskFailsWhenNothingIsLeftToSpend(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.model.plays(turn{say: []string{"Hello."}})
	h.limited(model.Dollar)
	r := h.replica(1, 0)
	id := r.submit(t, "Hello?") // by no key
	r.watch(t, id, 0)
	task := r.task(t, id)
	if task.GetStatus() != agentv1.TaskStatus_TASK_STATUS_FAILED || !strings.Contains(task.GetError(), "$1 a day for a user") ||
		task.GetResult().GetStopReason() != agentv1.StopReason_STOP_REASON_COST_BUDGET {
		t.Errorf("the task is %v", task)
	}
	if h.model.count() > 0 {
		t.Error("the model was asked")
	}
}

// What each step has used is settled as the step is kept, and what the last
// has, as the task ends.
func TestATaskSettlesAsItGoes(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	held, release := make(chan struct{}), make(chan struct{})
	h.model.hold = func(_ context.Context, turn int) error {
		if turn == 1 {
			close(held)
			<-release
		}
		return nil
	}
	h.model.plays(turn{calls: []string{"none"}}, turn{say: []string{"Hello."}})
	limit := h.limited(model.Dollar)
	r := h.replica(1, 0)
	task, err := r.Submit(t.Context(), tenant, limit.Name, &agentv1.SubmitTaskRequest{Message: "Hello?", UserId: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	<-held
	const most = (10 + 1000) * int64(model.Dollar) / 1e6
	if got, want := h.spent(t, limit), (store.Spent{SettledNano: h.used(t), ReservedNano: most}); got != want {
		t.Errorf("what stands against the limit is %+v, want %+v", got, want)
	}
	close(release)
	r.watch(t, task.GetTaskId(), 0)
	if got, want := h.spent(t, limit), (store.Spent{SettledNano: h.used(t)}); got != want {
		t.Errorf("what stands against the limit is %+v, want %+v", got, want)
	}
}

// Who deletes a session deletes its tasks, but what they have used was paid for.
func TestADeletedTaskIsPaidFor(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.model.plays(turn{say: []string{"One", " two"}})
	h.model.hold = func(ctx context.Context, _ int) error {
		<-ctx.Done()
		return ctx.Err()
	}
	limit := h.limited(model.Dollar)
	r := h.replica(1, 0)
	_, err := r.Submit(t.Context(), tenant, limit.Name, &agentv1.SubmitTaskRequest{Message: "Hello?", UserId: "ann", SessionId: "chat"})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the model is asked", func() bool { return h.model.count() == 1 })
	if err := h.store.DeleteSession(t.Context(), tenant, "chat"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its call is settled", func() bool { return h.spent(t, limit).ReservedNano == 0 })
	if got, want := h.spent(t, limit), (store.Spent{SettledNano: h.used(t)}); got != want || want.SettledNano == 0 {
		t.Errorf("what stands against the limit is %+v, want %+v", got, want)
	}
}
