package webhooks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/store"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

// Config is what a Sender is made of.
type Config struct {
	// Store has the deliveries.
	Store store.Deliveries
	// Secrets sign them. What no secret is for is tried again until there is one.
	Secrets Secrets
	// AllowPrivate lets deliveries go to private networks and this machine too.
	AllowPrivate bool
	// Meter counts tries; nil counts none.
	Meter metric.MeterProvider
	// Log takes what goes wrong; nil is none.
	Log *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time

	resolver *net.Resolver // for tests; nil is the system's
}

// Sender delivers what is due. Several may run on one store: each claims what
// it sends. A delivery may come to its receiver more than once, and not in order.
type Sender struct {
	cfg       Config
	signers   *signers
	client    *http.Client
	latency   metric.Float64Histogram
	receivers *receivers
	slots     chan struct{} // has one for each try that goes on
	wake      chan struct{}
	tries     sync.WaitGroup
}

const (
	// parallel is how many tries go on at once.
	parallel = 256
	// batch is how many deliveries are claimed together.
	batch = 16
	// lease is how long a claimed delivery is this sender's: enough to wait for
	// a batch's receivers, and to try.
	lease = time.Minute
	// idle is how often the store is asked when nothing is due.
	idle = time.Second
	// grace is how long tries may go on when Run is to end.
	grace = 3 * time.Second
	// putOff is when to come back to a receiver that is slow, at least.
	putOff = 10 * time.Second
)

// New returns a sender. Secrets that are none are an error.
func New(cfg Config) (*Sender, error) {
	signers, err := newSigners(cfg.Secrets)
	if err != nil {
		return nil, err
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Meter == nil {
		cfg.Meter = noop.NewMeterProvider()
	}
	latency, err := cfg.Meter.Meter("github.com/runwire/runwire/webhooks").Float64Histogram(
		"agent.webhook.latency_ms", metric.WithUnit("ms"), metric.WithDescription("How long a try to deliver a webhook took."),
		metric.WithExplicitBucketBoundaries(5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 15000))
	if err != nil {
		return nil, fmt.Errorf("making the webhooks' metric: %w", err)
	}
	return &Sender{
		cfg:       cfg,
		signers:   signers,
		client:    newClient(cfg.AllowPrivate, cfg.resolver),
		latency:   latency,
		receivers: newReceivers(),
		slots:     make(chan struct{}, parallel),
		wake:      make(chan struct{}, 1),
	}, nil
}

// errNoSecret completes "webhook_url …".
var errNoSecret = errors.New("can not be told: the server has no secret to sign with for this tenant")

// Check is the package's Check with what is configured; without a secret for the
// tenant no URL is right.
func (s *Sender) Check(tenant, rawURL string) error {
	if len(s.signers.of(tenant)) == 0 {
		return errNoSecret
	}
	return Check(rawURL, s.cfg.AllowPrivate)
}

// Payload is the package's Payload.
func (*Sender) Payload(task *agentv1.Task, at time.Time) ([]byte, error) { return Payload(task, at) }

// Wake says that something is due now. It never waits.
func (s *Sender) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run delivers until ctx ends. Tries that go on then have three seconds more;
// what they do not end is tried again at once, by whoever runs. It may be
// called once.
func (s *Sender) Run(ctx context.Context) error {
	defer s.client.CloseIdleConnections()
	trying, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	s.loop(ctx, trying)
	ended := make(chan struct{})
	go func() {
		s.tries.Wait()
		close(ended)
	}()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
		cancel()
		<-ended
	}
	return nil
}

// loop claims what is due until ctx ends, and tries it with the other context.
func (s *Sender) loop(ctx, trying context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for away := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
		case <-timer.C:
		}
		claimed, err := s.round(ctx, trying)
		if err != nil && !away && ctx.Err() == nil {
			s.cfg.Log.WarnContext(ctx, "no webhooks are delivered", slog.Any("error", err))
		}
		if err == nil && away {
			s.cfg.Log.InfoContext(ctx, "webhooks are delivered again")
		}
		away = err != nil
		if claimed == 0 {
			timer.Reset(idle)
		} else {
			timer.Reset(0)
		}
	}
}

// round claims a batch and begins to try it; it returns how many there were.
func (s *Sender) round(ctx, trying context.Context) (int, error) {
	slots := s.take(ctx)
	if slots == 0 {
		return 0, ctx.Err()
	}
	due, err := s.cfg.Store.ClaimDeliveries(ctx, slots, lease)
	for range slots - len(due) {
		<-s.slots
	}
	for i := range due {
		delivery := &due[i]
		host := hostOf(delivery.URL)
		began, ok := s.receivers.enter(ctx, host)
		s.tries.Go(func() {
			defer func() { <-s.slots }()
			switch {
			case ctx.Err() != nil && !ok:
				s.record(trying, delivery, store.Outcome{
					Status: store.DeliveryPending, RetryAfter: leastWait, Code: delivery.LastCode, Error: delivery.LastError,
				})
				return
			case !ok:
				s.putOff(trying, delivery)
				return
			}
			defer s.receivers.leave(host, began)
			s.try(trying, delivery)
		})
	}
	return len(due), err
}

// take waits for a slot, and takes what a batch needs of those that are free.
func (s *Sender) take(ctx context.Context) int {
	select {
	case <-ctx.Done():
		return 0
	case s.slots <- struct{}{}:
	}
	taken := 1
	for taken < batch {
		select {
		case s.slots <- struct{}{}:
			taken++
		default:
			return taken
		}
	}
	return taken
}

func hostOf(rawURL string) string {
	parsed, err := url.Parse(rawURL)
	if err != nil {
		return ""
	}
	return parsed.Host
}

// try tries a delivery once and records what came of it.
func (s *Sender) try(ctx context.Context, delivery *store.Delivery) {
	began := time.Now()
	got := s.attempt(ctx, delivery)
	outcome := store.Outcome{Status: store.DeliveryDelivered, Code: got.code, Error: got.problem}
	name := "delivered"
	switch wait, more := nextTry(s.cfg.Now().Sub(delivery.CreateTime), got.retryAfter); {
	case got.problem == "":
	case ctx.Err() != nil:
		outcome.Status, outcome.RetryAfter, name = store.DeliveryPending, leastWait, "retried"
	case got.final || !more:
		outcome.Status, name = store.DeliveryFailed, "given_up"
	default:
		outcome.Status, outcome.RetryAfter, name = store.DeliveryPending, wait, "retried"
	}
	s.latency.Record(ctx, float64(time.Since(began))/float64(time.Millisecond),
		metric.WithAttributes(attribute.String("outcome", name)))
	s.tell(ctx, delivery, outcome)
	s.record(ctx, delivery, outcome)
}

// putOff leaves a delivery to a slow receiver for later.
func (s *Sender) putOff(ctx context.Context, delivery *store.Delivery) {
	s.record(ctx, delivery, store.Outcome{
		Status:     store.DeliveryPending,
		RetryAfter: putOff + rand.N(putOff),
		Code:       delivery.LastCode,
		Error:      "it is slow, and other deliveries to it go on",
	})
}

// tell logs a try that did not come through.
func (s *Sender) tell(ctx context.Context, delivery *store.Delivery, outcome store.Outcome) {
	facts := []slog.Attr{
		slog.String("tenant", delivery.Tenant), slog.String("task", delivery.TaskID),
		slog.String("delivery", delivery.ID), slog.Int64("attempt", delivery.Attempt),
		slog.Int("code", outcome.Code), slog.String("reason", outcome.Error),
	}
	switch outcome.Status {
	case store.DeliveryFailed:
		s.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "a webhook is given up", facts...)
	case store.DeliveryPending:
		s.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "a webhook did not come through",
			append(facts, slog.Duration("retry_after", outcome.RetryAfter))...)
	case store.DeliveryDelivered:
	}
}

// record keeps what came of a try. If it can not, the delivery is tried again
// once its lease has run out.
func (s *Sender) record(ctx context.Context, delivery *store.Delivery, outcome store.Outcome) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tryTimeout)
	defer cancel()
	err := s.cfg.Store.RecordDelivery(ctx, *delivery, outcome)
	if err != nil && !errors.Is(err, store.ErrFenced) {
		s.cfg.Log.WarnContext(ctx, "a webhook's outcome was not kept", slog.String("tenant", delivery.Tenant),
			slog.String("delivery", delivery.ID), slog.Any("error", err))
	}
}
