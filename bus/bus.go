// Package bus is what moves between replicas: the dispatch of tasks to
// workers, live events from a worker to those who watch, and signals. It is
// NATS, embedded or a cluster; events and signals take no way through an embedded
// one. Nothing rests on it: what it loses costs a delay, for the store knows. It
// must not know of agents, SQL or gRPC.
package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Config says where NATS is.
type Config struct {
	// URL is one or several addresses, `nats://a,b,c`; empty embeds a server in
	// this process, in memory, without a port.
	URL string
	// Dir is where an embedded server keeps nothing of worth; a temporary folder
	// when empty.
	Dir string
	// Name is what the cluster's operators see.
	Name string
	// Log takes what operators must know.
	Log *slog.Logger
}

// Bus is a connection to NATS. Safe for concurrent use.
type Bus struct {
	log    *slog.Logger
	server *server.Server // nil for a cluster
	near   near           // for when it is not
	conn   *nats.Conn
	js     jetstream.JetStream
	lanes  [laneCount]*lane
	// temporary is a folder to remove at the end; none when empty.
	temporary string

	mu        sync.Mutex
	reconnect chan struct{} // closed at the next reconnection
	renewed   chan struct{} // see Renewed
}

// Open connects to NATS. With a URL it does not wait for it: until it is there
// nothing moves, and the log says so.
func Open(ctx context.Context, cfg Config) (*Bus, error) {
	b := &Bus{log: cfg.Log, reconnect: make(chan struct{}), renewed: make(chan struct{}, 1)}
	for i := range b.lanes {
		b.lanes[i] = &lane{bus: b, name: laneNames[i]}
	}
	if err := b.connect(cfg); err != nil {
		b.Close()
		return nil, err
	}
	var err error
	if b.js, err = jetstream.New(b.conn, jetstream.WithPublishAsyncTimeout(dispatchTimeout)); err != nil {
		b.Close()
		return nil, fmt.Errorf("opening JetStream: %w", err)
	}
	if b.server == nil {
		return b, nil
	}
	if err := b.ensure(ctx); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func (b *Bus) connect(cfg Config) (err error) {
	options := []nats.Option{
		nats.Name(cfg.Name),
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(true),
		nats.ReconnectWait(200 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 100*time.Millisecond),
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.Timeout(2 * time.Second),
		nats.ReconnectBufSize(256 << 10),
		nats.ConnectHandler(b.connected),
		nats.ReconnectHandler(b.connected),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // else it was closed
				b.log.Warn("nats is away", slog.Any("error", err))
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			b.log.Debug("nats", slog.Any("error", err))
		}),
	}
	address := cfg.URL
	if address == "" {
		if cfg.Dir == "" {
			if b.temporary, err = os.MkdirTemp("", "runwire-nats-"); err != nil {
				return fmt.Errorf("making a folder for NATS: %w", err)
			}
			cfg.Dir = b.temporary
		}
		if b.server, err = embed(cfg.Dir); err != nil {
			return err
		}
		address = nats.DefaultURL // never dialled
		options = append(options, nats.InProcessServer(b.server))
	}
	if b.conn, err = nats.Connect(address, options...); err != nil {
		return fmt.Errorf("connecting to NATS: %w", withoutAddress(err, address))
	}
	return nil
}

// withoutAddress keeps a URL's password out of an error.
func withoutAddress(err error, address string) error {
	if strings.Contains(address, "@") && strings.Contains(err.Error(), address) {
		return errors.New("the address is not one of NATS")
	}
	return err
}

// embed starts a server in this process. What waits in it is in memory: the
// store has it too.
func embed(dir string) (*server.Server, error) {
	if err := writable(filepath.Join(dir, server.JetStreamStoreDir)); err != nil {
		return nil, fmt.Errorf("embedding NATS: %w", err)
	}
	embedded, err := server.NewServer(&server.Options{
		ServerName: "runwire", DontListen: true, JetStream: true, NoLog: true, NoSigs: true,
		JetStreamMaxMemory: embeddedMemory, JetStreamMaxStore: 1 << 20, StoreDir: dir, MaxPayload: 1 << 20,
	})
	if err != nil {
		return nil, fmt.Errorf("embedding NATS: %w", err)
	}
	embedded.Start()
	if !embedded.ReadyForConnections(10 * time.Second) {
		embedded.Shutdown()
		return nil, errors.New("embedding NATS: it does not start")
	}
	return embedded, nil
}

// writable makes a folder and says why no file can be made in it: the server
// itself would say nothing, and never be ready.
func writable(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making its folder: %w", err)
	}
	file, err := os.CreateTemp(dir, "_test_")
	if err != nil {
		return fmt.Errorf("writing to its folder: %w", err)
	}
	if err := errors.Join(file.Close(), os.Remove(file.Name())); err != nil {
		return fmt.Errorf("writing to its folder: %w", err)
	}
	return nil
}

// embeddedMemory bounds what waits in the embedded server, in bytes.
const embeddedMemory = 256 << 20

// connected wakes whoever waits for an answer of the connection before.
func (b *Bus) connected(conn *nats.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.reconnect)
	b.reconnect = make(chan struct{})
	if b.server == nil {
		b.log.Info("nats is there", slog.String("server", conn.ConnectedServerName()))
	}
}

// reconnection is closed when the connection was made anew.
func (b *Bus) reconnection() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reconnect
}

// Connected says whether NATS can be reached now, as far as is known.
func (b *Bus) Connected() bool { return b.conn.IsConnected() }

// Embedded says whether the server lives in this process, and dies with it.
func (b *Bus) Embedded() bool { return b.server != nil }

// JetStream is the connection's.
func (b *Bus) JetStream() jetstream.JetStream { return b.js }

// Renewed is signalled when NATS may have forgotten what was dispatched.
func (b *Bus) Renewed() <-chan struct{} { return b.renewed }

// Close ends the connection, and the server if it is embedded.
func (b *Bus) Close() {
	if b.conn != nil {
		b.conn.Close()
	}
	b.near.close()
	if b.server != nil {
		b.server.Shutdown()
		b.server.WaitForShutdown()
	}
	if b.temporary != "" {
		_ = os.RemoveAll(b.temporary) // it is in the system's folder for such
	}
}

// token makes a name fit to be a part of a subject. A name has no '='.
func token(name string) string { return strings.ReplaceAll(name, ".", "=") }

func subject(kind, tenant, task string) string {
	return "runwire." + kind + "." + token(tenant) + "." + token(task)
}
