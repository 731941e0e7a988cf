package bus

import (
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
)

// Subscription is what somebody listens to.
type Subscription struct{ of *nats.Subscription }

// Close ends it. Nothing is received after it but what is being received.
func (s *Subscription) Close() {
	_ = s.of.Unsubscribe() // the connection has ended, and with it all that it listened to
}

// PublishEvents sends a task's live events to all who listen. What cannot be
// sent now is lost.
func (b *Bus) PublishEvents(tenant, task string, events []byte) {
	_ = b.conn.Publish(subject("events", tenant, task), events) // see above
}

// SubscribeEvents listens to a task's live events, in the order in which they
// were sent, from one goroutine, which receive must not hold up.
func (b *Bus) SubscribeEvents(tenant, task string, receive func(events []byte)) (*Subscription, error) {
	of, err := b.conn.Subscribe(subject("events", tenant, task), func(m *nats.Msg) { receive(m.Data) })
	if err != nil {
		return nil, fmt.Errorf("listening to a task's events: %w", err)
	}
	return &Subscription{of: of}, nil
}

const cancels = "runwire.cancel"

// PublishCancel tells all workers that a task's cancel was requested. The wish
// is durable already; without this they learn of it later.
func (b *Bus) PublishCancel(tenant, task string) {
	_ = b.conn.Publish(cancels, []byte(tenant+"/"+task)) // see above
}

// SubscribeCancels listens to PublishCancel.
func (b *Bus) SubscribeCancels(receive func(tenant, task string)) (*Subscription, error) {
	of, err := b.conn.Subscribe(cancels, func(m *nats.Msg) {
		tenant, task, _ := strings.Cut(string(m.Data), "/")
		receive(tenant, task)
	})
	if err != nil {
		return nil, fmt.Errorf("listening to cancels: %w", err)
	}
	return &Subscription{of: of}, nil
}
