package bus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/runwire/runwire/interceptors"
)

func TestReplicasShareAUsersWindow(t *testing.T) {
	t.Parallel()
	r := newReplicas(t, 4, interceptors.Limits{PerUser: perMinute(10)})
	if begun := r.flood(40, func(int) string { return "alice" }); begun != 10 {
		t.Errorf("%d runs began, want 10", begun)
	}
	r.want(1, "bob", 0)
	r.pass(20 * time.Second)
	r.want(2, "alice", 40*time.Second, "user:alice")
	r.pass(40*time.Second - time.Microsecond)
	r.want(3, "alice", time.Microsecond, "user:alice")
	r.pass(time.Microsecond)
	if begun := r.flood(10, func(int) string { return "alice" }); begun != 10 {
		t.Errorf("%d runs began in the next window, want 10", begun)
	}
	if said := r.log.count("\n"); said != 0 {
		t.Errorf("the log has %d lines", said)
	}
}

// The window slides: at no time do more than ten lie in a minute.
func TestTheSharedWindowHasNoSeam(t *testing.T) {
	t.Parallel()
	r := newReplicas(t, 2, interceptors.Limits{PerUser: perMinute(10)})
	for i := range 10 {
		r.want(i%2, "alice", 0)
		r.pass(5900 * time.Millisecond)
	}
	r.want(0, "alice", time.Second, "user:alice")
	r.pass(time.Second)
	r.want(1, "alice", 0)
	r.want(0, "alice", 5900*time.Millisecond, "user:alice")
}

func TestReplicasShareTheServicesWindow(t *testing.T) {
	t.Parallel()
	r := newReplicas(t, 4, interceptors.Limits{
		PerUser: perMinute(2), Service: interceptors.Window{Requests: 20, Length: 90 * time.Second},
	})
	if begun := r.flood(30, func(i int) string { return fmt.Sprint("user-", i%15) }); begun != 20 {
		t.Errorf("%d runs began, want 20", begun)
	}
	for replica := range r.limiters {
		r.want(replica, "newcomer", 90*time.Second, "service")
	}
	r.pass(90 * time.Second)
	// What was refused counts nowhere.
	r.want(0, "newcomer", 0)
	r.want(1, "newcomer", 0)
	r.want(2, "newcomer", time.Minute, "user:newcomer")
}

// A caller in the way of both windows is told when both have room.
func TestRetryWhenBothSharedWindowsHaveRoom(t *testing.T) {
	t.Parallel()
	r := newReplicas(t, 2, interceptors.Limits{
		PerUser: perMinute(1), Service: interceptors.Window{Requests: 2, Length: 90 * time.Second},
	})
	r.want(0, "alice", 0)
	r.pass(time.Second)
	r.want(1, "bob", 0)
	r.want(0, "alice", 89*time.Second, "user:alice", "service")
	r.pass(60 * time.Second)
	r.want(1, "bob", 29*time.Second, "service")
	r.pass(29 * time.Second)
	r.want(0, "alice", 0)
}

func TestReplicasShareRunsAtOnce(t *testing.T) {
	t.Parallel()
	r := newReplicas(t, 3, interceptors.Limits{ConcurrentRuns: 2})
	var releases []func()
	for _, l := range r.limiters[:2] {
		release, err := l.Acquire(t.Context(), "acme", "alice")
		if err != nil {
			t.Fatal(err)
		}
		releases = append(releases, release)
	}
	for replica := range r.limiters {
		r.want(replica, "alice", time.Second, "user:alice")
	}
	releases[0]()
	for replica := range r.limiters {
		r.want(replica, "alice", 0)
	}
	releases[1]()
	if begun := r.flood(8, func(i int) string { return fmt.Sprint("user-", i) }); begun < 16 {
		t.Errorf("%d runs began, want 16 at least", begun)
	}
}

// Of many who ask at once no more than are allowed go on at once.
func TestRunsAtOnceAreNeverTooMany(t *testing.T) {
	t.Parallel()
	r := newReplicas(t, 3, interceptors.Limits{ConcurrentRuns: 5})
	var all sync.WaitGroup
	var running, most, begun atomic.Int64
	for i := range 60 {
		all.Go(func() {
			for range 10 {
				release, err := r.limiters[i%3].Acquire(t.Context(), "acme", "alice")
				if err != nil {
					continue
				}
				now := running.Add(1)
				for seen := most.Load(); now > seen && !most.CompareAndSwap(seen, now); seen = most.Load() {
				}
				begun.Add(1)
				running.Add(-1)
				release()
			}
		})
	}
	all.Wait()
	if most.Load() > 5 || begun.Load() < 5 {
		t.Errorf("%d runs went on at once of %d", most.Load(), begun.Load())
	}
	for range 5 {
		if _, err := r.limiters[0].Acquire(t.Context(), "acme", "alice"); err != nil {
			t.Fatal(err)
		}
	}
	r.want(1, "alice", time.Second, "user:alice")
}

// The runs of a replica that is killed do not count for ever.
func TestRunsOfADeadReplicaDoNotCount(t *testing.T) {
	t.Parallel()
	r := newReplicas(t, 2, interceptors.Limits{ConcurrentRuns: 1})
	if _, err := r.limiters[1].Acquire(t.Context(), "acme", "alice"); err != nil {
		t.Fatal(err)
	}
	dead := r.limiters[1].ledger
	r.limiters = r.limiters[:1]
	r.want(0, "alice", time.Second, "user:alice")
	last, err := dead.handle().GetLastMsgForSubject(t.Context(), membersPrefix+dead.self)
	if err != nil || last.Header.Get(jetstream.MsgTTLHeader) != memberFor.String() {
		t.Fatalf("the replica's sign of life: %v, %v", last, err)
	}
	// What NATS does by itself once the sign's time is over.
	if err := dead.handle().Purge(t.Context(), jetstream.WithPurgeSubject(membersPrefix+dead.self)); err != nil {
		t.Fatal(err)
	}
	r.pass(memberFor - time.Microsecond)
	r.beat()
	r.want(0, "alice", time.Second, "user:alice")
	r.pass(time.Microsecond)
	r.beat()
	r.want(0, "alice", 0)
}

// Without NATS each replica lets in its share; when NATS is back they share
// again, and runs that go on count.
func TestNATSGoesAndComesBack(t *testing.T) {
	t.Parallel()
	r := newReplicas(t, 4, interceptors.Limits{PerUser: perMinute(10), ConcurrentRuns: 8})
	if begun := r.flood(1, func(int) string { return "alice" }); begun != 4 {
		t.Fatalf("%d runs began, want 4", begun)
	}
	held, err := r.limiters[0].Acquire(t.Context(), "acme", "bob")
	if err != nil {
		t.Fatal(err)
	}
	r.have(patience)
	r.nats.stop()
	if begun := r.flood(10, func(int) string { return "carol" }); begun != 4*2 {
		t.Errorf("%d runs began without NATS, want 2 a replica", begun)
	}
	for range 3 {
		r.flood(2, func(int) string { return "carol" })
	}
	if said := r.log.count("no longer shared"); said != 4 {
		t.Errorf("the log says it %d times, want once a replica", said)
	}
	// Bob's run goes on; one more is his share here.
	second, err := r.limiters[0].Acquire(t.Context(), "acme", "bob")
	if err != nil {
		t.Fatal(err)
	}
	r.want(0, "bob", time.Second, "user:bob")

	r.nats.start()
	r.have(time.Minute)
	for _, back := range r.back {
		<-back
	}
	r.beat()
	if said := r.log.count("shared again"); said != 4 {
		t.Errorf("the log says it %d times, want once a replica", said)
	}
	if begun := r.flood(20, func(int) string { return "dave" }); begun > 10 || begun < 8 {
		t.Errorf("%d runs began when it was back, want 10 less those in the way of each other", begun)
	}
	// The stream was lost, and what runs was told anew.
	for range 6 {
		if _, err := r.limiters[1].Acquire(t.Context(), "acme", "bob"); err != nil {
			t.Fatal(err)
		}
	}
	r.want(2, "bob", time.Second, "user:bob")
	held()
	second()
	r.want(2, "bob", 0)
}

// A replica that has left has no share any more.
func TestWhoHasLeftHasNoShare(t *testing.T) {
	t.Parallel()
	r := newReplicas(t, 3, interceptors.Limits{PerUser: perMinute(10)})
	r.limiters[2].resign(t.Context())
	r.limiters = r.limiters[:2]
	r.beat()
	r.have(patience)
	r.nats.stop()
	if begun := r.flood(10, func(int) string { return "alice" }); begun != 2*5 {
		t.Errorf("%d runs began without NATS, want 5 a replica", begun)
	}
}

// silent is a stream that does not answer the first question.
type silent struct {
	jetstream.Stream

	asked chan struct{}
	once  sync.Once
}

func (s *silent) GetLastMsgForSubject(ctx context.Context, subject string) (msg *jetstream.RawStreamMsg, err error) {
	s.once.Do(func() {
		close(s.asked)
		<-ctx.Done()
		err = ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	return s.Stream.GetLastMsgForSubject(ctx, subject)
}

// Who comes while another waits in vain does not wait anew.
func TestAllWaitForASilentNATSOnce(t *testing.T) {
	t.Parallel()
	r := newReplicas(t, 1, interceptors.Limits{PerUser: perMinute(10)})
	l := r.limiters[0].ledger
	asked := make(chan struct{})
	l.stream, l.patience = &silent{Stream: l.stream, asked: asked}, 2*time.Second
	a := r.limiters[0].newAccount(limitsPrefix + "user.alice")
	errs := make(chan error, 2)
	look := func() { errs <- a.do(t.Context(), func(*draft) {}) }
	go look()
	<-asked
	go look()
	for range 2 {
		if err := <-errs; !errors.Is(err, errAway) {
			t.Errorf("got %v", err)
		}
	}
}

func TestRunLooksForNATS(t *testing.T) {
	t.Parallel()
	r := newReplicas(t, 1, interceptors.Limits{PerUser: perMinute(1)})
	r.have(patience)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.limiters[0].Run(ctx) }()
	r.nats.stop()
	r.want(0, "alice", 0)
	r.nats.start()
	<-r.back[0]
	for r.log.count("shared again") == 0 {
		<-r.log.wrote
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	js, _ := r.nats.connect()
	stream, err := js.Stream(t.Context(), limitsStream)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.GetLastMsgForSubject(t.Context(), membersPrefix+r.limiters[0].ledger.self); !errors.Is(err, jetstream.ErrMsgNotFound) {
		t.Errorf("the replica that has left is still there: %v", err)
	}
}

// Nothing grows: a message a user, gone when the window is over, and no
// account of who has not called for a while.
func TestNothingIsKeptForEver(t *testing.T) {
	t.Parallel()
	r := newReplicas(t, 1, interceptors.Limits{PerUser: perMinute(2), Service: perMinute(1000), ConcurrentRuns: 1})
	for i := range 200 {
		r.want(0, fmt.Sprint("user-", i%50), retryOf(i >= 100), "user:"+fmt.Sprint("user-", i%50))
	}
	stream := r.limiters[0].ledger.handle()
	info, err := stream.Info(t.Context())
	if err != nil || info.State.Msgs != 50+2 {
		t.Fatalf("%d messages, %v, want one a user, one for the service and one for the replica", info.State.Msgs, err)
	}
	for sequence := info.State.FirstSeq; sequence <= info.State.LastSeq; sequence++ {
		kept, err := stream.GetMsg(t.Context(), sequence)
		if err != nil {
			continue // replaced
		}
		if ttl, err := time.ParseDuration(kept.Header.Get(jetstream.MsgTTLHeader)); err != nil || ttl > 63*time.Second {
			t.Errorf("%s is kept for %v, %v", kept.Subject, ttl, err)
		}
	}
	release, err := r.limiters[0].Acquire(t.Context(), "acme", "long-running")
	if err != nil {
		t.Fatal(err)
	}
	r.pass(memberFor + time.Second)
	r.limiters[0].sweep()
	if left := len(r.limiters[0].users); left != 1 {
		t.Errorf("%d accounts are left, want the one whose run goes on", left)
	}
	release()
	r.pass(memberFor + time.Second)
	r.limiters[0].sweep()
	if left := len(r.limiters[0].users); left != 0 {
		t.Errorf("%d accounts are left", left)
	}
}

func retryOf(refused bool) time.Duration {
	if refused {
		return time.Minute
	}
	return 0
}

func TestNoSharedLimits(t *testing.T) {
	t.Parallel()
	r := newReplicas(t, 2, interceptors.Limits{})
	if begun := r.flood(50, func(int) string { return "alice" }); begun != 100 {
		t.Errorf("%d runs began, want 100", begun)
	}
	if info, err := r.limiters[0].ledger.handle().Info(t.Context()); err != nil || info.State.Msgs != 2 {
		t.Errorf("%d messages are kept, %v", info.State.Msgs, err)
	}
}

func BenchmarkLimiter(b *testing.B) {
	for name, limits := range map[string]interceptors.Limits{
		"user":    {PerUser: perMinute(10)},
		"all":     {PerUser: perMinute(10), Service: perMinute(1_000_000), ConcurrentRuns: 4},
		"refused": {PerUser: perMinute(-1), Service: perMinute(1)},
	} {
		b.Run(name, func(b *testing.B) {
			r := newReplicas(b, 2, limits)
			i := 0
			for b.Loop() {
				i++
				if release, err := r.limiters[i%2].Acquire(b.Context(), "acme", fmt.Sprint("user-", i/8)); err == nil {
					release()
				}
			}
		})
	}
}
