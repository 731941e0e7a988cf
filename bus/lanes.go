package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ackWait is how long a delivery is its receiver's. That is only until the task
// is claimed: after it, the store knows whose it is.
const ackWait = 2 * time.Second

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

// Dispatch is a task to be given to a worker.
type Dispatch struct {
	Tenant   string
	Task     string
	Priority Priority
}

// dispatchTimeout is how long NATS has to take what is dispatched at a time.
const dispatchTimeout = 5 * time.Second

// Dispatch gives tasks to whoever is next to pull. A task that is waiting in
// its lane, or is being claimed, is not given twice: that is no error. It
// returns how many tasks, from the first on, are settled: given, or without a
// place, which is ErrFull. Whether others were given is not known then.
func (b *Bus) Dispatch(ctx context.Context, tasks ...Dispatch) (settled int, err error) {
	ctx, cancel := context.WithTimeout(ctx, dispatchTimeout)
	defer cancel()
	answers := make([]jetstream.PubAckFuture, 0, len(tasks))
	var failed error
	for _, task := range tasks {
		answer, err := b.js.PublishAsync(b.lane(task.Priority).subject(task.Tenant, task.Task),
			[]byte(task.Tenant+"/"+task.Task), jetstream.WithRetryAttempts(0))
		if err != nil {
			failed = fmt.Errorf("dispatching a task: %w", err)
			break
		}
		answers = append(answers, answer)
	}
	var full error
	for i, answer := range answers {
		var err error
		select {
		case <-answer.Ok():
		case err = <-answer.Err():
		case <-ctx.Done():
			err = ctx.Err()
		}
		switch refused, ok := errors.AsType[*jetstream.APIError](err); {
		case err == nil, ok && refused.ErrorCode == codeStoreFailed && strings.Contains(refused.Description, "per subject"):
		case ok && refused.ErrorCode == codeStoreFailed:
			full = ErrFull
		default:
			return i, fmt.Errorf("dispatching a task: %w", err)
		}
	}
	return len(answers), cmp.Or(failed, full)
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

// inlet is where a lane's tasks come in for one who pulls. Its pulls follow one
// another.
type inlet struct {
	lane    *lane
	inbox   string
	sub     *nats.Subscription
	answers chan *nats.Msg
	pulls   int
}

// openInlet subscribes once for all pulls: in a cluster all servers are told of
// a subscription.
func (l *lane) openInlet() (*inlet, error) {
	const late = 16 // answers to pulls that have been given up
	in := &inlet{lane: l, inbox: l.bus.conn.NewInbox(), answers: make(chan *nats.Msg, late)}
	var err error
	if in.sub, err = l.bus.conn.ChanSubscribe(in.inbox+".*", in.answers); err != nil {
		return nil, fmt.Errorf("asking for tasks: %w", err)
	}
	return in, nil
}

// pull asks for one task, and waits for it if wait is positive. It returns nil
// when there is none. A task that comes late, to an earlier pull, is as good.
func (in *inlet) pull(ctx context.Context, wait time.Duration) (*Delivery, error) {
	const answer = 2 * time.Second
	ctx, cancel := context.WithTimeout(ctx, wait+answer)
	defer cancel()
	in.pulls++
	reply := in.inbox + "." + strconv.Itoa(in.pulls)
	body := `{"batch":1,"no_wait":true}`
	if wait > 0 {
		body = fmt.Sprintf(`{"batch":1,"expires":%d}`, wait.Nanoseconds())
	}
	next := "$JS.API.CONSUMER.MSG.NEXT." + in.lane.stream() + "." + consumer
	if err := in.lane.bus.conn.PublishRequest(next, reply, []byte(body)); err != nil {
		return nil, fmt.Errorf("asking for a task: %w", err)
	}
	for {
		select {
		case msg := <-in.answers:
			if d := in.delivery(msg); d != nil || msg.Subject == reply {
				return d, nil
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("asking for a task: %w", ctx.Err())
		}
	}
}

// delivery is what a message brings; nil when it says that there is no task.
func (in *inlet) delivery(msg *nats.Msg) *Delivery {
	if msg.Header.Get("Status") != "" || msg.Reply == "" {
		return nil
	}
	tenant, task, _ := strings.Cut(string(msg.Data), "/")
	return &Delivery{Tenant: tenant, Task: task, conn: in.lane.bus.conn, reply: msg.Reply}
}

// close takes pulls back from the server, and gives what it had sent before it
// heard of that to others. What is lost with NATS, is another's in ackWait.
func (in *inlet) close() {
	const heard = 200 * time.Millisecond
	if in.sub.Drain() != nil || in.lane.bus.conn.FlushTimeout(heard) != nil {
		return
	}
	for {
		select {
		case msg := <-in.answers:
			if d := in.delivery(msg); d != nil {
				d.Return(0)
			}
		default:
			return
		}
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
