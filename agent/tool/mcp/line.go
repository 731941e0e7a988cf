package mcp

import (
	"context"
	"sync"
	"time"
)

// line is where calls find the session of the moment.
type line struct {
	mu      sync.Mutex
	session *session      // nil while there is none
	isDown  bool          // no use in waiting
	changed chan struct{} // closed when there is one, or no use in waiting
}

func (l *line) up(x *session) { l.set(x, false) }

// down says that there is no use in waiting, and returns whether that is news.
func (l *line) down() bool { return !l.set(nil, true) }

// lost says that x is over, and that another may follow.
func (l *line) lost(x *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.session == x {
		l.session = nil
	}
}

// set returns whether it was down.
func (l *line) set(x *session, down bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	was := l.isDown
	l.session, l.isDown = x, down
	close(l.changed)
	l.changed = make(chan struct{})
	return was
}

// wait returns the session, for which it waits a moment if it has just been
// lost; nil if there is none, or ctx is done.
func (l *line) wait(ctx context.Context) *session {
	limit := time.NewTimer(comesBackWithin)
	defer limit.Stop()
	for {
		l.mu.Lock()
		x, down, changed := l.session, l.isDown, l.changed
		l.mu.Unlock()
		if x != nil || down {
			return x
		}
		select {
		case <-changed:
		case <-limit.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}
