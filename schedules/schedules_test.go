package schedules

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/store"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a clock that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) set(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

// queue submits to the store, as the tasks' queue does, and can refuse.
type queue struct {
	db *store.DB

	mu      sync.Mutex
	refusal error
	created []string // idempotency keys
}

func (q *queue) Submit(ctx context.Context, tenant, key string, req *agentv1.SubmitTaskRequest) (*agentv1.Task, error) {
	q.mu.Lock()
	refusal := q.refusal
	q.mu.Unlock()
	if refusal != nil {
		return nil, refusal
	}
	request, err := proto.Marshal(req)
	if err != nil {
		return nil, err
	}
	task, created, err := q.db.SubmitTask(ctx, store.TaskSpec{
		Tenant: tenant, Key: key, ID: fmt.Sprintf("%s-%p", req.GetIdempotencyKey(), req), UserID: req.GetUserId(), Agent: "default",
		Priority: 2, IdempotencyKey: req.GetIdempotencyKey(), RequestHash: request, Request: request,
	})
	if created {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.created = append(q.created, tenant+" "+req.GetIdempotencyKey())
	}
	return &agentv1.Task{TaskId: task.ID}, err
}

func (q *queue) refuse(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.refusal = err
}

func (q *queue) want(t *testing.T, keys ...string) {
	t.Helper()
	q.mu.Lock()
	defer q.mu.Unlock()
	if strings.Join(q.created, ", ") != strings.Join(keys, ", ") {
		t.Errorf("submitted %q, want %q", q.created, keys)
	}
}

// fixture is schedules on a real store, at a time that the test sets.
type fixture struct {
	*Schedules

	db    *store.DB
	queue *queue
	clock *clock
	log   *bytes.Buffer
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{clock: &clock{now: at(t, "2026-05-04T10:00:30Z")}, log: &bytes.Buffer{}}
	db, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "store.db"), store.Options{Clock: f.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	f.db, f.queue = db, &queue{db: db}
	f.Schedules = f.replica()
	return f
}

// replica is another server on the same store.
func (f *fixture) replica() *Schedules {
	return New(Config{Store: f.db, Submitter: f.queue, Now: f.clock.Now, Log: slog.New(slog.NewTextHandler(f.log, nil))})
}

func request(id, cron string) *agentv1.CreateScheduleRequest {
	return &agentv1.CreateScheduleRequest{
		ScheduleId: id, Cron: cron, Task: &agentv1.SubmitTaskRequest{Message: "Report.", UserId: "alice"},
	}
}

func (f *fixture) create(t *testing.T, id, cron string) {
	t.Helper()
	if _, err := f.Create(t.Context(), "acme", "", request(id, cron)); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) fire(t *testing.T) {
	t.Helper()
	if err := f.Fire(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) wantNext(t *testing.T, id, next string) {
	t.Helper()
	schedule, err := f.Get(t.Context(), "acme", id)
	if err != nil {
		t.Fatal(err)
	}
	if got := schedule.GetNextTime().AsTime(); !got.Equal(at(t, next)) {
		t.Errorf("the next tick of %s is %v, want %s", id, got, next)
	}
}

func TestATickFiresOnce(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.create(t, "hourly", "0 * * * *")
	f.fire(t)
	f.queue.want(t)
	f.clock.set(at(t, "2026-05-04T11:00:00Z"))
	f.fire(t)
	f.fire(t)
	f.queue.want(t, "acme schedule/hourly/2026-05-04T11:00:00Z")
	schedule, err := f.Get(t.Context(), "acme", "hourly")
	if err != nil || !schedule.GetLastTime().AsTime().Equal(at(t, "2026-05-04T11:00:00Z")) || schedule.GetTimeZone() != "UTC" {
		t.Errorf("got %v, %v", schedule, err)
	}
	f.wantNext(t, "hourly", "2026-05-04T12:00:00Z")
}

func TestOfMissedTicksTheLatestIsMadeUpFor(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.create(t, "hourly", "0 * * * *")
	f.create(t, "every", "@every 25m")
	f.clock.set(at(t, "2026-05-04T15:10:00Z"))
	f.fire(t)
	f.queue.want(t, "acme schedule/every/2026-05-04T15:00:30Z", "acme schedule/hourly/2026-05-04T15:00:00Z")
	f.wantNext(t, "hourly", "2026-05-04T16:00:00Z")
	f.wantNext(t, "every", "2026-05-04T15:25:30Z")
	schedule, err := f.Get(t.Context(), "acme", "hourly")
	if err != nil || !schedule.GetLastTime().AsTime().Equal(at(t, "2026-05-04T15:00:00Z")) {
		t.Errorf("got %v, %v", schedule, err)
	}
}

// Servers that fire the same schedules at the same moments, on the edge of a
// tick, make one task a tick.
func TestServersThatFireAtOnceMakeOneTask(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const count, replicas = 150, 6
	for i := range count {
		f.create(t, fmt.Sprintf("s%03d", i), "* * * * *")
	}
	for _, now := range []string{"2026-05-04T10:01:00Z", "2026-05-04T10:07:59Z", "2026-05-04T10:08:00Z"} {
		f.clock.set(at(t, now))
		var all sync.WaitGroup
		for range replicas {
			all.Go(func() {
				if err := f.replica().Fire(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
	seen := map[string]bool{}
	for _, key := range f.queue.created {
		if seen[key] {
			t.Errorf("%s was submitted twice", key)
		}
		seen[key] = true
	}
	if len(seen) != 3*count {
		t.Errorf("%d tasks, want %d", len(seen), 3*count)
	}
	var tasks int
	for page := (store.Page{Size: 1000}); ; {
		listed, next, err := f.db.ListTasks(t.Context(), store.TaskFilter{Tenant: "acme"}, page)
		if err != nil {
			t.Fatal(err)
		}
		if tasks += len(listed); next == "" {
			break
		}
		page.Token = next
	}
	if tasks != 3*count {
		t.Errorf("the store has %d tasks, want %d", tasks, 3*count)
	}
}

func TestARefusalForGoodLeavesTheTickOut(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.create(t, "hourly", "0 * * * *")
	f.queue.refuse(errors.New("no such agent"))
	f.clock.set(at(t, "2026-05-04T11:00:00Z"))
	f.fire(t)
	f.queue.want(t)
	f.wantNext(t, "hourly", "2026-05-04T12:00:00Z")
	if said := f.log.String(); !strings.Contains(said, "level=WARN") || !strings.Contains(said, "no such agent") {
		t.Errorf("the log says %q", said)
	}
}

func TestARefusalForNowIsTriedAgain(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.create(t, "hourly", "0 * * * *")
	f.clock.set(at(t, "2026-05-04T11:00:00Z"))
	for _, refusal := range []error{store.ErrUnavailable, context.DeadlineExceeded} {
		f.queue.refuse(fmt.Errorf("submitting: %w", refusal))
		if err := f.Fire(t.Context()); !errors.Is(err, refusal) {
			t.Errorf("Fire: %v, want %v", err, refusal)
		}
		f.wantNext(t, "hourly", "2026-05-04T11:00:00Z")
	}
	f.queue.refuse(nil)
	f.fire(t)
	f.queue.want(t, "acme schedule/hourly/2026-05-04T11:00:00Z")
}

// One schedule's trouble does not hold up the others.
func TestAScheduleThatCanNotBeReadIsPaused(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for id, broken := range map[string]store.Schedule{
		"cron": {Cron: "0 8 * *"}, "zone": {Cron: "* * * * *", TimeZone: "Atlantis"}, "task": {Cron: "* * * * *", Request: []byte("{")},
	} {
		broken.Tenant, broken.ID, broken.NextTime = "acme", id, at(t, "2026-05-04T10:00:01Z")
		if _, err := f.db.CreateSchedule(t.Context(), broken); err != nil {
			t.Fatal(err)
		}
	}
	f.create(t, "good", "1 10 * * *")
	f.clock.set(at(t, "2026-05-04T10:01:00Z"))
	f.fire(t)
	f.queue.want(t, "acme schedule/good/2026-05-04T10:01:00Z")
	for _, id := range []string{"cron", "zone", "task"} {
		if schedule, err := f.db.GetSchedule(t.Context(), "acme", id); err != nil || !schedule.Paused {
			t.Errorf("%s: %+v, %v", id, schedule, err)
		}
	}
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.create(t, "hourly", "0 * * * *")
	paused, err := f.Pause(t.Context(), "acme", "hourly")
	if err != nil || !paused.GetPaused() || paused.GetNextTime() != nil {
		t.Errorf("got %v, %v", paused, err)
	}
	f.clock.set(at(t, "2026-05-04T15:10:00Z"))
	f.fire(t)
	resumed, err := f.Resume(t.Context(), "acme", "hourly")
	if err != nil || resumed.GetPaused() {
		t.Errorf("got %v, %v", resumed, err)
	}
	f.fire(t)
	f.queue.want(t)
	f.wantNext(t, "hourly", "2026-05-04T16:00:00Z")

	// Resuming what is not paused skips no tick.
	f.clock.set(at(t, "2026-05-04T16:00:01Z"))
	if _, err := f.Resume(t.Context(), "acme", "hourly"); err != nil {
		t.Fatal(err)
	}
	f.fire(t)
	f.queue.want(t, "acme schedule/hourly/2026-05-04T16:00:00Z")
}

func TestCreateGetListDelete(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	made, err := f.Create(t.Context(), "acme", "", request("", "@daily"))
	if err != nil || made.GetScheduleId() == "" {
		t.Fatalf("got %v, %v", made, err)
	}
	got, err := f.Get(t.Context(), "acme", made.GetScheduleId())
	if err != nil || !proto.Equal(got, made) || !proto.Equal(got.GetTask(), request("", "").GetTask()) {
		t.Errorf("got %v, %v, want %v", got, err, made)
	}
	f.create(t, "second", "@daily")
	if _, err := f.Create(t.Context(), "acme", "", request("second", "@daily")); !errors.Is(err, store.ErrExists) {
		t.Errorf("again: %v", err)
	}
	first, next, err := f.List(t.Context(), "acme", "alice", store.Page{Size: 1})
	if err != nil || len(first) != 1 || next == "" {
		t.Fatalf("got %v, %q, %v", first, next, err)
	}
	second, next, err := f.List(t.Context(), "acme", "alice", store.Page{Size: 1, Token: next})
	if err != nil || len(second) != 1 || next != "" || second[0].GetScheduleId() == first[0].GetScheduleId() {
		t.Errorf("got %v, %q, %v", second, next, err)
	}
	for _, strangers := range []struct{ tenant, user string }{{"acme", "bob"}, {"umbrella", ""}} {
		if listed, _, err := f.List(t.Context(), strangers.tenant, strangers.user, store.Page{}); err != nil || len(listed) != 0 {
			t.Errorf("%v: %v, %v", strangers, listed, err)
		}
	}
	if err := f.Delete(t.Context(), "umbrella", "second"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another tenant's: %v", err)
	}
	if err := f.Delete(t.Context(), "acme", "second"); err != nil {
		t.Error(err)
	}
	if _, err := f.Get(t.Context(), "acme", "second"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("deleted: %v", err)
	}
}

func TestAWrongRequestMakesNoSchedule(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	unknown := errors.New("no such agent")
	f.cfg.Check = func(context.Context, string, *agentv1.SubmitTaskRequest) error { return unknown }
	if _, err := f.Create(t.Context(), "acme", "", request("a", "@daily")); !errors.Is(err, unknown) {
		t.Errorf("got %v", err)
	}
	_, err := f.Create(t.Context(), "acme", "", request("b", "@sometimes"))
	if wrong, ok := errors.AsType[*FieldError](err); !ok || wrong.Field != "cron" {
		t.Errorf("got %v", err)
	}
	if listed, _, err := f.List(t.Context(), "acme", "", store.Page{}); err != nil || len(listed) != 0 {
		t.Errorf("got %v, %v", listed, err)
	}
}
