package storetest

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runwire/runwire/store"
)

func spendTests() map[string]func(*testing.T, *world) {
	return map[string]func(*testing.T, *world){
		"money is reserved, settled and counted":              settleSpend,
		"a nearly spent day leaves the rest":                  lastOfSpend,
		"each of several limits holds":                        severalLimits,
		"a limit is a user's, a tenant's and a day's":         spendIsApart,
		"a reservation runs out, and late usage counts":       expireSpend,
		"a reservation again takes the place of the last":     reserveAgain,
		"calls that have ended hold what they have cost":      endedCalls,
		"usage counts once, and only where it is reserved":    usageOfSpend,
		"a task's step and its end settle":                    settleWithTask,
		"a turn settles":                                      settleWithTurn,
		"a cost beyond counting fills the day":                endlessCost,
		"what makes no sense is not reserved":                 badSpend,
		"parallel calls never pass a limit, and leak nothing": raceSpend,
	}
}

var (
	annLimit = store.SpendLimit{Scope: store.SpendOfUser, Name: "ann", Nano: 1000}
	keyLimit = store.SpendLimit{Scope: store.SpendOfKey, Name: "backend", Nano: 1500}
)

func reservation(id string, least, most int64, limits ...store.SpendLimit) store.SpendReservation {
	return store.SpendReservation{Tenant: tenant, ID: id, Least: least, Most: most, Limits: limits, Lasts: time.Minute}
}

func (w *world) reserve(t *testing.T, r store.SpendReservation) store.SpendGrant {
	t.Helper()
	grant, err := w.ReserveSpend(t.Context(), r)
	succeeds(t, err)
	return grant
}

// paid is the row of a call for which money was reserved.
func (w *world) paid(id string, cost int64) store.UsageRow {
	return store.UsageRow{Tenant: tenant, ID: id, UserID: "ann", Time: w.clock.Now(), CostNano: nano(cost), Reserved: true}
}

func (w *world) settle(t *testing.T, id string, cost int64) {
	t.Helper()
	succeeds(t, w.AppendUsage(t.Context(), []store.UsageRow{w.paid(id, cost)}))
}

// spent checks what stands against each of the limits.
func (w *world) spent(t *testing.T, of string, limit store.SpendLimit, settled, reserved int64) {
	t.Helper()
	spent, err := w.SpentToday(t.Context(), of, []store.SpendLimit{limit})
	succeeds(t, err)
	same(t, "spent by "+limit.Name, spent, []store.Spent{{SettledNano: settled, ReservedNano: reserved}})
}

func settleSpend(t *testing.T, w *world) {
	w.spent(t, tenant, annLimit, 0, 0)
	grant := w.reserve(t, reservation("1", 1, 600, annLimit))
	same(t, "the grant", grant, store.SpendGrant{Nano: 600, Soon: true, Now: w.clock.Now()})
	w.spent(t, tenant, annLimit, 0, 600)
	w.settle(t, "1", 250)
	w.spent(t, tenant, annLimit, 250, 0)
	w.reserve(t, reservation("2", 1, 750, annLimit))
	w.settle(t, "2", 0) // it never ran
	w.spent(t, tenant, annLimit, 250, 0)
}

func lastOfSpend(t *testing.T, w *world) {
	w.reserve(t, reservation("1", 1, 600, annLimit))
	grant := w.reserve(t, reservation("2", 400, 600, annLimit))
	same(t, "the rest", grant.Nano, int64(400))
	same(t, "why no more", grant.Short, []store.SpendLimit{annLimit})

	grant, err := w.ReserveSpend(t.Context(), reservation("3", 1, 1, annLimit))
	fails(t, err, store.ErrSpendLimit)
	same(t, "while others have it", grant.Soon, true)
	same(t, "why not", grant.Short, []store.SpendLimit{annLimit})
	w.settle(t, "1", 600)
	w.settle(t, "2", 399)
	grant, err = w.ReserveSpend(t.Context(), reservation("3", 2, 2, annLimit))
	fails(t, err, store.ErrSpendLimit)
	same(t, "once it is spent", grant.Soon, false)
	w.spent(t, tenant, annLimit, 999, 0)
	w.reserve(t, reservation("4", 1, 1, annLimit))
	w.spent(t, tenant, annLimit, 999, 1)
}

func severalLimits(t *testing.T, w *world) {
	bob := annLimit
	bob.Name = "bob"
	w.reserve(t, reservation("1", 1, 1000, annLimit, keyLimit))
	grant := w.reserve(t, reservation("2", 1, 1000, bob, keyLimit))
	same(t, "the rest of the key's", grant.Nano, int64(500))
	same(t, "why no more", grant.Short, []store.SpendLimit{keyLimit})
	_, err := w.ReserveSpend(t.Context(), reservation("3", 1, 10, bob, keyLimit))
	fails(t, err, store.ErrSpendLimit)
	w.spent(t, tenant, bob, 0, 500)
	w.spent(t, tenant, keyLimit, 0, 1500)
	w.settle(t, "1", 10)
	w.settle(t, "2", 20)
	w.spent(t, tenant, annLimit, 10, 0)
	w.spent(t, tenant, bob, 20, 0)
	w.spent(t, tenant, keyLimit, 30, 0)

	both := reservation("4", 1, 2000, annLimit, store.SpendLimit{Scope: store.SpendOfKey, Name: "other", Nano: 990})
	same(t, "both in the way", len(w.reserve(t, both).Short), 2)
}

func spendIsApart(t *testing.T, w *world) {
	w.reserve(t, reservation("1", 1, 1000, annLimit))
	key := annLimit
	key.Scope = store.SpendOfKey
	w.reserve(t, reservation("2", 1000, 1000, key))
	other := reservation("1", 1000, 1000, annLimit)
	other.Tenant = "umbrella"
	w.reserve(t, other)
	succeeds(t, w.AppendUsage(t.Context(), []store.UsageRow{{
		Tenant: "umbrella", ID: "1", Time: w.clock.Now(), CostNano: nano(7), Reserved: true,
	}}))
	w.spent(t, "umbrella", annLimit, 7, 0)
	w.spent(t, tenant, annLimit, 0, 1000)

	w.clock.advance(12 * time.Hour) // it was noon
	w.spent(t, tenant, annLimit, 0, 0)
	w.reserve(t, reservation("3", 1000, 1000, annLimit))
	w.settle(t, "1", 900) // of yesterday
	w.spent(t, tenant, annLimit, 0, 1000)
	w.clock.advance(-12 * time.Hour)
	w.spent(t, tenant, annLimit, 900, 0)
}

func expireSpend(t *testing.T, w *world) {
	for _, id := range numbered("r", 5) {
		w.reserve(t, reservation(id, 1, 100, annLimit, keyLimit))
	}
	free := func(limit, want int) {
		t.Helper()
		freed, err := w.FreeSpend(t.Context(), limit)
		succeeds(t, err)
		same(t, "freed", freed, want)
	}
	w.clock.advance(time.Minute - time.Microsecond)
	free(100, 0)
	w.clock.advance(time.Microsecond)
	free(4, 4)
	free(100, 6)
	free(100, 0)
	w.spent(t, tenant, annLimit, 0, 0)
	w.spent(t, tenant, keyLimit, 0, 0)
	w.settle(t, "r0001", 42)
	w.settle(t, "r0001", 42)
	w.spent(t, tenant, annLimit, 42, 0)
	w.spent(t, tenant, keyLimit, 42, 0)

	w.clock.advance(8 * 24 * time.Hour)
	free(100, 0)
	w.settle(t, "r0002", 42) // nobody knows what it was for
	w.clock.advance(-8 * 24 * time.Hour)
	w.spent(t, tenant, annLimit, 0, 0)
}

func reserveAgain(t *testing.T, w *world) {
	w.reserve(t, reservation("1", 1, 900, annLimit, keyLimit))
	w.reserve(t, reservation("1", 800, 800, annLimit))
	w.spent(t, tenant, annLimit, 0, 800)
	w.spent(t, tenant, keyLimit, 0, 0)
	_, err := w.ReserveSpend(t.Context(), reservation("1", 1001, 2000, annLimit))
	fails(t, err, store.ErrSpendLimit)
	w.spent(t, tenant, annLimit, 0, 800) // nothing was changed
	w.settle(t, "1", 5)
	w.spent(t, tenant, annLimit, 5, 0)
}

func endedCalls(t *testing.T, w *world) {
	w.reserve(t, reservation("1", 1, 700, annLimit))
	next := reservation("2", 900, 900, annLimit)
	next.Ended = []store.EndedCall{{ID: "1", CostNano: 100}, {ID: "unknown", CostNano: 500}}
	w.reserve(t, next)
	w.spent(t, tenant, annLimit, 0, 1000)
	w.clock.advance(59 * time.Second)
	last := reservation("3", 1, 2000, annLimit)
	last.Ended = []store.EndedCall{{ID: "1", CostNano: 100}, {ID: "2", CostNano: 901}}
	_, err := w.ReserveSpend(t.Context(), last)
	fails(t, err, store.ErrSpendLimit)
	last.Ended[1].CostNano = 300
	same(t, "the grant", w.reserve(t, last).Nano, int64(600))
	w.clock.advance(59 * time.Second)
	freed, err := w.FreeSpend(t.Context(), 100)
	succeeds(t, err)
	same(t, "freed while the run goes on", freed, 0)
	succeeds(t, w.AppendUsage(t.Context(), []store.UsageRow{w.paid("1", 100), w.paid("2", 300), w.paid("3", 1)}))
	w.spent(t, tenant, annLimit, 401, 0)
}

func usageOfSpend(t *testing.T, w *world) {
	w.reserve(t, reservation("1", 1, 100, annLimit))
	other := w.paid("2", 50)
	other.Reserved = false
	succeeds(t, w.AppendUsage(t.Context(), []store.UsageRow{other, w.paid("1", 30), w.paid("unknown", 70)}))
	w.spent(t, tenant, annLimit, 30, 0)
	w.settle(t, "1", 30)
	w.spent(t, tenant, annLimit, 30, 0)
	bad := w.paid("3", 1)
	bad.Time = time.Time{}
	w.reserve(t, reservation("2", 1, 100, annLimit))
	fails(t, w.AppendUsage(t.Context(), []store.UsageRow{w.paid("2", 9), bad}), store.ErrInvalid)
	w.spent(t, tenant, annLimit, 30, 100) // all or none
}

func settleWithTask(t *testing.T, w *world) {
	task := w.claim(t, "t1")
	w.reserve(t, reservation("1", 1, 100, annLimit))
	w.reserve(t, reservation("2", 1, 100, annLimit))
	w.reserve(t, reservation("3", 1, 100, annLimit))
	succeeds(t, w.AppendProgress(t.Context(), task.Ref(), store.Progress{
		Steps: [][]byte{{1}}, Usage: []store.UsageRow{w.paid("1", 10)},
	}))
	w.spent(t, tenant, annLimit, 10, 200)
	fenced := task.Ref()
	fenced.Attempt++
	fails(t, w.AppendProgress(t.Context(), fenced, store.Progress{Usage: []store.UsageRow{w.paid("2", 90)}, Steps: [][]byte{{1}}}), store.ErrFenced)
	w.spent(t, tenant, annLimit, 10, 200)
	w.finish(t, task, store.Ending{Status: store.StatusCompleted, Usage: []store.UsageRow{w.paid("2", 20), w.paid("3", 30)}})
	w.spent(t, tenant, annLimit, 60, 0)
}

func settleWithTurn(t *testing.T, w *world) {
	w.reserve(t, reservation("1", 1, 100, annLimit))
	turn := store.Turn{Tenant: tenant, SessionID: "chat", UserID: "ann", Messages: []store.Message{message("hello", 1)}}
	succeeds(t, w.AppendTurn(t.Context(), turn, w.paid("1", 10)))
	w.spent(t, tenant, annLimit, 10, 0)
}

func endlessCost(t *testing.T, w *world) {
	for i, cost := range []int64{5, math.MaxInt64, math.MaxInt64, 1} {
		id := fmt.Sprint(i)
		if i < 2 {
			w.reserve(t, reservation(id, 1, 10, annLimit))
		} else {
			_, err := w.ReserveSpend(t.Context(), reservation(id, 1, 10, annLimit))
			fails(t, err, store.ErrSpendLimit)
		}
		w.settle(t, id, cost)
	}
	w.spent(t, tenant, annLimit, math.MaxInt64, 0)
}

func badSpend(t *testing.T, w *world) {
	nul := annLimit
	nul.Name = "a\x00b"
	for name, r := range map[string]store.SpendReservation{
		"nothing":           reservation("1", 0, 0, annLimit),
		"more than all":     reservation("1", 2, 1, annLimit),
		"against no limit":  reservation("1", 1, 1),
		"a name with a NUL": reservation("1", 1, 1, nul),
	} {
		_, err := w.ReserveSpend(t.Context(), r)
		if !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: got error %v", name, err)
		}
	}
}

// raceSpend has many callers spend against two limits at once, some of whom die
// in the middle, while others look on and sweep.
func raceSpend(t *testing.T, w *world) {
	const callers, calls, watchers = 200, 5, 4
	var settled, refused, done atomic.Int64
	limits := []store.SpendLimit{annLimit, keyLimit}
	together(callers+watchers, func(i int) {
		if i >= callers {
			for done.Load() < callers {
				spent, err := w.SpentToday(t.Context(), tenant, limits)
				check(t, err)
				for n, s := range spent {
					if s.ReservedNano < 0 || s.SettledNano+s.ReservedNano > limits[n].Nano {
						t.Errorf("%d settled and %d reserved of %d", s.SettledNano, s.ReservedNano, limits[n].Nano)
					}
				}
				if i == callers {
					_, err = w.FreeSpend(t.Context(), 3)
					check(t, err)
				}
			}
			return
		}
		defer done.Add(1)
		for n := range calls {
			id := fmt.Sprintf("%d-%d", i, n)
			r := reservation(id, 1, 1+rand.Int64N(200), limits[:1+i%2]...)
			if n == calls-1 {
				r.Lasts = 0 // the caller dies
			}
			grant, err := w.ReserveSpend(t.Context(), r)
			if errors.Is(err, store.ErrSpendLimit) {
				refused.Add(1)
				continue
			}
			check(t, err)
			if n == calls-1 {
				continue
			}
			cost := rand.Int64N(min(grant.Nano, 4) + 1)
			settled.Add(cost)
			check(t, w.AppendUsage(t.Context(), []store.UsageRow{w.paid(id, cost)}))
		}
	})
	for freed := 1; freed > 0; {
		var err error
		freed, err = w.FreeSpend(t.Context(), 100)
		succeeds(t, err)
	}
	if refused.Load() == 0 || settled.Load() == 0 {
		t.Errorf("%d were refused and %d was spent: the race proves nothing", refused.Load(), settled.Load())
	}
	sums, err := w.SumUsage(t.Context(), store.UsageFilter{Tenant: tenant})
	succeeds(t, err)
	same(t, "usage", sums[0].CostNano, settled.Load())
	w.spent(t, tenant, annLimit, settled.Load(), 0)
	w.reserve(t, reservation("the rest", annLimit.Nano-settled.Load(), annLimit.Nano, annLimit))
}
