package storetest

import (
	"testing"
	"time"

	"github.com/runwire/runwire/store"
)

func runTests() map[string]func(*testing.T, *world) {
	return map[string]func(*testing.T, *world){
		"an agent's last runs are added up, newest first": recentRuns,
		"runs that have begun long ago are whole":         longRuns,
		"no more runs are read than are allowed":          manyRuns,
	}
}

func runIDs(runs []store.RunUsage) []string {
	return ids(runs, func(r store.RunUsage) string { return r.RunID })
}

func recentRuns(t *testing.T, w *world) {
	at := w.clock.Now()
	after := func(seconds int) time.Time { return at.Add(time.Duration(seconds) * time.Second) }
	succeeds(t, w.AppendUsage(t.Context(), []store.UsageRow{
		{Tenant: tenant, ID: "1", RunID: "old", Agent: "a", Model: "m", Time: after(0), InputTokens: 10, CachedTokens: 1, OutputTokens: 2},
		{Tenant: tenant, ID: "2", RunID: "new", Agent: "a", Model: "m", Time: after(1), InputTokens: 100, CacheWriteTokens: 90, OutputTokens: 5},
		{Tenant: tenant, ID: "3", RunID: "new", Agent: "a", Model: "n", Time: after(1)},
		{Tenant: tenant, ID: "4", RunID: "new", Agent: "a", Model: "m", Time: after(2), InputTokens: 130, CachedTokens: 100, OutputTokens: 6},
		{Tenant: tenant, ID: "5", RunID: "of another model", Agent: "a", Model: "n", Time: after(3), InputTokens: 7},
		{Tenant: tenant, ID: "6", RunID: "of another agent", Agent: "b", Model: "m", Time: after(3), InputTokens: 7},
		{Tenant: "umbrella", ID: "7", RunID: "of another tenant", Agent: "a", Model: "m", Time: after(3), InputTokens: 7},
		{Tenant: "umbrella", ID: "8", RunID: "new", Agent: "a", Model: "m", Time: after(3), InputTokens: 7},
		{Tenant: tenant, ID: "9", RunID: "free", Agent: "c", Model: "m", Time: after(3)},
	}))
	newest := store.RunUsage{
		RunID: "new", Calls: 3, InputTokens: 230, CachedTokens: 100, CacheWriteTokens: 90, OutputTokens: 11, LeastInputTokens: 100,
	}
	oldest := store.RunUsage{RunID: "old", Calls: 1, InputTokens: 10, CachedTokens: 1, OutputTokens: 2, LeastInputTokens: 10}
	for name, test := range map[string]struct {
		agent, model string
		limit        int
		want         []store.RunUsage
	}{
		"all":              {"a", "m", 10, []store.RunUsage{newest, oldest}},
		"one":              {"a", "m", 1, []store.RunUsage{newest}},
		"none":             {"a", "m", 0, nil},
		"less than none":   {"a", "m", -1, nil},
		"nobody's":         {"z", "m", 10, nil},
		"of no model":      {"a", "", 10, nil},
		"that paid nought": {"c", "m", 10, []store.RunUsage{{RunID: "free", Calls: 1}}},
	} {
		runs, err := w.RecentRuns(t.Context(), tenant, test.agent, test.model, test.limit)
		succeeds(t, err)
		same(t, name, runs, test.want)
	}
}

func longRuns(t *testing.T, w *world) {
	var rows []store.UsageRow
	for i, id := range numbered("u", 100) {
		rows = append(rows, store.UsageRow{
			Tenant: tenant, ID: id, RunID: "long", Agent: "a", Model: "m",
			Time: w.clock.Now().Add(time.Duration(i) * time.Second), InputTokens: int64(i + 1),
		})
	}
	succeeds(t, w.AppendUsage(t.Context(), rows))
	runs, err := w.RecentRuns(t.Context(), tenant, "a", "m", 1)
	succeeds(t, err)
	same(t, "the run", runs, []store.RunUsage{{RunID: "long", Calls: 100, InputTokens: 5050, LeastInputTokens: 1}})
}

func manyRuns(t *testing.T, w *world) {
	names := numbered("r", 210)
	var rows []store.UsageRow
	for i, id := range names {
		rows = append(rows, store.UsageRow{
			Tenant: tenant, ID: id, RunID: id, Agent: "a", Model: "m", Time: w.clock.Now().Add(time.Duration(i) * time.Second),
		})
	}
	succeeds(t, w.AppendUsage(t.Context(), rows))
	runs, err := w.RecentRuns(t.Context(), tenant, "a", "m", 1000)
	succeeds(t, err)
	same(t, "the runs", runIDs(runs), newestFirst(names)[:200])
}
