package bus

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/runwire/runwire/interceptors"
)

// natsServer is a NATS server that can go away and come back, with nothing in
// its memory.
type natsServer struct {
	t       testing.TB
	current atomic.Pointer[server.Server]
}

func newNATS(t testing.TB) *natsServer {
	t.Helper()
	n := &natsServer{t: t}
	n.start()
	t.Cleanup(n.stop)
	return n
}

func (n *natsServer) start() {
	n.t.Helper()
	s, err := server.NewServer(&server.Options{
		DontListen: true, JetStream: true, StoreDir: n.t.TempDir(), NoLog: true, NoSigs: true, JetStreamMaxMemory: 64 << 20,
	})
	if err != nil {
		n.t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(time.Minute) {
		n.t.Fatal("NATS does not start")
	}
	n.current.Store(s)
}

func (n *natsServer) stop() {
	if s := n.current.Swap(nil); s != nil {
		s.Shutdown()
		s.WaitForShutdown()
	}
}

// InProcessConn implements nats.InProcessConnProvider.
func (n *natsServer) InProcessConn() (net.Conn, error) {
	s := n.current.Load()
	if s == nil {
		return nil, errors.New("no server")
	}
	return s.InProcessConn()
}

// connect returns a connection and a channel that tells of each reconnection.
func (n *natsServer) connect() (jetstream.JetStream, <-chan struct{}) {
	n.t.Helper()
	back := make(chan struct{}, 8)
	conn, err := nats.Connect("", nats.InProcessServer(n), nats.MaxReconnects(-1), nats.ReconnectWait(time.Millisecond),
		nats.ReconnectJitter(0, 0), nats.ReconnectHandler(func(*nats.Conn) { back <- struct{}{} }))
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		n.t.Fatal(err)
	}
	return js, back
}

// book is a log that can be read while it is written.
type book struct {
	mu    sync.Mutex
	text  bytes.Buffer
	wrote chan struct{} // has room for one
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	signal(b.wrote)
	return b.text.Write(p)
}

func (b *book) count(text string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.text.String(), text)
}

// replicas are limiters that share a NATS server, and a clock that stands.
type replicas struct {
	t        testing.TB
	nats     *natsServer
	now      atomic.Int64 // microseconds
	limiters []*Limiter
	back     []<-chan struct{}
	log      book
}

// They have all the patience that a busy machine needs.
func newReplicas(t testing.TB, count int, limits interceptors.Limits) *replicas {
	t.Helper()
	r := &replicas{t: t, nats: newNATS(t), log: book{wrote: make(chan struct{}, 1)}}
	r.now.Store(time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC).UnixMicro())
	for range count {
		r.join(r.nats, limits)
	}
	r.beat()
	return r
}

// join adds a limiter that is connected to a server.
func (r *replicas) join(to *natsServer, limits interceptors.Limits) {
	r.t.Helper()
	js, back := to.connect()
	r.back = append(r.back, back)
	r.limiters = append(r.limiters, OpenLimiter(r.t.Context(), js, LimiterConfig{
		Limits: limits,
		Log:    slog.New(slog.NewTextHandler(&r.log, nil)),
		now:    func() time.Time { return time.UnixMicro(r.now.Load()) },

		patience: time.Minute,
	}))
}

// have gives all the patience for NATS; none may be waiting for it.
func (r *replicas) have(patience time.Duration) {
	for _, l := range r.limiters {
		l.ledger.patience = patience
	}
}

func (r *replicas) pass(d time.Duration) { r.now.Add(d.Microseconds()) }

// beat has all hear of each other.
func (r *replicas) beat() {
	r.t.Helper()
	for _, l := range r.limiters {
		if err := l.beat(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
		l.rise(r.t.Context())
	}
}

// refused returns why a run is refused, nil if it begins; it is over at once.
func (r *replicas) refused(replica int, user string) *interceptors.LimitError {
	r.t.Helper()
	release, err := r.limiters[replica].Acquire(r.t.Context(), "acme", user)
	if err == nil {
		release()
		return nil
	}
	refused, ok := errors.AsType[*interceptors.LimitError](err)
	if !ok {
		r.t.Fatal(err)
	}
	return refused
}

func (r *replicas) want(replica int, user string, retry time.Duration, subjects ...string) {
	r.t.Helper()
	refused := r.refused(replica, user)
	if refused == nil {
		if retry != 0 {
			r.t.Errorf("replica %d lets %s in, want a refusal", replica, user)
		}
		return
	}
	var got []string
	for _, e := range refused.Exceeded {
		got = append(got, e.Subject)
	}
	if refused.RetryAfter != retry || fmt.Sprint(got) != fmt.Sprint(subjects) {
		r.t.Errorf("replica %d refuses %s for %v by %v, want %v by %v", replica, user, refused.RetryAfter, got, retry, subjects)
	}
}

// flood has all replicas asked at once, and returns how many runs began.
func (r *replicas) flood(each int, user func(i int) string) int {
	r.t.Helper()
	var all sync.WaitGroup
	var begun atomic.Int64
	for replica := range r.limiters {
		for i := range each {
			all.Go(func() {
				if r.refused(replica, user(i)) == nil {
					begun.Add(1)
				}
			})
		}
	}
	all.Wait()
	return int(begun.Load())
}

func perMinute(count int) interceptors.Window {
	return interceptors.Window{Requests: count, Length: time.Minute}
}
