// Package storetest is what every store has to do, as tests. It must not know
// which database a store is kept in.
package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/runwire/runwire/store"
)

// Open makes an empty store that reads the clock, or has its own if that is
// nil, and closes it when the test ends.
type Open func(tb testing.TB, clock func() time.Time) store.Store

// Run tests the stores that open makes, each test with one of its own.
func Run(t *testing.T, open Open) {
	t.Helper()
	for _, suite := range []map[string]func(*testing.T, *world){
		taskTests(), listTests(), pageTests(), leaseTests(), approvalTests(), endingTests(), journalTests(), sessionTests(),
		messageTests(), summaryTests(), memoryTests(), vectorTests(), usageTests(), spendTests(), runTests(), scheduleTests(),
		deliveryTests(), sweeperTests(), raceTests(), tenantTests(),
	} {
		run(t, open, suite)
	}
	t.Run("a task's life follows its model", func(t *testing.T) {
		t.Parallel()
		clock := newClock()
		followModel(t, &world{Store: open(t, clock.Now), clock: clock})
	})
	t.Run("without a clock of ours the time is right", func(t *testing.T) {
		t.Parallel()
		ownClock(t, open(t, nil))
	})
}

// RunMemories tests what the stores that open makes do with memories alone: for
// those that differ in nothing else from one that Run has tested.
func RunMemories(t *testing.T, open Open) {
	t.Helper()
	run(t, open, memoryTests())
	run(t, open, vectorTests())
}

func run(t *testing.T, open Open, suite map[string]func(*testing.T, *world)) {
	t.Helper()
	for name, test := range suite {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := newClock()
			test(t, &world{Store: open(t, clock.Now), clock: clock})
		})
	}
}

// world is a store and its clock.
type world struct {
	store.Store

	clock *clock
}

// clock goes on only when it is told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock {
	return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)}
}

// Now is the time.
func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

const (
	tenant = "acme"
	lease  = 30 * time.Second
)

// spec is a task that asks for nothing special.
func spec(id string) store.TaskSpec {
	return store.TaskSpec{
		Tenant: tenant, ID: id, UserID: "ann", SessionID: "chat of " + id, Agent: "default", Priority: 2,
		Request: []byte("request of " + id),
	}
}

// submit makes a task that is due.
func (w *world) submit(t *testing.T, id string) store.Task {
	t.Helper()
	task, created, err := w.SubmitTask(t.Context(), spec(id))
	succeeds(t, err)
	same(t, "created", created, true)
	return task
}

// claim makes a task and has a worker claim it.
func (w *world) claim(t *testing.T, id string) store.Task {
	t.Helper()
	w.submit(t, id)
	return w.reclaim(t, id, "worker")
}

// claimIn is claim for a task in a session.
func (w *world) claimIn(t *testing.T, session, id string) store.Task {
	t.Helper()
	s := spec(id)
	s.SessionID = session
	_, _, err := w.SubmitTask(t.Context(), s)
	succeeds(t, err)
	return w.reclaim(t, id, "worker")
}

func (w *world) reclaim(t *testing.T, id, worker string) store.Task {
	t.Helper()
	task, err := w.ClaimTask(t.Context(), tenant, id, worker, lease)
	succeeds(t, err)
	return task
}

func (w *world) task(t *testing.T, id string) store.Task {
	t.Helper()
	task, err := w.GetTask(t.Context(), tenant, id)
	succeeds(t, err)
	return task
}

func (w *world) finish(t *testing.T, task store.Task, end store.Ending) store.Task {
	t.Helper()
	succeeds(t, w.FinishTask(t.Context(), task.Ref(), end))
	return w.task(t, task.ID)
}

func succeeds(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("got error %v, want none", err)
	}
}

func fails(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

func same(t testing.TB, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// ids are the names of things, in their order.
func ids[T any](all []T, id func(T) string) []string {
	names := make([]string, 0, len(all))
	for _, one := range all {
		names = append(names, id(one))
	}
	return names
}

func taskID(t store.Task) string { return t.ID }

// numbered makes count names that sort by their numbers.
func numbered(prefix string, count int) []string {
	names := make([]string, 0, count)
	for i := range count {
		names = append(names, fmt.Sprintf("%s%04d", prefix, i))
	}
	return names
}
