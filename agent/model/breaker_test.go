package model

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// scripted answers each call as its script says.
type scripted struct {
	Model

	asked  int
	answer func(ctx context.Context, speak func(Delta)) error
}

func (s *scripted) Name() string { return "p/m" }

func (s *scripted) Generate(ctx context.Context, _ *Request, speak func(Delta)) (Reply, error) {
	s.asked++
	return Reply{Usage: Usage{InputTokens: 1}}, s.answer(ctx, speak)
}

// fail makes every call fail so from now on.
func (s *scripted) fail(kind ErrorKind, retryAfter time.Duration) {
	s.answer = func(context.Context, func(Delta)) error {
		return &Error{Kind: kind, Model: "p/m", RetryAfter: retryAfter, Err: errors.New("no luck")}
	}
}

func (s *scripted) work() { s.answer = func(context.Context, func(Delta)) error { return nil } }

func ask(ctx context.Context, m Model) error {
	_, err := m.Generate(ctx, hello(), func(Delta) {})
	return err
}

// refused says whether err is of the breaker itself, and when to come back.
func refused(err error) (time.Duration, bool) {
	failed, ok := errors.AsType[*Error](err)
	if !ok || failed.Kind != KindUnavailable || !strings.Contains(err.Error(), "not asked") {
		return 0, false
	}
	return failed.RetryAfter, true
}

func TestBreakerOpensAfterFailuresInARow(t *testing.T) {
	t.Parallel()
	for _, kind := range []ErrorKind{KindUnavailable, KindTimeout, KindRateLimited} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				inner := &scripted{}
				m := WithBreaker(inner, BreakerConfig{Failures: 3, Delay: 10 * time.Second})
				inner.fail(kind, 0)
				for range 2 {
					if err := ask(t.Context(), m); kindOf(err) != kind {
						t.Fatalf("error %v", err)
					}
				}
				inner.work() // which breaks the row
				if err := ask(t.Context(), m); err != nil {
					t.Fatal(err)
				}
				inner.fail(kind, 0)
				for range 3 {
					_ = ask(t.Context(), m)
				}
				_ = sleep(t.Context(), 4*time.Second)
				err := ask(t.Context(), m)
				if wait, ok := refused(err); !ok || wait != 6*time.Second || inner.asked != 6 {
					t.Errorf("asked %d times, error %v, come back after %v", inner.asked, err, wait)
				}
				if !strings.Contains(err.Error(), "no luck") {
					t.Errorf("%v does not say why", err)
				}
			})
		})
	}
}

func TestBreakerCountsNeitherRejectionsNorBrokenNorCancelledCalls(t *testing.T) {
	t.Parallel()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range map[string]func(m Model, inner *scripted) error{
		"rejected": func(m Model, inner *scripted) error { inner.fail(KindRejected, 0); return ask(t.Context(), m) },
		"broken":   func(m Model, inner *scripted) error { inner.fail(KindBroken, 0); return ask(t.Context(), m) },
		"cancelled": func(m Model, inner *scripted) error {
			inner.answer = func(ctx context.Context, _ func(Delta)) error { return ctx.Err() }
			return ask(gone, m)
		},
		"failed after it was cancelled": func(m Model, inner *scripted) error {
			inner.fail(KindUnavailable, 0)
			return ask(gone, m)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inner := &scripted{}
			m := WithBreaker(inner, BreakerConfig{Failures: 2})
			for range 5 {
				if err := call(m, inner); err == nil {
					t.Fatal("no error")
				} else if _, ok := refused(err); ok {
					t.Fatalf("the breaker opened: %v", err)
				}
			}
			inner.fail(KindUnavailable, 0) // and they do not break a row
			_ = ask(t.Context(), m)
			_ = call(m, inner)
			inner.fail(KindUnavailable, 0)
			_ = ask(t.Context(), m)
			if _, ok := refused(ask(t.Context(), m)); !ok {
				t.Error("two failures did not open the breaker")
			}
		})
	}
}

func TestBreakerLetsOneCallTry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := &scripted{}
		m := WithBreaker(inner, BreakerConfig{Failures: 1, Delay: 10 * time.Second})
		inner.fail(KindUnavailable, 0)
		_ = ask(t.Context(), m)
		_ = sleep(t.Context(), 10*time.Second)

		said, done := make(chan struct{}), make(chan error)
		inner.answer = func(_ context.Context, speak func(Delta)) error {
			<-said
			speak(Delta{Text: "hi"})
			<-said
			return &Error{Kind: KindTimeout, Err: errors.New("fell silent")}
		}
		go func() { done <- ask(t.Context(), m) }()
		synctest.Wait()
		if wait, ok := refused(ask(t.Context(), m)); !ok || wait != time.Second {
			t.Errorf("a second call beside the trial: %v, %v", wait, ok)
		}
		said <- struct{}{}
		synctest.Wait()
		inner.work() // the trial has spoken: all others follow
		if err := ask(t.Context(), m); err != nil {
			t.Error(err)
		}
		said <- struct{}{}
		if err := <-done; kindOf(err) != KindTimeout {
			t.Error(err)
		}
		if err := ask(t.Context(), m); err != nil { // what became of the trial is old news
			t.Error(err)
		}
	})
}

func TestBreakerWaitsLongerEachTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := &scripted{}
		m := WithBreaker(inner, BreakerConfig{Failures: 1, Delay: time.Minute})
		inner.fail(KindUnavailable, 0)
		next := func() time.Duration {
			if err := ask(t.Context(), m); kindOf(err) != KindUnavailable {
				t.Fatal(err)
			}
			wait, ok := refused(ask(t.Context(), m))
			if !ok {
				t.Fatal("closed")
			}
			_ = sleep(t.Context(), wait)
			return wait
		}
		for _, want := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 5 * time.Minute, 5 * time.Minute} {
			if wait := next(); wait != want {
				t.Errorf("waits %v, want %v", wait, want)
			}
		}
		inner.work()
		if err := ask(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		inner.fail(KindUnavailable, 0)
		if wait := next(); wait != time.Minute {
			t.Errorf("waits %v after it had recovered", wait)
		}
	})
}

func TestBreakerHeedsTheProvider(t *testing.T) {
	t.Parallel()
	for said, want := range map[time.Duration]time.Duration{
		0: 10 * time.Second, 3 * time.Second: 10 * time.Second, 90 * time.Second: 90 * time.Second, time.Hour: mostBreakerDelay,
	} {
		inner := &scripted{}
		m := WithBreaker(inner, BreakerConfig{Failures: 1})
		inner.fail(KindRateLimited, said)
		_ = ask(t.Context(), m)
		if wait, _ := refused(ask(t.Context(), m)); wait > want || wait < want-time.Second {
			t.Errorf("told %v, it waits %v", said, wait)
		}
	}
}

// A trial that says nothing of the model leaves the place to the next call,
// also if it panics.
func TestBreakerTrialThatSaysNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := &scripted{}
		m := WithBreaker(inner, BreakerConfig{Failures: 1, Delay: time.Second})
		inner.fail(KindUnavailable, 0)
		_ = ask(t.Context(), m)
		_ = sleep(t.Context(), time.Second)
		inner.fail(KindRejected, 0)
		if err := ask(t.Context(), m); kindOf(err) != KindRejected {
			t.Fatal(err)
		}
		inner.answer = func(context.Context, func(Delta)) error { return *(*error)(nil) }
		func() {
			defer func() { _ = recover() }()
			_ = ask(t.Context(), m)
			t.Error("no panic")
		}()
		inner.work()
		if err := ask(t.Context(), m); err != nil {
			t.Error(err)
		}
		if err := ask(t.Context(), m); err != nil {
			t.Error(err)
		}
	})
}

// A call that began before the breaker opened says nothing of how it is now.
func TestBreakerIgnoresOldNews(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := &scripted{}
		m := WithBreaker(inner, BreakerConfig{Failures: 1})
		end, done := make(chan struct{}), make(chan error)
		inner.answer = func(context.Context, func(Delta)) error { <-end; return nil }
		go func() { done <- ask(t.Context(), m) }()
		synctest.Wait()
		inner.fail(KindUnavailable, 0)
		_ = ask(t.Context(), m)
		close(end)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if _, ok := refused(ask(t.Context(), m)); !ok {
			t.Error("an old reply closed the breaker")
		}
	})
}

func TestBreakerPassesTheRestThrough(t *testing.T) {
	t.Parallel()
	inner := newTestOpenAI(t, (&wire{}).client())
	m := WithBreaker(inner, BreakerConfig{})
	if m.Name() != inner.Name() || m.InputTokens(hello()) != inner.InputTokens(hello()) {
		t.Errorf("name %q, %d tokens", m.Name(), m.InputTokens(hello()))
	}
	s := &scripted{}
	s.fail(KindUnavailable, 0)
	reply, err := WithBreaker(s, BreakerConfig{}).Generate(t.Context(), hello(), func(Delta) {})
	if err == nil || reply.Usage.InputTokens != 1 {
		t.Errorf("reply %+v, error %v", reply, err)
	}
}
