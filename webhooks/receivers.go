package webhooks

import (
	"context"
	"sync"
	"time"
)

const (
	// perReceiver is how many tries to one host go on at once.
	perReceiver = 8
	// slowAfter is how long a try goes on before its host counts as slow.
	slowAfter = time.Second
)

// receivers keeps hosts from taking each other's place: each has so many tries
// at once, and the deliveries to one that is slow are put off.
type receivers struct {
	mu sync.Mutex
	// began is when the tries to a host that go on began, the oldest first.
	began map[string][]time.Time
	// left is signalled when one has ended.
	left chan struct{}
}

func newReceivers() *receivers {
	return &receivers{began: make(map[string][]time.Time), left: make(chan struct{}, 1)}
}

// enter waits until a host has room for a try that begins now. It returns false
// when the host is slow, and when ctx ends. Only one may wait at a time.
func (r *receivers) enter(ctx context.Context, host string) (began time.Time, ok bool) {
	for {
		now := time.Now()
		wait := r.admit(host, now)
		switch {
		case wait == 0:
			return now, true
		case wait < 0:
			return time.Time{}, false
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return time.Time{}, false
		case <-r.left:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// admit returns 0 when the try may begin, how long until the host counts as
// slow, or less than 0 when it is.
func (r *receivers) admit(host string, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	began := r.began[host]
	if len(began) < perReceiver {
		r.began[host] = append(began, now)
		return 0
	}
	if wait := slowAfter - now.Sub(began[0]); wait > 0 {
		return wait
	}
	return -1
}

// leave ends a try that began then.
func (r *receivers) leave(host string, then time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	began := r.began[host]
	for i, at := range began {
		if at.Equal(then) {
			r.began[host] = append(began[:i:i], began[i+1:]...)
			break
		}
	}
	if len(r.began[host]) == 0 {
		delete(r.began, host)
	}
	select {
	case r.left <- struct{}{}:
	default:
	}
}
