package storetest

import (
	"testing"
	"time"

	"github.com/runwire/runwire/store"
)

func usageTests() map[string]func(*testing.T, *world) {
	return map[string]func(*testing.T, *world){
		"usage adds up by any of its keys":     sumUsage,
		"usage is narrowed by what is asked":   filterUsage,
		"usage written again is written once":  appendUsageTwice,
		"usage that makes no sense is refused": badUsage,
		"money adds up exactly":                exactUsage,
	}
}

func nano(n int64) *int64 { return new(n) }

// someUsage is five calls on two days.
func (w *world) someUsage(t *testing.T) (firstDay time.Time) {
	t.Helper()
	firstDay = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	last := firstDay.Add(24*time.Hour - time.Microsecond)
	next := firstDay.Add(24 * time.Hour)
	succeeds(t, w.AppendUsage(t.Context(), []store.UsageRow{
		{ID: "1", Tenant: tenant, UserID: "ann", Agent: "a", Model: "m", Time: firstDay, InputTokens: 1, CostNano: nano(10)},
		{ID: "2", Tenant: tenant, UserID: "ann", Agent: "b", Model: "n", Time: last, CachedTokens: 2, CostNano: nano(20)},
		{ID: "3", Tenant: tenant, UserID: "bob", Agent: "a", Model: "m", Time: next, CacheWriteTokens: 4, CostNano: nano(0)},
		{ID: "4", Tenant: tenant, UserID: "bob", Agent: "a", Model: "n", Time: next, OutputTokens: 8, Estimated: true},
		{ID: "5", Tenant: tenant, UserID: "bob", Agent: "a", Model: "n", Time: next, OutputTokens: 16, Estimated: true},
	}))
	return firstDay
}

func sumUsage(t *testing.T, w *world) {
	first := w.someUsage(t)
	second := first.Add(24 * time.Hour)
	for name, test := range map[string]struct {
		by   []store.UsageKey
		want []store.UsageSum
	}{
		"nothing": {nil, []store.UsageSum{{
			Calls: 5, InputTokens: 1, CachedTokens: 2, CacheWriteTokens: 4, OutputTokens: 24, CostNano: 30, Unpriced: 2, Estimated: 2,
		}}},
		"user": {[]store.UsageKey{store.UsageByUser}, []store.UsageSum{
			{UserID: "ann", Calls: 2, InputTokens: 1, CachedTokens: 2, CostNano: 30},
			{UserID: "bob", Calls: 3, CacheWriteTokens: 4, OutputTokens: 24, Unpriced: 2, Estimated: 2},
		}},
		"day": {[]store.UsageKey{store.UsageByDay}, []store.UsageSum{
			{Day: first, Calls: 2, InputTokens: 1, CachedTokens: 2, CostNano: 30},
			{Day: second, Calls: 3, CacheWriteTokens: 4, OutputTokens: 24, Unpriced: 2, Estimated: 2},
		}},
		"day and model": {[]store.UsageKey{store.UsageByDay, store.UsageByModel}, []store.UsageSum{
			{Model: "m", Day: first, Calls: 1, InputTokens: 1, CostNano: 10},
			{Model: "m", Day: second, Calls: 1, CacheWriteTokens: 4},
			{Model: "n", Day: first, Calls: 1, CachedTokens: 2, CostNano: 20},
			{Model: "n", Day: second, Calls: 2, OutputTokens: 24, Unpriced: 2, Estimated: 2},
		}},
		"agent, twice": {[]store.UsageKey{store.UsageByAgent, store.UsageByAgent}, []store.UsageSum{
			{Agent: "a", Calls: 4, InputTokens: 1, CacheWriteTokens: 4, OutputTokens: 24, CostNano: 10, Unpriced: 2, Estimated: 2},
			{Agent: "b", Calls: 1, CachedTokens: 2, CostNano: 20},
		}},
	} {
		sums, err := w.SumUsage(t.Context(), store.UsageFilter{Tenant: tenant}, test.by...)
		succeeds(t, err)
		same(t, "by "+name, sums, test.want)
	}
}

func filterUsage(t *testing.T, w *world) {
	first := w.someUsage(t)
	second := first.Add(24 * time.Hour)
	for name, test := range map[string]struct {
		filter store.UsageFilter
		calls  int64
	}{
		"from":      {store.UsageFilter{From: second}, 3},
		"to":        {store.UsageFilter{To: second}, 2},
		"a moment":  {store.UsageFilter{From: first, To: first.Add(time.Microsecond)}, 1},
		"user":      {store.UsageFilter{UserID: "ann"}, 2},
		"agent":     {store.UsageFilter{Agent: "b"}, 1},
		"model":     {store.UsageFilter{Model: "n"}, 3},
		"all of it": {store.UsageFilter{UserID: "bob", Agent: "a", Model: "m", From: second}, 1},
		"nothing":   {store.UsageFilter{UserID: "eve"}, 0},
	} {
		test.filter.Tenant = tenant
		sums, err := w.SumUsage(t.Context(), test.filter)
		succeeds(t, err)
		if test.calls == 0 {
			same(t, name, len(sums), 0)
			continue
		}
		same(t, name, sums[0].Calls, test.calls)
	}
}

func appendUsageTwice(t *testing.T, w *world) {
	row := store.UsageRow{Tenant: tenant, ID: "1", Time: w.clock.Now(), InputTokens: 1}
	succeeds(t, w.AppendUsage(t.Context(), []store.UsageRow{row}))
	other := row
	other.ID = "2"
	succeeds(t, w.AppendUsage(t.Context(), []store.UsageRow{row, other, other}))
	succeeds(t, w.AppendUsage(t.Context(), nil))
	sums, err := w.SumUsage(t.Context(), store.UsageFilter{Tenant: tenant})
	succeeds(t, err)
	same(t, "usage", sums, []store.UsageSum{{Calls: 2, InputTokens: 2, Unpriced: 2}})
}

func badUsage(t *testing.T, w *world) {
	good := store.UsageRow{Tenant: tenant, ID: "1", Time: w.clock.Now()}
	fails(t, w.AppendUsage(t.Context(), []store.UsageRow{good, {Tenant: tenant, ID: "2"}}), store.ErrInvalid)
	sums, err := w.SumUsage(t.Context(), store.UsageFilter{Tenant: tenant})
	succeeds(t, err)
	same(t, "usage", len(sums), 0)
	_, err = w.SumUsage(t.Context(), store.UsageFilter{Tenant: tenant}, "phase of the moon")
	fails(t, err, store.ErrInvalid)
}

func exactUsage(t *testing.T, w *world) {
	const cost = 1<<52 + 1 // a float's sum would be off
	for _, id := range numbered("u", 3) {
		succeeds(t, w.AppendUsage(t.Context(), []store.UsageRow{
			{Tenant: tenant, ID: id, Time: w.clock.Now(), CostNano: nano(cost), InputTokens: cost},
		}))
	}
	sums, err := w.SumUsage(t.Context(), store.UsageFilter{Tenant: tenant})
	succeeds(t, err)
	same(t, "usage", sums, []store.UsageSum{{Calls: 3, InputTokens: 3 * cost, CostNano: 3 * cost}})
}
