package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/runwire/runwire/config"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
)

// localBuffer is how many bytes may be on their way in each direction.
const localBuffer = 64 << 10

// toolsWithin is how long a local server waits for MCP servers: its only run
// has the tools that are there when it begins.
const toolsWithin = 15 * time.Second

// Local is a server in this process's memory, for its only client. It opens no
// port, asks for no key and limits nobody.
type Local struct {
	core *core
	conn *grpc.ClientConn
	done chan error
}

// StartLocal serves the agents of file until Close. A nil log is none.
func StartLocal(ctx context.Context, file *config.File, log *slog.Logger) (*Local, error) {
	cfg := DefaultConfig()
	cfg.File = &config.File{
		Agents: file.Agents, Providers: file.Providers, Prices: file.Prices,
		MCPServers: file.MCPServers, HTTPGet: file.HTTPGet,
	}
	cfg.RateLimit = 0
	cfg.StallTimeout = 24 * time.Hour // its reader may be a pager
	cfg.Log = log
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	core, err := openCore(ctx, cfg, nil, false)
	if err != nil {
		return nil, err
	}
	core.tools.settle(ctx, toolsWithin)
	pipe := bufconn.Listen(localBuffer)
	conn, err := grpc.NewClient("passthrough:///local",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return pipe.DialContext(ctx) }))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connect to the server in memory: %w", err), core.close(ctx))
	}
	l := &Local{core: core, conn: conn, done: make(chan error, 1)}
	go func() { l.done <- core.grpc.Serve(pipe) }()
	core.serving()
	return l, nil
}

// Conn is the client's connection. Close closes it.
func (l *Local) Conn() *grpc.ClientConn { return l.conn }

// Close ends what runs and returns when all is gone.
func (l *Local) Close() error {
	return errors.Join(l.conn.Close(), l.core.close(context.Background()), <-l.done)
}
