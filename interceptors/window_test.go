package interceptors

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// pass lets synctest's clock go on.
func pass(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // only ever in a bubble, where no time is lost.
}

// refusal returns why a user's run is refused now; a run that begins is over at once.
func refusal(t testing.TB, l *WindowLimiter, user string) *LimitError {
	t.Helper()
	release, err := l.Acquire(t.Context(), "acme", user)
	if err == nil {
		release()
		return nil
	}
	refused, ok := errors.AsType[*LimitError](err)
	if !ok {
		t.Fatal(err)
	}
	return refused
}

func wantBegin(t testing.TB, l *WindowLimiter, user string) {
	t.Helper()
	if refused := refusal(t, l, user); refused != nil {
		t.Errorf("%s is refused: %v", user, refused)
	}
}

func wantRefusal(t testing.TB, l *WindowLimiter, user string, retry time.Duration, subjects ...string) {
	t.Helper()
	refused := refusal(t, l, user)
	if refused == nil {
		t.Fatalf("%s is let in, want a refusal", user)
	}
	got := make([]string, len(refused.Exceeded))
	for i, limit := range refused.Exceeded {
		got[i] = limit.Subject
	}
	if refused.RetryAfter != retry || fmt.Sprint(got) != fmt.Sprint(subjects) {
		t.Errorf("%s is refused for %v by %v, want %v by %v", user, refused.RetryAfter, got, retry, subjects)
	}
}

// The window slides: each run makes room again exactly its length later.
func TestWindowSlides(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := NewWindowLimiter(Limits{PerUser: Window{Requests: 2, Length: time.Minute}})
		wantBegin(t, l, "alice")
		pass(40 * time.Second)
		wantBegin(t, l, "alice")
		wantRefusal(t, l, "alice", 20*time.Second, "user:alice")
		wantBegin(t, l, "bob")

		pass(20*time.Second - time.Nanosecond)
		wantRefusal(t, l, "alice", time.Nanosecond, "user:alice")
		pass(time.Nanosecond)
		wantBegin(t, l, "alice")
		wantRefusal(t, l, "alice", 40*time.Second, "user:alice")
	})
}

// A user of another tenant is another user.
func TestTenantsDoNotShareLimits(t *testing.T) {
	t.Parallel()
	l := NewWindowLimiter(Limits{PerUser: Window{Requests: 1, Length: time.Minute}})
	for _, tenant := range []string{"acme", "umbrella"} {
		if _, err := l.Acquire(t.Context(), tenant, "alice"); err != nil {
			t.Errorf("%s: %v", tenant, err)
		}
	}
}

// A caller in the way of both windows is told when both have room.
func TestRetryWhenBothWindowsHaveRoom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := NewWindowLimiter(Limits{
			PerUser: Window{Requests: 1, Length: time.Minute},
			Service: Window{Requests: 2, Length: 90 * time.Second},
		})
		wantBegin(t, l, "alice")
		pass(time.Second)
		wantBegin(t, l, "bob")
		wantRefusal(t, l, "alice", 89*time.Second, "user:alice", "service")
		wantRefusal(t, l, "carol", 89*time.Second, "service")
		pass(89 * time.Second)
		wantBegin(t, l, "alice")
	})
}

// A refused run counts nowhere: asking again and again costs nothing.
func TestRefusalDoesNotCount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := NewWindowLimiter(Limits{
			PerUser: Window{Requests: 1, Length: time.Minute},
			Service: Window{Requests: 2, Length: time.Minute},
		})
		wantBegin(t, l, "alice")
		for range 50 {
			wantRefusal(t, l, "alice", time.Minute, "user:alice")
		}
		wantBegin(t, l, "bob")
		pass(time.Minute)
		wantBegin(t, l, "alice")
	})
}

// Runs at once are counted until they end.
func TestConcurrentRuns(t *testing.T) {
	t.Parallel()
	l := NewWindowLimiter(Limits{ConcurrentRuns: 2})
	first, err := l.Acquire(t.Context(), "acme", "alice")
	if err != nil {
		t.Fatal(err)
	}
	if _, err = l.Acquire(t.Context(), "acme", "alice"); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, l, "alice", time.Second, "user:alice")
	wantBegin(t, l, "bob")
	first()
	wantBegin(t, l, "alice")
}

// Zeros are no limits, and remember nobody.
func TestNoLimits(t *testing.T) {
	t.Parallel()
	for _, limits := range []Limits{
		{},
		{PerUser: Window{Requests: 1}, Service: Window{Length: time.Second}},
		{PerUser: Window{Requests: -1, Length: time.Second}, ConcurrentRuns: -1},
	} {
		l := NewWindowLimiter(limits)
		for range 100 {
			wantBegin(t, l, "alice")
		}
		if len(l.users) != 0 || len(l.service.began) != 0 {
			t.Errorf("%+v: %d users are remembered", limits, len(l.users))
		}
	}
}

// A flood of invented users is forgotten once their windows are over; a user
// whose run goes on is not.
func TestUsersAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const flood = 10_000
		l := NewWindowLimiter(Limits{PerUser: Window{Requests: 1, Length: time.Minute}, ConcurrentRuns: 1})
		release, err := l.Acquire(t.Context(), "acme", "long-running")
		if err != nil {
			t.Fatal(err)
		}
		for i := range flood {
			wantBegin(t, l, fmt.Sprint("invented-", i))
		}
		for i := range flood { // one user a window, again and again
			pass(time.Minute)
			wantBegin(t, l, "alice")
			if limit := max(2, flood+2-i); len(l.users) > limit {
				t.Fatalf("%d users are remembered after %d calls", len(l.users), i+1)
			}
		}
		wantRefusal(t, l, "long-running", time.Second, "user:long-running")
		release()
		wantBegin(t, l, "long-running")
		if len(l.users) != 2 || l.touched.Len() != 2 {
			t.Errorf("%d users are remembered, want 2", len(l.users))
		}
	})
}

// However runs come, the limiter decides as one does who keeps every run that
// ever began, and whoever waits as told gets in.
func TestLimiterAgreesWithFullMemory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		window := func(name string) Window {
			return Window{
				Requests: rapid.IntRange(0, 4).Draw(r, name),
				Length:   time.Duration(rapid.IntRange(0, 20).Draw(r, name+" length")),
			}
		}
		limits := Limits{PerUser: window("per user"), Service: window("service")}
		calls := rapid.SliceOf(rapid.Custom(func(r *rapid.T) timedCall {
			return timedCall{
				pause: time.Duration(rapid.IntRange(0, 8).Draw(r, "pause")),
				user:  rapid.SampledFrom([]string{"a", "b", "c"}).Draw(r, "user"),
			}
		})).Draw(r, "calls")
		var err error
		synctest.Test(t, func(*testing.T) { err = compareWithFullMemory(limits, calls) })
		if err != nil {
			r.Fatal(err)
		}
	})
}

// timedCall is a user's call after a pause.
type timedCall struct {
	pause time.Duration
	user  string
}

// compareWithFullMemory returns where the limiter differs from one that forgets nothing.
func compareWithFullMemory(limits Limits, calls []timedCall) error {
	l := NewWindowLimiter(limits)
	began := map[string][]time.Time{} // by user, and "" for all
	for i, call := range calls {
		pass(call.pause)
		want := max(naiveWait(began[call.user], limits.PerUser), naiveWait(began[""], limits.Service))
		_, err := l.Acquire(context.Background(), "acme", call.user)
		if refused, ok := errors.AsType[*LimitError](err); ok {
			if refused.RetryAfter != want {
				return fmt.Errorf("call %d is told to wait %v, want %v", i, refused.RetryAfter, want)
			}
			pass(refused.RetryAfter)
			_, err = l.Acquire(context.Background(), "acme", call.user)
		} else if want != 0 {
			return fmt.Errorf("call %d is let in, want a wait of %v", i, want)
		}
		if err != nil {
			return fmt.Errorf("call %d is refused after waiting as told: %w", i, err)
		}
		began[call.user] = append(began[call.user], time.Now())
		began[""] = append(began[""], time.Now())
	}
	return nil
}

// naiveWait looks at every run that ever began.
func naiveWait(began []time.Time, w Window) time.Duration {
	for wait := time.Duration(0); ; wait++ {
		count := 0
		for _, at := range began {
			if time.Since(at)+wait < w.Length {
				count++
			}
		}
		if !w.set() || count < w.Requests {
			return wait
		}
	}
}

// Callers on many goroutines are let in exactly as often as is allowed.
func TestLimiterIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	l := NewWindowLimiter(Limits{
		PerUser: Window{Requests: 5, Length: time.Hour}, Service: Window{Requests: 1000, Length: time.Hour}, ConcurrentRuns: 100,
	})
	var mu sync.Mutex
	begun := map[string]int{}
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for i := range 200 {
				user := fmt.Sprint("user-", i%20)
				if release, err := l.Acquire(t.Context(), "acme", user); err == nil {
					release()
					mu.Lock()
					begun[user]++
					mu.Unlock()
				}
			}
		})
	}
	wait.Wait()
	for user, count := range begun {
		if count != 5 {
			t.Errorf("%s began %d runs, want 5", user, count)
		}
	}
	if len(begun) != 20 {
		t.Errorf("%d users began runs, want 20", len(begun))
	}
}
