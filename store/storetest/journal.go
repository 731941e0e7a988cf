package storetest

import (
	"fmt"
	"testing"

	"github.com/runwire/runwire/store"
)

func journalTests() map[string]func(*testing.T, *world) {
	return map[string]func(*testing.T, *world){
		"progress is written all together, in order":      appendProgress,
		"a step is written once, after those before it":   appendStepsTwice,
		"an event is written once, after those before":    appendEventsTwice,
		"events are read from where a reader stopped":     readEvents,
		"progress of any length is written":               appendMany,
		"the journal of a task that is not there is bare": unknownJournal,
	}
}

func (w *world) steps(t *testing.T, id string) []string {
	t.Helper()
	steps, err := w.ListSteps(t.Context(), tenant, id)
	succeeds(t, err)
	return ids(steps, func(step []byte) string { return string(step) })
}

func (w *world) events(t *testing.T, id string) []string {
	t.Helper()
	events, err := w.ListEvents(t.Context(), tenant, id, 0, 1000)
	succeeds(t, err)
	return ids(events, func(e store.Event) string { return fmt.Sprintf("%d %s", e.Sequence, e.Payload) })
}

func appendProgress(t *testing.T, w *world) {
	task := w.claim(t, "t1")
	cost := int64(5)
	succeeds(t, w.AppendProgress(t.Context(), task.Ref(), store.Progress{
		Steps:  [][]byte{[]byte("one"), []byte("two")},
		Usage:  []store.UsageRow{{Tenant: tenant, ID: "u1", Time: w.clock.Now(), OutputTokens: 3, CostNano: &cost}},
		Events: []store.Event{{Sequence: 1, Payload: []byte("a")}, {Sequence: 4, Payload: []byte("b")}},
	}))
	succeeds(t, w.AppendProgress(t.Context(), task.Ref(), store.Progress{Position: 2, Steps: [][]byte{[]byte("three")}}))
	succeeds(t, w.AppendProgress(t.Context(), task.Ref(), store.Progress{Events: []store.Event{{Sequence: 5}}}))
	succeeds(t, w.AppendProgress(t.Context(), task.Ref(), store.Progress{}))

	same(t, "steps", w.steps(t, "t1"), []string{"one", "two", "three"})
	same(t, "events", w.events(t, "t1"), []string{"1 a", "4 b", "5 "})
	task.Steps, task.LastSequence = 3, 5
	same(t, "the task", w.task(t, "t1"), task)
	sums, err := w.SumUsage(t.Context(), store.UsageFilter{Tenant: tenant})
	succeeds(t, err)
	same(t, "usage", sums, []store.UsageSum{{Calls: 1, OutputTokens: 3, CostNano: 5}})
}

func appendStepsTwice(t *testing.T, w *world) {
	task := w.claim(t, "t1")
	progress := store.Progress{Steps: [][]byte{[]byte("one")}, Events: []store.Event{{Sequence: 1}}}
	succeeds(t, w.AppendProgress(t.Context(), task.Ref(), progress))
	progress.Events[0].Sequence = 2
	for _, position := range []int64{0, 2} {
		progress.Position = position
		fails(t, w.AppendProgress(t.Context(), task.Ref(), progress), store.ErrConflict)
	}
	same(t, "steps", w.steps(t, "t1"), []string{"one"})
	same(t, "events", w.events(t, "t1"), []string{"1 "})
}

func appendEventsTwice(t *testing.T, w *world) {
	task := w.claim(t, "t1")
	write := func(sequences ...int64) error {
		progress := store.Progress{Usage: []store.UsageRow{{Tenant: tenant, ID: fmt.Sprint(sequences), Time: w.clock.Now()}}}
		for _, sequence := range sequences {
			progress.Events = append(progress.Events, store.Event{Sequence: sequence})
		}
		return w.AppendProgress(t.Context(), task.Ref(), progress)
	}
	succeeds(t, write(1, 2, 5))
	for _, sequences := range [][]int64{{5}, {3}, {5, 6}, {6, 6}, {7, 6}, {0}, {-1}} {
		fails(t, write(sequences...), store.ErrConflict)
	}
	succeeds(t, write(6))
	same(t, "events", w.events(t, "t1"), []string{"1 ", "2 ", "5 ", "6 "})
	sums, err := w.SumUsage(t.Context(), store.UsageFilter{Tenant: tenant})
	succeeds(t, err)
	same(t, "usage", sums[0].Calls, int64(2))
}

func readEvents(t *testing.T, w *world) {
	task := w.claim(t, "t1")
	var events []store.Event
	for i := range 10 {
		events = append(events, store.Event{Sequence: int64(i + 1), Payload: fmt.Append(nil, i)})
	}
	succeeds(t, w.AppendProgress(t.Context(), task.Ref(), store.Progress{Events: events}))
	for after := range 11 {
		for _, limit := range []int{1, 3, 100} {
			got, err := w.ListEvents(t.Context(), tenant, "t1", int64(after), limit)
			succeeds(t, err)
			same(t, "how many", len(got), min(limit, 10-after))
			for i, event := range got {
				same(t, "the event", event, events[after+i])
			}
		}
	}
}

func appendMany(t *testing.T, w *world) {
	task := w.claim(t, "t1")
	for _, count := range []int{1, 63, 64, 65, 200} {
		before := w.task(t, "t1")
		progress := store.Progress{Position: before.Steps}
		for i := range count {
			progress.Steps = append(progress.Steps, fmt.Append(nil, i))
			progress.Events = append(progress.Events, store.Event{Sequence: before.LastSequence + int64(i) + 1})
		}
		succeeds(t, w.AppendProgress(t.Context(), task.Ref(), progress))
		steps := w.steps(t, "t1")
		same(t, "how many", len(steps), int(before.Steps)+count)
		same(t, "the last", steps[len(steps)-1], fmt.Sprint(count-1))
	}
}

func unknownJournal(t *testing.T, w *world) {
	same(t, "steps", w.steps(t, "none"), []string{})
	same(t, "events", w.events(t, "none"), []string{})
}
