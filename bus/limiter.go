package bus

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/runwire/runwire/interceptors"
)

// LimiterConfig is what a Limiter is made of.
type LimiterConfig struct {
	// Limits are those of all replicas together.
	Limits interceptors.Limits
	// Log takes what operators must know; nil is none.
	Log *slog.Logger

	// For tests: time.Now and patience otherwise.
	now      func() time.Time
	patience time.Duration
}

// patience is how long callers wait for NATS: longer than it is slow when all
// is well, as a server is elected or its machine is busy. A connection that is
// lost they do not wait for.
const patience = 250 * time.Millisecond

// Limiter is an interceptors.Limiter that all replicas share. It keeps one
// message a user, and one for the service, in NATS's memory: when each run that
// counts began, and how many go on in which replica. A run is let in by
// replacing that message, which succeeds only for who has seen the last one. So
// windows slide exactly, and what is refused counts nowhere; the replicas'
// clocks must agree as far as the windows should be exact.
//
// Runs of a replica that has not been heard of for ten seconds go on no more.
//
// While NATS is away each replica lets in its share of the limits, by how many
// replicas there were, and at least one run a window; what was let in before
// is not counted then. Safe for concurrent use.
type Limiter struct {
	cfg     LimiterConfig
	ledger  *ledger
	service *account
	members members
	wake    chan struct{}

	// alone limits this replica while NATS is away; nil while it is there.
	alone atomic.Pointer[interceptors.WindowLimiter]

	mu    sync.Mutex
	users map[userID]*account
}

type userID struct{ tenant, user string }

var _ interceptors.Limiter = (*Limiter)(nil)

// OpenLimiter returns a limiter whose Run must run. If NATS is not there it
// begins with its share.
func OpenLimiter(ctx context.Context, js jetstream.JetStream, cfg LimiterConfig) *Limiter {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.now == nil {
		cfg.now = time.Now
	}
	l := &Limiter{
		cfg:     cfg,
		ledger:  &ledger{js: js, self: uuid.NewString(), patience: cmp.Or(cfg.patience, patience)},
		members: members{seen: make(map[string]time.Time), now: cfg.now},
		wake:    make(chan struct{}, 1),
		users:   make(map[userID]*account),
	}
	l.service = l.newAccount(limitsPrefix + "service")
	if err := l.beat(ctx); err != nil {
		l.fall(ctx, err)
	}
	return l
}

func (l *Limiter) newAccount(subject string) *account {
	return &account{subject: subject, ledger: l.ledger, ttl: l.ttl}
}

// ttl is how long a tally must be kept: until its runs have left the window,
// and a day, the longest that a run may take, while runs go on.
func (l *Limiter) ttl(t tally) time.Duration {
	const margin, longestRun = time.Second, 25 * time.Hour
	if len(t.Running) > 0 {
		return longestRun
	}
	return max(l.cfg.Limits.PerUser.Length, l.cfg.Limits.Service.Length).Truncate(time.Second) + 2*margin
}

// Acquire is as in interceptors.Limiter; it waits 250 ms at most for an answer
// of NATS.
func (l *Limiter) Acquire(ctx context.Context, tenant, user string) (func(), error) {
	a := l.account(userID{tenant, user})
	release, err := l.acquire(ctx, a, user)
	if err != nil {
		l.leave(a)
		return nil, err
	}
	return func() {
		release()
		l.leave(a)
	}, nil
}

func (l *Limiter) acquire(ctx context.Context, a *account, user string) (func(), error) {
	alone := l.alone.Load()
	if alone == nil {
		release, err := l.acquireShared(ctx, a, user)
		if !errors.Is(err, errAway) {
			return release, err
		}
		alone = l.fall(ctx, err)
	}
	return l.acquireAlone(ctx, alone, a, user)
}

// acquireShared asks what all replicas have counted.
func (l *Limiter) acquireShared(ctx context.Context, a *account, user string) (func(), error) {
	limits := l.cfg.Limits
	if l.service.wait(l.now(), limits.Service) > 0 { // nothing is ever taken back from it
		return nil, l.refuse(ctx, a, user)
	}
	var at int64
	refused := false
	if err := l.ofUser(ctx, a, func(d *draft) {
		at = l.now()
		if refused = l.refusal(d, at, user) != nil; refused {
			d.refused = true
			return
		}
		d.add(at, limits.PerUser)
		l.count(d, 1)
		d.written = true
	}); err != nil {
		return nil, err
	}
	if refused {
		return nil, l.refuse(ctx, a, user)
	}
	err := l.ofService(ctx, func(d *draft) {
		now := l.now()
		d.forget(now, limits.Service)
		if refused = d.wait(now, limits.Service) > 0; refused {
			d.refused = true
			return
		}
		d.add(now, limits.Service)
		d.written = true
	})
	if err == nil && !refused {
		return func() { l.release(ctx, a) }, nil
	}
	if err == nil {
		err = l.ofUser(ctx, a, func(d *draft) {
			d.undo(at)
			l.count(d, -1)
			d.written = true
		})
	}
	if err != nil {
		l.countAlone(a, -1)
		return nil, err
	}
	return nil, l.refuse(ctx, a, user)
}

// refuse is the *interceptors.LimitError with all limits that are in the way
// now: one in the way of two is told when both have room.
func (l *Limiter) refuse(ctx context.Context, a *account, user string) error {
	var ofUser *interceptors.LimitError
	if err := l.ofUser(ctx, a, func(d *draft) {
		ofUser, d.refused = l.refusal(d, l.now(), user), true
	}); err != nil {
		return err
	}
	window, wait := l.cfg.Limits.Service, time.Duration(0)
	if err := l.ofService(ctx, func(d *draft) {
		now := l.now()
		d.forget(now, window)
		wait, d.refused = d.wait(now, window), true
	}); err != nil {
		return err
	}
	if wait == 0 && ofUser != nil {
		return ofUser
	}
	// Where there is room by now, coming back at once is right.
	return and(ofUser, "service", window.String()+" for all users", max(wait, time.Microsecond))
}

// refusal is why a user may not begin a run now; nil if he may.
func (l *Limiter) refusal(d *draft, now int64, user string) (refused *interceptors.LimitError) {
	limits := l.cfg.Limits
	d.forget(now, limits.PerUser)
	if wait := d.wait(now, limits.PerUser); wait > 0 {
		refused = and(refused, "user:"+user, limits.PerUser.String()+" for a user", wait)
	}
	running := d.running
	for replica, runs := range d.Running {
		switch {
		case replica == l.ledger.self:
		case l.members.alive(replica):
			running += runs
		default:
			delete(d.Running, replica)
		}
	}
	if most := limits.ConcurrentRuns; most > 0 && running >= most {
		refused = and(refused, "user:"+user, fmt.Sprintf("at most %d runs at once for a user", most), runEndsIn)
	}
	return refused
}

// runEndsIn is when a user with too many runs at once is told to come back:
// when one ends cannot be known.
const runEndsIn = time.Second

// and adds a limit to a refusal that may be none yet.
func and(refused *interceptors.LimitError, subject, description string, wait time.Duration) *interceptors.LimitError {
	if refused == nil {
		refused = &interceptors.LimitError{}
	}
	refused.RetryAfter = max(refused.RetryAfter, wait)
	refused.Exceeded = append(refused.Exceeded, interceptors.ExceededLimit{Subject: subject, Description: description})
	return refused
}

// ofUser changes a user's account, if users have limits.
func (l *Limiter) ofUser(ctx context.Context, a *account, apply func(*draft)) error {
	if !limited(l.cfg.Limits.PerUser) && l.cfg.Limits.ConcurrentRuns <= 0 {
		return nil
	}
	return a.do(ctx, apply)
}

func (l *Limiter) ofService(ctx context.Context, apply func(*draft)) error {
	if !limited(l.cfg.Limits.Service) {
		return nil
	}
	return l.service.do(ctx, apply)
}

// release ends a run; what can not be saved now is saved later.
func (l *Limiter) release(ctx context.Context, a *account) {
	if l.cfg.Limits.ConcurrentRuns <= 0 {
		return
	}
	if l.alone.Load() != nil {
		l.countAlone(a, -1)
		return
	}
	err := a.do(ctx, func(d *draft) {
		l.count(d, -1)
		d.written = true
	})
	if err != nil {
		l.countAlone(a, -1)
		l.fall(ctx, err)
	}
}

// count counts a run that begins or ends, if that is a limit.
func (l *Limiter) count(d *draft, change int) {
	if l.cfg.Limits.ConcurrentRuns > 0 {
		d.running += change
	}
}

// countAlone counts a run while nothing can be saved.
func (l *Limiter) countAlone(a *account, change int) {
	if l.cfg.Limits.ConcurrentRuns > 0 {
		a.run(change)
	}
}

// account returns a user's account, until leave.
func (l *Limiter) account(id userID) *account {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.users[id]
	if a == nil {
		sum := sha256.Sum256([]byte(id.tenant + "\x00" + id.user))
		a = l.newAccount(limitsPrefix + "user." + base64.RawURLEncoding.EncodeToString(sum[:18]))
		l.users[id] = a
	}
	a.refs++
	return a
}

func (l *Limiter) leave(a *account) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.refs--
	a.touched = l.cfg.now()
}

func (l *Limiter) now() int64 { return l.cfg.now().UnixMicro() }
