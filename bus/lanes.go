package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ackWait is how long a delivery is its receiver's. That is only until the task
// is claimed: after it, the store knows whose it is.
const ackWait = 3 * time.Second

// A lane is a work queue: one a priority, so that a flood of one priority
// neither fills nor delays the others'.
const (
	laneHigh = iota
	laneNormal
	laneLow
	laneCount
)

var laneNames = [laneCount]string{"HIGH", "NORMAL", "LOW"}

// laneLimit is how many tasks wait in a lane at most; the others wait in the
// store for a place.
const laneLimit = 100_000

// consumer is the durable consumer that all workers share.
const consumer = "workers"

type lane struct {
	bus  *Bus
	name string
	// created is when the stream was, in Unix nanoseconds: how one knows that it
	// is another.
	created atomic.Int64
}

func (l *lane) stream() string { return "RUNWIRE_TASKS_" + l.name }

func (l *lane) subject(tenant, task string) string {
	return subject("tasks."+strings.ToLower(l.name), tenant, task)
}

// Priority says which lane a task takes.
type Priority int

// The priorities; the values are those of the contract's TaskPriority.
const (
	Low    Priority = 1
	Normal Priority = 2
	High   Priority = 3
)

func (b *Bus) lane(p Priority) *lane {
	switch p {
	case High:
		return b.lanes[laneHigh]
	case Low:
		return b.lanes[laneLow]
	default:
		return b.lanes[laneNormal]
	}
}

// ErrFull says that the lane has no place.
var ErrFull = errors.New("too many tasks are waiting in NATS")

// Dispatch gives a task to whoever is next to pull. A task that is waiting in
// the lane, or is being claimed, is not given twice: that is no error.
func (b *Bus) Dispatch(ctx context.Context, tenant, task string, p Priority) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	l := b.lane(p)
	_, err := b.js.Publish(ctx, l.subject(tenant, task), []byte(tenant+"/"+task), jetstream.WithRetryAttempts(0))
	switch failed, ok := errors.AsType[*jetstream.APIError](err); {
	case err == nil, ok && failed.ErrorCode == codeStoreFailed && strings.Contains(failed.Description, "per subject"):
		return nil
	case ok && failed.ErrorCode == codeStoreFailed:
		return ErrFull
	default:
		return fmt.Errorf("dispatching a task: %w", err)
	}
}

// DispatchSoon is Dispatch without waiting for the answer: what does not come
// through, whoever sweeps finds.
func (b *Bus) DispatchSoon(tenant, task string, p Priority) {
	_ = b.conn.Publish(b.lane(p).subject(tenant, task), []byte(tenant+"/"+task)) // see above
}

// codeStoreFailed is NATS's code for a message that a stream's limits refuse.
const codeStoreFailed = 10077

// ensure makes the streams that are missing. Should one have been made anew,
// by whomever, Renewed is signalled.
func (b *Bus) ensure(ctx context.Context) error {
	for _, l := range b.lanes {
		if err := l.ensure(ctx); err != nil {
			return fmt.Errorf("making the queue %s: %w", l.stream(), err)
		}
	}
	return nil
}

func (l *lane) ensure(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	stream, err := l.bus.js.Stream(ctx, l.stream())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = l.create(ctx)
	}
	if err != nil {
		return err
	}
	known, err := stream.Consumer(ctx, consumer)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("looking for its consumer: %w", err)
	}
	if err != nil || known.CachedInfo().Config.AckWait != ackWait {
		_, err = stream.CreateOrUpdateConsumer(ctx, jetstream.ConsumerConfig{
			Durable: consumer, AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait,
			MaxDeliver: -1, MaxAckPending: -1, MaxWaiting: 4096,
		})
		if err != nil {
			return fmt.Errorf("making its consumer: %w", err)
		}
	}
	created := stream.CachedInfo().Created.UnixNano()
	if before := l.created.Swap(created); before != 0 && before != created {
		signal(l.bus.renewed)
	}
	return nil
}

// create makes the stream, three times in a cluster that has as many servers.
func (l *lane) create(ctx context.Context) (jetstream.Stream, error) {
	cfg := jetstream.StreamConfig{
		Name: l.stream(), Subjects: []string{"runwire.tasks." + strings.ToLower(l.name) + ".>"},
		Description: "tasks that wait for a worker; the database has them too",
		Retention:   jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew,
		MaxMsgs: laneLimit, MaxMsgsPerSubject: 1, DiscardNewPerSubject: true,
		Storage: jetstream.FileStorage, Replicas: 3,
	}
	if l.bus.Embedded() {
		cfg.Storage, cfg.Replicas = jetstream.MemoryStorage, 1
	}
	stream, err := l.bus.js.CreateStream(ctx, cfg)
	if failed, ok := errors.AsType[*jetstream.APIError](err); ok && cfg.Replicas > 1 &&
		(failed.ErrorCode == codeNotClustered || failed.ErrorCode == codeNoPeers) {
		cfg.Replicas = 1
		stream, err = l.bus.js.CreateStream(ctx, cfg)
	}
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another replica was first
		stream, err = l.bus.js.Stream(ctx, l.stream())
	}
	return stream, err //nolint:wrapcheck // ensure says what was being done
}

// NATS's codes for a stream that cannot be kept on several servers.
const (
	codeNotClustered = 10074
	codeNoPeers      = 10005
)

// Run keeps the streams there until ctx ends.
func (b *Bus) Run(ctx context.Context) error {
	const every = 2 * time.Second
	timer := time.NewTimer(0)
	defer timer.Stop()
	for away := false; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-b.reconnection():
		case <-timer.C:
		}
		err := b.ensure(ctx)
		if err != nil && !away && ctx.Err() == nil {
			b.log.WarnContext(ctx, "no tasks are dispatched", "error", err)
		}
		if err == nil && away {
			b.log.InfoContext(ctx, "tasks are dispatched again")
			signal(b.renewed)
		}
		away = err != nil
		timer.Reset(every)
	}
}

// Delivery is a task that was given to this worker to be claimed. Unless it says
// within a few seconds what came of that, another has it.
type Delivery struct {
	Tenant string
	Task   string

	conn  *nats.Conn
	reply string
}

// Ack says that nobody else is needed.
func (d *Delivery) Ack() { d.answer("+ACK") }

// Return gives the task to another once after has passed.
func (d *Delivery) Return(after time.Duration) {
	if after <= 0 {
		d.answer("-NAK")
		return
	}
	d.answer(fmt.Sprintf(`-NAK {"delay": %d}`, after.Nanoseconds()))
}

// answer is lost if NATS is away; then the delivery is another's in ackWait.
func (d *Delivery) answer(text string) { _ = d.conn.Publish(d.reply, []byte(text)) }

// pull asks for one task, and waits for it if wait is positive. It returns nil
// when there is none.
func (l *lane) pull(ctx context.Context, wait time.Duration) (*Delivery, error) {
	request := struct {
		Batch   int           `json:"batch"`
		NoWait  bool          `json:"no_wait,omitempty"`
		Expires time.Duration `json:"expires,omitempty"`
	}{1, wait <= 0, wait}
	body, err := json.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("asking for a task: %w", err)
	}
	const answer = 2 * time.Second
	ctx, cancel := context.WithTimeout(ctx, wait+answer)
	defer cancel()
	// An inbox of its own: a task comes under its own subject, by which the
	// connection's shared inbox would not know whose it is.
	inbox := l.bus.conn.NewInbox()
	answers := make(chan *nats.Msg, 1)
	sub, err := l.bus.conn.ChanSubscribe(inbox, answers)
	if err != nil {
		return nil, fmt.Errorf("asking for a task: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // else it is gone already
	if err := l.bus.conn.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+l.stream()+"."+consumer, inbox, body); err != nil {
		return nil, fmt.Errorf("asking for a task: %w", err)
	}
	var msg *nats.Msg
	select {
	case msg = <-answers:
	case <-ctx.Done():
		if msg = l.giveUp(sub, answers); msg == nil {
			return nil, fmt.Errorf("asking for a task: %w", ctx.Err())
		}
	}
	if msg.Header.Get("Status") != "" || msg.Reply == "" {
		return nil, nil //nolint:nilnil // there is none
	}
	tenant, task, _ := strings.Cut(string(msg.Data), "/")
	return &Delivery{Tenant: tenant, Task: task, conn: l.bus.conn, reply: msg.Reply}, nil
}

// giveUp takes a pull back from the server, and returns what the server had sent
// before it heard of that; nil for nothing.
func (l *lane) giveUp(sub *nats.Subscription, answers <-chan *nats.Msg) *nats.Msg {
	const heard = 200 * time.Millisecond
	if sub.Drain() != nil || l.bus.conn.FlushTimeout(heard) != nil {
		return nil // NATS is away; the task is another's in ackWait
	}
	select {
	case msg := <-answers:
		return msg
	default:
		return nil
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
