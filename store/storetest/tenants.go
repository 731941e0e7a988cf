package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/runwire/runwire/store"
)

func tenantTests() map[string]func(*testing.T, *world) {
	return map[string]func(*testing.T, *world){
		"another tenant sees and changes nothing": anotherTenant,
		"who looks for work finds every tenant's": everyTenant,
	}
}

func anotherTenant(t *testing.T, w *world) {
	const other = "umbrella"
	task := w.claim(t, "t1")
	w.finish(t, w.claim(t, "t2"), w.ending(w.acquire(t, "chat", "t2"), "t2"))
	schedule := w.schedule(t, "s1", 0)
	ctx := t.Context()

	ref := task.Ref()
	ref.Tenant = other
	_, get := w.GetTask(ctx, other, "t1")
	_, cancel := w.CancelTask(ctx, other, "t1", nil)
	_, claim := w.ClaimTask(ctx, other, "t1", "worker", lease)
	_, session := w.GetSession(ctx, other, "chat")
	_, getSchedule := w.GetSchedule(ctx, other, "s1")
	_, pause := w.PauseSchedule(ctx, other, "s1")
	_, resume := w.ResumeSchedule(ctx, other, "s1", w.clock.Now())
	for _, err := range []error{
		get, cancel, claim, session, getSchedule, pause, resume, w.DeleteSession(ctx, other, "chat"),
		w.DeleteSchedule(ctx, other, "s1"), w.AppendTurn(ctx, store.Turn{Tenant: other, SessionID: "chat", Position: 2}),
	} {
		fails(t, err, store.ErrNotFound)
	}
	finish := w.FinishTask(ctx, ref, store.Ending{Status: store.StatusFailed})
	delivery := w.delivery(t, "t2")
	delivery.Tenant = other
	for _, err := range []error{
		finish, w.AppendProgress(ctx, ref, store.Progress{}), w.ReleaseTask(ctx, ref, 0), w.RetryTask(ctx, ref, 0, ""),
		w.AdvanceSchedule(ctx, other, "s1", schedule.NextTime, time.Time{}),
		w.RecordDelivery(ctx, delivery, store.Outcome{Status: store.DeliveryFailed}),
	} {
		fails(t, err, store.ErrFenced)
	}
	for what, count := range w.countAll(t, other, ref) {
		same(t, what, count, 0)
	}
	same(t, "the task", w.task(t, "t1"), task)
	same(t, "messages", len(w.messages(t, "chat")), 2)
	taken, err := w.AcquireSession(ctx, other, "chat", "eve", "e", lease)
	succeeds(t, err)
	same(t, "a session of the same name", taken.Messages, int64(0))
}

// countAll is how much of each kind a tenant sees.
func (w *world) countAll(t *testing.T, tenant string, ref store.TaskRef) map[string]int {
	t.Helper()
	ctx := t.Context()
	held, err1 := w.RenewLeases(ctx, "worker", []store.TaskRef{ref}, lease)
	tasks, _, err2 := w.ListTasks(ctx, store.TaskFilter{Tenant: tenant}, store.Page{})
	steps, err3 := w.ListSteps(ctx, tenant, "t2")
	events, err4 := w.ListEvents(ctx, tenant, "t2", 0, 10)
	sessions, _, err5 := w.ListSessions(ctx, tenant, "ann", store.Page{})
	messages, err6 := w.ListMessages(ctx, tenant, "chat", 0, 10)
	recent, err7 := w.RecentMessages(ctx, tenant, "chat", 1000)
	sums, err8 := w.SumUsage(ctx, store.UsageFilter{Tenant: tenant})
	schedules, _, err9 := w.ListSchedules(ctx, tenant, "", store.Page{})
	deliveries, err10 := w.ListDeliveries(ctx, tenant, "t2")
	for _, err := range []error{err1, err2, err3, err4, err5, err6, err7, err8, err9, err10} {
		succeeds(t, err)
	}
	return map[string]int{
		"leases": len(held), "tasks": len(tasks), "steps": len(steps), "events": len(events), "sessions": len(sessions),
		"messages": len(messages), "recent": len(recent), "sums": len(sums), "schedules": len(schedules), "deliveries": len(deliveries),
	}
}

func everyTenant(t *testing.T, w *world) {
	want := []string{"acme", "umbrella"}
	for _, tenant := range want {
		s := spec("t1")
		s.Tenant = tenant
		_, _, err := w.SubmitTask(t.Context(), s)
		succeeds(t, err)
		_, err = w.CreateSchedule(t.Context(), store.Schedule{Tenant: tenant, ID: "s1", NextTime: w.clock.Now()})
		succeeds(t, err)
	}
	w.clock.advance(time.Minute)
	got := ids(w.dueTasks(t), func(task store.DueTask) string { return task.Tenant })
	slices.Sort(got)
	same(t, "tasks", got, want)
	schedules, err := w.DueSchedules(t.Context(), 10)
	succeeds(t, err)
	got = ids(schedules, func(s store.Schedule) string { return s.Tenant })
	slices.Sort(got)
	same(t, "schedules", got, want)
}

// ownClock: a store that is given no clock has one that is right to the hour.
func ownClock(t *testing.T, s store.Store) {
	t.Helper()
	succeeds(t, s.Ping(t.Context()))
	near := func(at, want time.Time) {
		t.Helper()
		if at.Before(want.Add(-time.Hour)) || at.After(want.Add(time.Hour)) {
			t.Errorf("the time is %v, want %v", at, want)
		}
	}
	now := time.Now()
	task, _, err := s.SubmitTask(t.Context(), spec("t1"))
	succeeds(t, err)
	near(task.CreateTime, now)
	near(task.RunAfter, now)
	task, err = s.ClaimTask(t.Context(), tenant, "t1", "worker", 24*time.Hour)
	succeeds(t, err)
	near(task.LeaseUntil, now.Add(24*time.Hour))
	_, err = s.ClaimTask(t.Context(), tenant, "t1", "worker", lease)
	fails(t, err, store.ErrLeased)
	succeeds(t, s.Close())
	succeeds(t, s.Close())
	_, err = s.GetTask(t.Context(), tenant, "t1")
	fails(t, err, store.ErrClosed)
	_, err = s.ClaimTask(t.Context(), tenant, "t1", "worker", lease)
	fails(t, err, store.ErrClosed)
	fails(t, s.Ping(t.Context()), store.ErrClosed)
}
