package tasks

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/runwire/runwire/bus"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

const (
	// soon is when a watcher that has missed an event first looks for it in the
	// store: it is kept there with the task's end, or within flushEvery. Later
	// looks are twice as far apart each, and catchUp at most while events come.
	soon    = 2 * time.Millisecond
	catchUp = flushEvery / 4
	// reassure is how long a watcher trusts a silent bus.
	reassure = 15 * time.Second
	// distrust is that while the bus is away.
	distrust = 500 * time.Millisecond
	// seam is when an event is kept, whoever was told of it.
	seam = flushEvery + catchUp
	// feedLimit is how many entries wait for a watcher; one that is slower
	// reads them from the store.
	feedLimit = 256
	// historyPage is how many events are read at once.
	historyPage = 256
)

// Watch passes a task's events with a number above after to send, those that
// happened and then those that happen, until the last. It returns nil after
// that, send's error, ctx's cause, or store.ErrNotFound.
//
// The store is what it goes by; the bus only tells early what the store will
// have soon. So whatever the bus loses, repeats or tells twice, the watcher sees
// every number once and in order.
//
// Where the task has ended with a number below after it is a *PastEndError.
func (s *Service) Watch(ctx context.Context, tenant, id string, after int64, send func(*agentv1.RunEvent) error) error {
	if _, err := s.Store.GetTask(ctx, tenant, id); err != nil {
		return err
	}
	feed, err := s.hub.join(taskKey{tenant, id})
	if err != nil {
		return err
	}
	defer feed.leave()
	w := &watcher{service: s, key: taskKey{tenant, id}, feed: feed, after: after, last: after, send: send, behind: true}
	for {
		if ended, err := w.history(ctx); ended || err != nil {
			return err
		}
		if ended, err := w.live(ctx); ended || err != nil {
			return err
		}
	}
}

// watcher is one who watches a task.
type watcher struct {
	service *Service
	key     taskKey
	feed    *listener
	send    func(*agentv1.RunEvent) error

	after int64 // what was asked for
	last  int64 // the last number that was passed on
	heard int64 // the number of an event that came too early
	// behind: there may be events that the bus has told others of only.
	behind bool
	// look is between the last two looks for what was missed.
	look time.Duration
}

// history passes on what the store has. It says whether that was the end.
func (w *watcher) history(ctx context.Context) (ended bool, err error) {
	for {
		events, err := w.service.Store.ListEvents(ctx, w.key.tenant, w.key.id, w.last, historyPage)
		if err != nil {
			return false, err
		}
		for _, event := range events {
			e, err := parseEntry(event.Payload)
			if err != nil {
				return false, fmt.Errorf("reading event %d: %w", event.Sequence, err)
			}
			if ended, err := w.pass(e); ended || err != nil {
				return ended, err
			}
		}
		if len(events) < historyPage {
			return w.over(ctx, len(events) == 0)
		}
	}
}

// over says whether nothing can come any more although no `finished` came:
// the task is gone, or the watcher has more than there is.
func (w *watcher) over(ctx context.Context, silent bool) (bool, error) {
	if !silent {
		return false, nil
	}
	task, err := w.service.Store.GetTask(ctx, w.key.tenant, w.key.id)
	if err != nil {
		return false, err
	}
	if task.Status.Ended() && task.LastSequence < w.after {
		return false, &PastEndError{Last: task.LastSequence}
	}
	return task.Status.Ended() && task.LastSequence <= w.last, nil
}

// PastEndError says that somebody asked for what comes after an event that the
// task does not have, and has ended without.
type PastEndError struct {
	// Last is the number of its last event.
	Last int64
}

// Error says which the last is.
func (e *PastEndError) Error() string { return fmt.Sprintf("the task has ended with event %d", e.Last) }

// live passes on what the bus tells, until something is missing, or the bus
// has been silent for long.
func (w *watcher) live(ctx context.Context) (ended bool, err error) {
	patience := reassure + rand.N(reassure/3)
	if !w.service.Bus.Connected() {
		patience = distrust
	}
	atSeam := w.behind && w.heard <= w.last
	switch {
	case atSeam:
		patience = seam
	case w.heard > w.last:
		patience = w.later(distrust)
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		entries, missed := w.feed.take()
		for i, e := range entries {
			if e.first() > w.last+1 {
				w.heard = e.event.GetSequence()
				return false, w.wait(ctx, entries[i:])
			}
			if ended, err := w.pass(e); ended || err != nil {
				return ended, err
			}
		}
		if missed {
			return false, w.wait(ctx, nil)
		}
		select {
		case <-w.feed.ready:
		case <-timer.C:
			w.behind = w.behind && !atSeam
			return false, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// wait waits until the store may have what was missed before early came.
func (w *watcher) wait(ctx context.Context, early []entry) error {
	w.behind = true
	if slices.ContainsFunc(early, func(e entry) bool { return isAfterwards(e.event) }) {
		return nil // it has
	}
	return pause(ctx, w.later(catchUp))
}

// later is when the store is looked into next for what was missed.
func (w *watcher) later(most time.Duration) time.Duration {
	w.look = min(max(2*w.look, soon), most)
	return w.look
}

// pass sends what the watcher does not have yet. One who has `started` does
// not get another.
func (w *watcher) pass(e entry) (ended bool, err error) {
	if e.event.GetStarted() != nil && e.event.GetToolCallId() == "" && w.last > 0 {
		return false, nil
	}
	event := e.after(w.last)
	if event == nil {
		return false, nil
	}
	if err := w.send(event); err != nil {
		return false, err
	}
	w.last, w.look = event.GetSequence(), 0
	return event.GetFinished() != nil && event.GetToolCallId() == "", nil
}

// pause waits, or returns why ctx has ended.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

type taskKey struct{ tenant, id string }

// hub listens once to each task that is watched here, for all who watch it.
type hub struct {
	bus *bus.Bus
	log *slog.Logger

	mu    sync.Mutex
	feeds map[taskKey]*feed
}

// feed is what the bus tells of a task.
type feed struct {
	hub *hub
	key taskKey
	sub *bus.Subscription

	mu        sync.Mutex
	attempt   int64 // the latest that was heard of
	listeners map[*listener]struct{}
}

// listener is a watcher's end of a feed.
type listener struct {
	feed  *feed
	ready chan struct{}

	mu      sync.Mutex
	entries []entry
	missed  bool
}

func (h *hub) join(key taskKey) (*listener, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.feeds[key]
	if f == nil {
		f = &feed{hub: h, key: key, listeners: make(map[*listener]struct{})}
		var err error
		if f.sub, err = h.bus.SubscribeEvents(key.tenant, key.id, f.receive); err != nil {
			return nil, err
		}
		h.feeds[key] = f
	}
	l := &listener{feed: f, ready: make(chan struct{}, 1)}
	f.mu.Lock()
	f.listeners[l] = struct{}{}
	f.mu.Unlock()
	return l, nil
}

func (l *listener) leave() {
	f, h := l.feed, l.feed.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.listeners, l)
	if len(f.listeners) == 0 {
		f.sub.Close()
		delete(h.feeds, f.key)
	}
}

// receive passes a batch on to all who watch. What a worker says that has lost
// the task is not heard once its successor was.
func (f *feed) receive(batch []byte) {
	attempt, entries, err := parseBatch(batch)
	if err != nil {
		f.hub.log.Warn("event cannot be read", slog.String("task_id", f.key.id), slog.Any("error", err))
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if attempt < f.attempt {
		return
	}
	f.attempt = attempt
	for l := range f.listeners {
		l.give(entries)
	}
}

func (l *listener) give(entries []entry) {
	l.mu.Lock()
	if len(l.entries)+len(entries) > feedLimit {
		l.entries, l.missed = nil, true
	} else {
		l.entries = append(l.entries, entries...)
	}
	l.mu.Unlock()
	select {
	case l.ready <- struct{}{}:
	default:
	}
}

// take returns what waits, and whether something was left out before.
func (l *listener) take() (entries []entry, missed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	entries, missed = l.entries, l.missed
	l.entries, l.missed = nil, false
	return entries, missed
}
