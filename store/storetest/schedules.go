package storetest

import (
	"testing"
	"time"

	"github.com/runwire/runwire/store"
)

func scheduleTests() map[string]func(*testing.T, *world) {
	return map[string]func(*testing.T, *world){
		"a schedule reads back as it was made":          createSchedule,
		"a schedule that is not there is not found":     unknownSchedule,
		"schedules are listed newest first":             listSchedules,
		"a schedule is due at its time, and fires once": fireSchedule,
		"a paused schedule does not fire":               pauseSchedule,
	}
}

func (w *world) schedule(t *testing.T, id string, in time.Duration) store.Schedule {
	t.Helper()
	schedule, err := w.CreateSchedule(t.Context(), store.Schedule{
		Tenant: tenant, ID: id, UserID: "ann", Cron: "* * * * *", TimeZone: "Europe/Berlin",
		Request: []byte("request"), NextTime: w.clock.Now().Add(in),
	})
	succeeds(t, err)
	return schedule
}

func scheduleID(s store.Schedule) string { return s.ID }

func (w *world) dueSchedules(t *testing.T, limit int) []string {
	t.Helper()
	due, err := w.DueSchedules(t.Context(), limit)
	succeeds(t, err)
	return ids(due, scheduleID)
}

func createSchedule(t *testing.T, w *world) {
	now := w.clock.Now()
	want := store.Schedule{
		Tenant: tenant, ID: "s1", UserID: "ann", Cron: "* * * * *", TimeZone: "Europe/Berlin",
		Request: []byte("request"), NextTime: now.Add(time.Minute), CreateTime: now,
	}
	same(t, "the answer", w.schedule(t, "s1", time.Minute), want)
	schedule, err := w.GetSchedule(t.Context(), tenant, "s1")
	succeeds(t, err)
	same(t, "what is kept", schedule, want)
	_, err = w.CreateSchedule(t.Context(), store.Schedule{Tenant: tenant, ID: "s1"})
	fails(t, err, store.ErrExists)

	succeeds(t, w.DeleteSchedule(t.Context(), tenant, "s1"))
	_, err = w.GetSchedule(t.Context(), tenant, "s1")
	fails(t, err, store.ErrNotFound)
}

func unknownSchedule(t *testing.T, w *world) {
	_, err := w.GetSchedule(t.Context(), tenant, "none")
	fails(t, err, store.ErrNotFound)
	_, err = w.PauseSchedule(t.Context(), tenant, "none")
	fails(t, err, store.ErrNotFound)
	_, err = w.ResumeSchedule(t.Context(), tenant, "none", w.clock.Now())
	fails(t, err, store.ErrNotFound)
	fails(t, w.DeleteSchedule(t.Context(), tenant, "none"), store.ErrNotFound)
	fails(t, w.AdvanceSchedule(t.Context(), tenant, "none", w.clock.Now(), w.clock.Now()), store.ErrFenced)
}

func listSchedules(t *testing.T, w *world) {
	for _, id := range numbered("s", 5) {
		w.schedule(t, id, time.Minute)
		w.clock.advance(time.Second)
	}
	first, next, err := w.ListSchedules(t.Context(), tenant, "", store.Page{Size: 3})
	succeeds(t, err)
	second, end, err := w.ListSchedules(t.Context(), tenant, "", store.Page{Size: 3, Token: next})
	succeeds(t, err)
	same(t, "both pages", ids(append(first, second...), scheduleID), newestFirst(numbered("s", 5)))
	same(t, "the last token", end, "")
	anns, _, err := w.ListSchedules(t.Context(), tenant, "ann", store.Page{})
	succeeds(t, err)
	same(t, "a user's", len(anns), 5)
	none, _, err := w.ListSchedules(t.Context(), tenant, "bob", store.Page{})
	succeeds(t, err)
	same(t, "another user's", len(none), 0)
	_, _, err = w.ListSchedules(t.Context(), tenant, "", store.Page{Token: "forged"})
	fails(t, err, store.ErrPageToken)
}

func fireSchedule(t *testing.T, w *world) {
	schedule := w.schedule(t, "s1", time.Minute)
	w.schedule(t, "s2", 2*time.Minute)
	w.clock.advance(time.Minute - time.Microsecond)
	same(t, "what is due early", w.dueSchedules(t, 10), []string{})
	w.clock.advance(time.Microsecond)
	same(t, "what is due", w.dueSchedules(t, 10), []string{"s1"})
	w.clock.advance(time.Minute)
	same(t, "what is due later", w.dueSchedules(t, 10), []string{"s1", "s2"})
	same(t, "the first of it", w.dueSchedules(t, 1), []string{"s1"})

	tick, next := schedule.NextTime, schedule.NextTime.Add(time.Hour)
	succeeds(t, w.AdvanceSchedule(t.Context(), tenant, "s1", tick, next))
	fails(t, w.AdvanceSchedule(t.Context(), tenant, "s1", tick, next), store.ErrFenced)
	same(t, "what is due then", w.dueSchedules(t, 10), []string{"s2"})
	schedule.LastTime, schedule.NextTime = tick, next
	got, err := w.GetSchedule(t.Context(), tenant, "s1")
	succeeds(t, err)
	same(t, "what is kept", got, schedule)

	succeeds(t, w.AdvanceSchedule(t.Context(), tenant, "s1", next, time.Time{}))
	w.clock.advance(1000 * time.Hour)
	same(t, "what is due after the last", w.dueSchedules(t, 10), []string{"s2"})
}

func pauseSchedule(t *testing.T, w *world) {
	want := w.schedule(t, "s1", time.Minute)
	tick := want.NextTime
	w.clock.advance(time.Minute)
	schedule, err := w.PauseSchedule(t.Context(), tenant, "s1")
	succeeds(t, err)
	want.Paused, want.NextTime = true, time.Time{}
	same(t, "paused", schedule, want)
	same(t, "what is due", w.dueSchedules(t, 10), []string{})
	fails(t, w.AdvanceSchedule(t.Context(), tenant, "s1", tick, tick.Add(time.Hour)), store.ErrFenced)

	schedule, err = w.ResumeSchedule(t.Context(), tenant, "s1", w.clock.Now())
	succeeds(t, err)
	want.Paused, want.NextTime = false, w.clock.Now()
	same(t, "resumed", schedule, want)
	same(t, "what is due", w.dueSchedules(t, 10), []string{"s1"})
}
