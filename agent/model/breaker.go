package model

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// What a BreakerConfig's zero values stand for.
const (
	DefaultBreakerFailures = 3
	DefaultBreakerDelay    = 10 * time.Second
)

// mostBreakerDelay bounds how long a model is not asked, whatever its provider says.
const mostBreakerDelay = 5 * time.Minute

// BreakerConfig says when a model is left alone.
type BreakerConfig struct {
	// Failures is how many calls in a row must fail. 0 is DefaultBreakerFailures.
	Failures int
	// Delay is how long the model is not asked then, or as long as its provider
	// says if that is longer; twice as long with each time that it has failed
	// again, up to five minutes. 0 is DefaultBreakerDelay.
	Delay time.Duration
}

// WithBreaker keeps a model that is down from being asked, and waited for, by
// every call. After failures in a row of KindUnavailable, KindTimeout or
// KindRateLimited, calls fail at once with an *Error of KindUnavailable whose
// RetryAfter says when one call is let through to try. Its first token, or its
// reply, lets all others follow.
//
// Calls that are rejected, broken off or cancelled count neither as failures
// nor as the model's recovery.
func WithBreaker(m Model, cfg BreakerConfig) Model {
	if cfg.Failures <= 0 {
		cfg.Failures = DefaultBreakerFailures
	}
	if cfg.Delay <= 0 {
		cfg.Delay = DefaultBreakerDelay
	}
	return &breaker{Model: m, cfg: cfg}
}

// breaker is closed while openUntil is zero, open until then, and half open after.
type breaker struct {
	Model

	cfg BreakerConfig

	mu        sync.Mutex
	term      int // grows with each opening and closing
	failures  int // in a row, while closed
	openings  int // in a row
	openUntil time.Time
	probing   bool  // a call is out while half open
	last      error // what the failures were
}

// pass is one call that was let through.
type pass struct {
	term  int
	probe bool
}

// verdict is what a call says of the model.
type verdict int

const (
	neither verdict = iota
	alive
	down
)

func (b *breaker) Generate(ctx context.Context, req *Request, speak func(Delta)) (Reply, error) {
	call, err := b.admit()
	if err != nil {
		return Reply{}, err
	}
	said := neither
	defer func() { b.record(call, said, err) }() // so that a panic holds no place
	if call.probe {
		speak = b.listening(call, speak)
	}
	var reply Reply
	reply, err = b.Model.Generate(ctx, req, speak)
	said = judge(ctx, err)
	return reply, err
}

// listening closes the breaker at the first token, since a reply may take minutes.
func (b *breaker) listening(call pass, speak func(Delta)) func(Delta) {
	heard := false
	return func(d Delta) {
		if !heard {
			heard = true
			b.record(call, alive, nil)
		}
		speak(d)
	}
}

func judge(ctx context.Context, err error) verdict {
	failed, ok := errors.AsType[*Error](err)
	switch {
	case err == nil:
		return alive
	case !ok || ctx.Err() != nil:
		return neither
	case failed.Kind == KindUnavailable || failed.Kind == KindTimeout || failed.Kind == KindRateLimited:
		return down
	default:
		return neither
	}
}

// admit lets a call through, or says when to come back.
func (b *breaker) admit() (pass, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.openUntil.IsZero() {
		return pass{term: b.term}, nil
	}
	wait := time.Until(b.openUntil)
	if b.probing {
		wait = time.Second // its fate is near
	}
	if wait > 0 {
		return pass{}, &Error{
			Kind: KindUnavailable, Model: b.Name(), RetryAfter: wait,
			Err: fmt.Errorf("not asked, since it has failed in a row, the last time so: %w", b.last),
		}
	}
	b.probing = true
	return pass{term: b.term, probe: true}, nil
}

// record takes what a call says. Calls from before the breaker opened or
// closed say nothing any more.
func (b *breaker) record(call pass, said verdict, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if call.term != b.term {
		return
	}
	if call.probe {
		b.probing = false
	}
	switch {
	case said == alive && call.probe:
		b.term++
		b.failures, b.openings, b.openUntil = 0, 0, time.Time{}
	case said == alive:
		b.failures = 0
	case said == down && (call.probe || b.countsUp()):
		b.open(err)
	}
}

// countsUp counts a failure while closed, and says whether it was one too many.
func (b *breaker) countsUp() bool {
	b.failures++
	return b.failures >= b.cfg.Failures
}

func (b *breaker) open(err error) {
	delay := min(b.cfg.Delay<<min(b.openings, 10), mostBreakerDelay)
	if failed, ok := errors.AsType[*Error](err); ok {
		delay = max(delay, min(failed.RetryAfter, mostBreakerDelay))
		err = failed.Err
	}
	b.term++
	b.openings++
	b.openUntil, b.last = time.Now().Add(delay), err
}
