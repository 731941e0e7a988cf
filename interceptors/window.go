package interceptors

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"
)

// Limits are how many runs may begin, and go on, in one process.
type Limits struct {
	// PerUser bounds what one user of one tenant begins.
	PerUser Window
	// Service bounds what all users begin together.
	Service Window
	// ConcurrentRuns bounds how many runs of one user go on at once; 0 is no limit.
	ConcurrentRuns int
}

// Window allows so many requests in any stretch of time of its length. It is no
// limit while either is 0.
type Window struct {
	// Requests is how many; 0 is no limit.
	Requests int
	// Length is the window's length.
	Length time.Duration
}

func (w Window) set() bool { return w.Requests > 0 && w.Length > 0 }

func (w Window) String() string { return fmt.Sprintf("at most %d runs in %v", w.Requests, w.Length) }

// runEndsIn is when a user with too many runs at once is told to come back.
// When a run ends cannot be known; a second is soon enough for people and
// seldom enough for the server.
const runEndsIn = time.Second

// WindowLimiter is a Limiter that remembers when runs began, so that its
// windows slide and a refused caller is told exactly when there is room. It
// holds 8 bytes a run that counts and a few hundred a user that has one; users
// are forgotten as others come, and never by a goroutine. It is safe for
// concurrent use.
type WindowLimiter struct {
	limits Limits
	start  time.Time

	mu      sync.Mutex
	service history
	users   map[userID]*list.Element // of *userRuns
	touched *list.List               // of *userRuns, the longest untouched first
}

type userID struct{ tenant, user string }

// userRuns is what counts against one user's limits.
type userRuns struct {
	id      userID
	begun   history
	running int
	touched time.Duration // when the last run began or ended
}

// NewWindowLimiter returns a limiter that has seen nothing yet.
func NewWindowLimiter(limits Limits) *WindowLimiter {
	return &WindowLimiter{
		limits:  limits,
		start:   time.Now(),
		users:   make(map[userID]*list.Element),
		touched: list.New(),
	}
}

// Acquire is as in Limiter; it never waits.
func (l *WindowLimiter) Acquire(_ context.Context, tenant, user string) (func(), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Since(l.start)
	l.forget(now)
	id := userID{tenant, user}
	if refused := l.refuse(id, now); refused != nil {
		return nil, refused
	}
	l.service.add(now, l.limits.Service)
	if !l.limits.PerUser.set() && l.limits.ConcurrentRuns <= 0 {
		return func() {}, nil
	}
	element := l.users[id]
	if element == nil {
		element = l.touched.PushBack(&userRuns{id: id})
		l.users[id] = element
	}
	runs := runsOf(element)
	runs.begun.add(now, l.limits.PerUser)
	runs.running++
	l.touch(element, now)
	return func() { l.release(element) }, nil
}

// refuse returns why a run may not begin, or nil. A user who is not known has
// nothing that counts, and is not remembered for asking.
func (l *WindowLimiter) refuse(id userID, now time.Duration) *LimitError {
	var refused *LimitError
	if element := l.users[id]; element != nil {
		runs := runsOf(element)
		if wait := runs.begun.wait(now, l.limits.PerUser); wait > 0 {
			refused = refused.and("user:"+id.user, l.limits.PerUser.String()+" for a user", wait)
		}
		if most := l.limits.ConcurrentRuns; most > 0 && runs.running >= most {
			refused = refused.and("user:"+id.user, fmt.Sprintf("at most %d runs at once for a user", most), runEndsIn)
		}
	}
	if wait := l.service.wait(now, l.limits.Service); wait > 0 {
		refused = refused.and("service", l.limits.Service.String()+" for all users", wait)
	}
	return refused
}

// and adds a limit to a refusal that may be none yet.
func (e *LimitError) and(subject, description string, wait time.Duration) *LimitError {
	if e == nil {
		e = &LimitError{}
	}
	e.RetryAfter = max(e.RetryAfter, wait)
	e.Exceeded = append(e.Exceeded, ExceededLimit{Subject: subject, Description: description})
	return e
}

func (l *WindowLimiter) release(element *list.Element) {
	l.mu.Lock()
	defer l.mu.Unlock()
	runsOf(element).running--
	l.touch(element, time.Since(l.start))
}

func (l *WindowLimiter) touch(element *list.Element, now time.Duration) {
	runsOf(element).touched = now
	l.touched.MoveToBack(element)
}

// forget drops users of whom nothing counts any more, two a call: more than
// one call can add, and few enough that no call pays for a flood.
func (l *WindowLimiter) forget(now time.Duration) {
	for range 2 {
		element := l.touched.Front()
		if element == nil {
			return
		}
		runs := runsOf(element)
		if now < runs.touched+l.limits.PerUser.Length {
			return
		}
		if runs.running > 0 {
			l.touch(element, now)
			continue
		}
		l.touched.Remove(element)
		delete(l.users, runs.id)
	}
}

func runsOf(element *list.Element) *userRuns {
	runs, _ := element.Value.(*userRuns)
	return runs
}

// history is when the runs that count in a window began, the oldest first.
type history struct{ began []time.Duration }

// wait returns how long it is until the window has room; 0 is that it has.
func (h *history) wait(now time.Duration, w Window) time.Duration {
	if !w.set() {
		return 0
	}
	past := 0
	for past < len(h.began) && h.began[past]+w.Length <= now {
		past++
	}
	h.began = h.began[past:]
	if len(h.began) < w.Requests {
		return 0
	}
	return h.began[len(h.began)-w.Requests] + w.Length - now
}

func (h *history) add(now time.Duration, w Window) {
	if w.set() {
		h.began = append(h.began, now)
	}
}
