package telemetry

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Gatherer is a writer that writes a line that comes alone at once, and lines
// that come thick and fast many at a time: a system call for each of them would
// cost a busy server more than making them does. Safe for concurrent use.
type Gatherer struct {
	w io.Writer

	mu      sync.Mutex
	waiting []byte
	timer   *time.Timer // runs while lines may wait; nil otherwise
	closed  bool
	err     error // of what was written late
}

const (
	// gathering is how long a line waits for others, and so what a process that
	// is killed may lose.
	gathering = 5 * time.Millisecond
	// maxGathered is how many bytes wait at most.
	maxGathered = 64 << 10
)

// Gather returns a writer of lines to w. The caller closes it.
func Gather(w io.Writer) *Gatherer { return &Gatherer{w: w} }

// Write implements io.Writer for whole lines. What can not be written late is
// told to the next Write.
func (g *Gatherer) Write(lines []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.err; err != nil {
		g.err = nil
		return 0, err
	}
	if g.timer == nil || g.closed {
		n, err := g.w.Write(lines)
		if err != nil {
			return n, fmt.Errorf("writing lines: %w", err)
		}
		if !g.closed {
			g.timer = time.AfterFunc(gathering, g.tick)
		}
		return n, nil
	}
	g.waiting = append(g.waiting, lines...)
	if len(g.waiting) >= maxGathered {
		g.flush()
	}
	return len(lines), nil
}

// tick writes what waits, and goes on as long as there was something.
func (g *Gatherer) tick() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 || g.closed {
		g.timer = nil
		return
	}
	g.flush()
	g.timer.Reset(gathering)
}

func (g *Gatherer) flush() {
	if _, err := g.w.Write(g.waiting); err != nil {
		g.err = fmt.Errorf("writing lines: %w", err)
	}
	g.waiting = g.waiting[:0]
}

// Close writes what waits. Lines that come later are written at once.
func (g *Gatherer) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.timer != nil {
		g.timer.Stop()
	}
	if len(g.waiting) > 0 {
		g.flush()
	}
	g.closed = true
	return g.err
}
