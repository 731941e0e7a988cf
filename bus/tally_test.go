package bus

import (
	"testing"
	"time"

	"github.com/runwire/runwire/interceptors"
	"pgregory.net/rapid"
)

// A tally decides as one does who keeps every run that ever began; that of a
// large window may refuse longer, never shorter. Who waits as told gets in.
func TestTallyAgreesWithFullMemory(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		w := interceptors.Window{
			Requests: rapid.SampledFrom([]int{1, 2, 3, 10, 200}).Draw(r, "requests"),
			Length:   time.Duration(rapid.IntRange(1, 2000).Draw(r, "length")) * time.Microsecond,
		}
		var kept tally
		var began []int64
		now := int64(1_000_000)
		for range rapid.IntRange(1, 600).Draw(r, "calls") {
			now += int64(rapid.IntRange(0, 12).Draw(r, "pause"))
			kept.forget(now, w)
			wait := kept.wait(now, w)
			want := fullMemory(began, now, w)
			part := time.Duration(0)
			if w.Requests > mostBegun {
				part = w.Length/mostBegun + time.Microsecond
			}
			if wait < want || wait > want+part {
				r.Fatalf("waits %v, want %v", wait, want)
			}
			now += wait.Microseconds()
			kept.forget(now, w)
			if again := kept.wait(now, w); again != 0 {
				r.Fatalf("after %v it is %v more", wait, again)
			}
			kept.add(now, w)
			began = append(began, now)
			if len(kept.Began) > mostBegun+2 {
				r.Fatalf("%d entries are kept", len(kept.Began))
			}
			if rapid.IntRange(0, 9).Draw(r, "undo") == 0 {
				kept.undo(now)
				began = began[:len(began)-1]
			}
		}
	})
}

// fullMemory is how long it is until fewer than the window's runs lie in it.
func fullMemory(began []int64, now int64, w interceptors.Window) time.Duration {
	if len(began) < w.Requests {
		return 0
	}
	return time.Duration(max(began[len(began)-w.Requests]+w.Length.Microseconds()-now, 0)) * time.Microsecond
}

// A replica whose clock is ahead does not lock users out for longer than a window.
func TestAClockThatIsAheadCountsFromNow(t *testing.T) {
	t.Parallel()
	w := interceptors.Window{Requests: 1, Length: time.Minute}
	var kept tally
	kept.add(time.Hour.Microseconds(), w)
	kept.forget(0, w)
	if wait := kept.wait(0, w); wait != time.Minute {
		t.Errorf("waits %v", wait)
	}
}
