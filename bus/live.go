package bus

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
)

// Subscription is what somebody listens to.
type Subscription struct{ end func() }

// Close ends it. Nothing is received after it but what is being received.
func (s *Subscription) Close() { s.end() }

// publish sends to all who listen to subject. What cannot be sent now is lost.
func (b *Bus) publish(subject string, data []byte) {
	if b.Embedded() {
		b.near.publish(subject, data)
		return
	}
	_ = b.conn.Publish(subject, data) // see above
}

// subscribe listens to subject, in the order in which it was sent, from one
// goroutine, which receive must not hold up.
func (b *Bus) subscribe(subject string, receive func([]byte)) (*Subscription, error) {
	if b.Embedded() {
		return b.near.subscribe(subject, receive), nil
	}
	of, err := b.conn.Subscribe(subject, func(m *nats.Msg) { receive(m.Data) })
	if err != nil {
		return nil, fmt.Errorf("listening to %s: %w", subject, err)
	}
	return &Subscription{end: func() {
		_ = of.Unsubscribe() // the connection has ended, and with it all that it listened to
	}}, nil
}

// PublishEvents sends a task's live events, which must not change any more, to
// all who listen. What cannot be sent now is lost.
func (b *Bus) PublishEvents(tenant, task string, events []byte) {
	b.publish(subject("events", tenant, task), events)
}

// SubscribeEvents listens to a task's live events, in the order in which they
// were sent, from one goroutine, which receive must not hold up.
func (b *Bus) SubscribeEvents(tenant, task string, receive func(events []byte)) (*Subscription, error) {
	return b.subscribe(subject("events", tenant, task), receive)
}

const cancels = "runwire.cancel"

// PublishCancel tells all workers that a task's cancel was requested. The wish
// is durable already; without this they learn of it later.
func (b *Bus) PublishCancel(tenant, task string) {
	b.publish(cancels, []byte(tenant+"/"+task))
}

// SubscribeCancels listens to PublishCancel.
func (b *Bus) SubscribeCancels(receive func(tenant, task string)) (*Subscription, error) {
	return b.subscribe(cancels, func(data []byte) {
		tenant, task, _ := strings.Cut(string(data), "/")
		receive(tenant, task)
	})
}

// near are those who listen in this process, where nobody can from elsewhere.
// Most tasks are watched by nobody: a way through the embedded server would cost
// more than making most events does.
type near struct {
	mu        sync.RWMutex
	listeners map[string][]*listener
}

func (n *near) publish(subject string, data []byte) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	for _, l := range n.listeners[subject] {
		l.give(data)
	}
}

func (n *near) subscribe(subject string, receive func([]byte)) *Subscription {
	l := &listener{wake: make(chan struct{}, 1)}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners == nil {
		n.listeners = make(map[string][]*listener)
	}
	n.listeners[subject] = append(n.listeners[subject], l)
	go l.run(receive)
	return &Subscription{end: func() { n.leave(subject, l) }}
}

func (n *near) leave(subject string, l *listener) {
	n.mu.Lock()
	defer n.mu.Unlock()
	at := slices.Index(n.listeners[subject], l)
	if at < 0 {
		return
	}
	n.listeners[subject] = slices.Delete(n.listeners[subject], at, at+1)
	if len(n.listeners[subject]) == 0 {
		delete(n.listeners, subject)
	}
	l.end()
}

func (n *near) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, all := range n.listeners {
		for _, l := range all {
			l.end()
		}
	}
	clear(n.listeners)
}

// listener is one who listens.
type listener struct {
	wake chan struct{}

	mu      sync.Mutex
	waiting [][]byte
	ended   bool
}

// nearLimit is how much waits for a listener; more is lost.
const nearLimit = 4096

// give is not called after end.
func (l *listener) give(data []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) < nearLimit {
		l.waiting = append(l.waiting, data)
		signal(l.wake)
	}
}

func (l *listener) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	close(l.wake)
}

func (l *listener) run(receive func([]byte)) {
	for range l.wake {
		for data, ok := l.next(); ok; data, ok = l.next() {
			receive(data)
		}
	}
}

func (l *listener) next() (data []byte, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended || len(l.waiting) == 0 {
		l.waiting = nil
		return nil, false
	}
	data, l.waiting = l.waiting[0], l.waiting[1:]
	return data, true
}
