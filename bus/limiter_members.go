package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/runwire/runwire/interceptors"
)

const (
	limitsStream  = "RUNWIRE_LIMITS"
	limitsPrefix  = "runwire.limits."
	membersPrefix = limitsPrefix + "replica."

	// beatEvery is how often a replica tells the others that it lives.
	beatEvery = 2 * time.Second
	// memberFor is how long a replica counts after it was heard of.
	memberFor = 10 * time.Second
	// buriedFor is how long one that was not is remembered: longer than any run.
	buriedFor = 26 * time.Hour
	// returnsIn is when NATS is looked for again.
	returnsIn = 500 * time.Millisecond
)

// members are the replicas that were heard of, and when.
type members struct {
	now func() time.Time

	mu      sync.Mutex
	seen    map[string]time.Time
	present int // when they were last looked for
}

// alive says whether a replica's runs count. One that nobody has heard of yet
// may have just begun.
func (m *members) alive(replica string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	at, known := m.seen[replica]
	if !known {
		m.seen[replica] = now
		return true
	}
	return now.Sub(at) < memberFor
}

// heard takes the replicas that are there now; of a stream that was made anew
// some may not have found it yet.
func (m *members) heard(replicas []string, anew bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if len(replicas) > m.present || !anew {
		m.present = len(replicas)
	}
	for _, replica := range replicas {
		m.seen[replica] = now
	}
	for replica, at := range m.seen {
		if now.Sub(at) > buriedFor {
			delete(m.seen, replica)
		}
	}
}

// count is how many replicas there were when they were last looked for, at
// least 1: among how many the limits are to be shared out.
func (m *members) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return max(m.present, 1)
}

// Run tells the other replicas that this one lives, and looks for NATS when it
// is away, until ctx ends.
func (l *Limiter) Run(ctx context.Context) error {
	timer := time.NewTimer(beatEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			l.resign(context.WithoutCancel(ctx))
			return nil
		case <-l.wake:
			timer.Reset(returnsIn)
			continue
		case <-timer.C:
		}
		err := l.beat(ctx)
		switch {
		case ctx.Err() != nil:
		case err != nil:
			l.fall(ctx, err)
		default:
			l.rise(ctx)
		}
		l.sweep()
		timer.Reset(l.pause())
	}
}

func (l *Limiter) pause() time.Duration {
	if l.alone.Load() != nil {
		return returnsIn
	}
	return beatEvery
}

// fall goes on with this replica's share of the limits, and returns what counts it.
func (l *Limiter) fall(ctx context.Context, cause error) *interceptors.WindowLimiter {
	replicas := l.members.count()
	share := func(most int) int {
		if most <= 0 {
			return 0
		}
		return max(most/replicas, 1)
	}
	limits := l.cfg.Limits
	limits.PerUser.Requests = share(limits.PerUser.Requests)
	limits.Service.Requests = share(limits.Service.Requests)
	limits.ConcurrentRuns = 0 // counted by the accounts, which outlive the change
	alone := interceptors.NewWindowLimiter(limits)
	if !l.alone.CompareAndSwap(nil, alone) {
		return cmp.Or(l.alone.Load(), alone)
	}
	l.cfg.Log.WarnContext(ctx, "limits are no longer shared: each replica lets in its part",
		slog.Int("replicas", replicas), slog.Any("error", cause))
	signal(l.wake)
	return alone
}

// rise shares the limits again.
func (l *Limiter) rise(ctx context.Context) {
	if l.alone.Swap(nil) != nil {
		l.cfg.Log.InfoContext(ctx, "limits are shared again", slog.Int("replicas", l.members.count()))
	}
}

// acquireAlone lets in this replica's share.
func (l *Limiter) acquireAlone(
	ctx context.Context, alone *interceptors.WindowLimiter, a *account, user string,
) (func(), error) {
	if most := l.cfg.Limits.ConcurrentRuns; most > 0 {
		if most = max(most/l.members.count(), 1); a.runs() >= most {
			return nil, and(nil, "user:"+user, fmt.Sprintf("at most %d runs at once for a user", most), runEndsIn)
		}
	}
	release, err := alone.Acquire(ctx, a.subject, user)
	if err != nil {
		return nil, err
	}
	l.countAlone(a, 1)
	return func() {
		release()
		l.release(ctx, a)
	}, nil
}

// settle saves how many runs go on where that is not what the tallies say.
func (l *Limiter) settle(ctx context.Context) error {
	l.mu.Lock()
	var dirty []*account
	for _, a := range l.users {
		if a.isDirty() {
			a.refs++
			dirty = append(dirty, a)
		}
	}
	l.mu.Unlock()
	var failed error
	for _, a := range dirty {
		if failed == nil {
			failed = l.ofUser(ctx, a, func(d *draft) { d.written = true })
		}
		l.leave(a)
	}
	return failed
}

// sweep forgets users of whom there was nothing for a while; what counts
// against them is in the tallies.
func (l *Limiter) sweep() {
	now := l.cfg.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, a := range l.users {
		if a.refs == 0 && now.Sub(a.touched) > memberFor && !a.isDirty() {
			delete(l.users, id)
		}
	}
}

// beat makes the stream if it is missing, says that this replica lives, and
// learns of the others.
func (l *Limiter) beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, beatEvery)
	defer cancel()
	if l.ledger.js.Conn().Status() != nats.CONNECTED {
		return errAway
	}
	stream, err := l.ledger.js.Stream(ctx, limitsStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = l.create(ctx)
	}
	if err != nil {
		return fmt.Errorf("looking for the stream: %w", err)
	}
	anew := l.ledger.found(stream)
	if anew {
		l.lost()
	}
	if _, err = l.ledger.js.Publish(ctx, membersPrefix+l.ledger.self, nil, jetstream.WithMsgTTL(memberFor)); err != nil {
		return fmt.Errorf("telling the other replicas: %w", err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(membersPrefix+"*"))
	if err != nil {
		return fmt.Errorf("looking for the other replicas: %w", err)
	}
	var replicas []string
	for subject := range info.State.Subjects {
		replicas = append(replicas, strings.TrimPrefix(subject, membersPrefix))
	}
	l.members.heard(replicas, anew)
	return l.settle(ctx)
}

// lost says to all accounts that what was saved is gone.
func (l *Limiter) lost() {
	l.service.lost()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.users {
		a.lost()
	}
}

// create makes the stream, on three servers of a cluster that has them.
func (l *Limiter) create(ctx context.Context) (jetstream.Stream, error) {
	cfg := jetstream.StreamConfig{
		Name: limitsStream, Subjects: []string{limitsPrefix + ">"},
		Description: "what counts against limits", Storage: jetstream.MemoryStorage,
		MaxMsgsPerSubject: 1, Discard: jetstream.DiscardOld, MaxBytes: limitsBytes,
		AllowMsgTTL: true, AllowDirect: true, Replicas: 3,
	}
	stream, err := l.ledger.js.CreateStream(ctx, cfg)
	if failed, ok := errors.AsType[*jetstream.APIError](err); ok &&
		(failed.ErrorCode == codeNotClustered || failed.ErrorCode == codeNoPeers) {
		cfg.Replicas = 1
		stream, err = l.ledger.js.CreateStream(ctx, cfg)
	}
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another replica was first
		stream, err = l.ledger.js.Stream(ctx, limitsStream)
	}
	return stream, err //nolint:wrapcheck // beat says what was being done
}

// limitsBytes bounds what is kept: some 200,000 users with a run in their
// window. Of more, those whose last run is the longest ago are forgotten.
const limitsBytes = 64 << 20

// resign says that this replica is gone, if NATS is there to be told.
func (l *Limiter) resign(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if stream := l.ledger.handle(); stream != nil && l.alone.Load() == nil {
		_ = stream.Purge(ctx, jetstream.WithPurgeSubject(membersPrefix+l.ledger.self)) // else it is missed in ten seconds
	}
}
