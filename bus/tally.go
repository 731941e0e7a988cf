package bus

import (
	"maps"
	"slices"
	"time"

	"github.com/runwire/runwire/interceptors"
)

// tally is what counts against the limits of a user, or of the service: the
// one message of a subject, as JSON. Times are microseconds since 1970.
type tally struct {
	// Began is when the runs that count began, the oldest first.
	Began []begun `json:"b,omitempty"`
	// Running is how many go on, by replica.
	Running map[string]int `json:"r,omitempty"`
}

// begun are runs that count as if they all had begun when the last of them did.
type begun struct {
	At    int64 `json:"t"`
	Count int   `json:"n"`
}

// mostBegun bounds a history: a window of more runs is kept in as many parts
// of its length, and a part leaves the window as a whole. So a limit is never
// passed, and room may come by that part later.
const mostBegun = 128

func (t *tally) clone() tally {
	return tally{Began: slices.Clone(t.Began), Running: maps.Clone(t.Running)}
}

// forget drops what has left the window. What a replica with a clock ahead of
// this one has written counts from now.
func (t *tally) forget(now int64, w interceptors.Window) {
	length := micros(w.Length)
	t.Began = slices.DeleteFunc(t.Began, func(b begun) bool { return b.At+length <= now })
	for i := range t.Began {
		t.Began[i].At = min(t.Began[i].At, now)
	}
}

// wait returns how long it is until the window has room; 0 is that it has.
func (t *tally) wait(now int64, w interceptors.Window) time.Duration {
	if !limited(w) {
		return 0
	}
	count := 0
	for _, b := range slices.Backward(t.Began) {
		if count += b.Count; count >= w.Requests {
			return time.Duration(max(b.At+micros(w.Length)-now, 0)) * time.Microsecond
		}
	}
	return 0
}

// add counts a run that begins now.
func (t *tally) add(now int64, w interceptors.Window) {
	if !limited(w) {
		return
	}
	if last := len(t.Began) - 1; last >= 0 && w.Requests > mostBegun {
		if part := max(micros(w.Length)/mostBegun, 1); t.Began[last].At/part == now/part {
			t.Began[last].At = now
			t.Began[last].Count++
			return
		}
	}
	t.Began = append(t.Began, begun{At: now, Count: 1})
}

// undo takes back a run that was added at that time.
func (t *tally) undo(at int64) {
	i := slices.IndexFunc(t.Began, func(b begun) bool { return b.At >= at })
	if i < 0 {
		return
	}
	if t.Began[i].Count--; t.Began[i].Count == 0 {
		t.Began = slices.Delete(t.Began, i, i+1)
	}
}

// limited says whether a window is a limit.
func limited(w interceptors.Window) bool { return w.Requests > 0 && w.Length > 0 }

// micros is d in whole microseconds, rounded up.
func micros(d time.Duration) int64 { return int64((d + time.Microsecond - 1) / time.Microsecond) }
