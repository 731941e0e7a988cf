package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	// elderVersion is the last one of the protocol that begins with
	// `initialize`. There are servers that die of the question which newer
	// clients begin with, or never answer it, and some day there will be some
	// that do not know the elder one: attempts take turns.
	elderVersion = "2025-11-25"
	// endWithin bounds a session's polite end.
	endWithin = 6 * time.Second
	// restBetweenLists is the least time between two lists of a server that says
	// that it has changed, again and again.
	restBetweenLists = time.Second
	// maxTools and maxPages bound what a server may list.
	maxTools = 1_000
	maxPages = 100
)

var (
	errClosed = errors.New("the server closed the connection")
	errEnded  = errors.New("the session has ended")
	errBroken = errors.New("the session takes no more calls")
)

// wire is a transport whose other end can be got rid of.
type wire interface {
	mcp.Transport
	// stop ends what Connect has started, with time to end by itself, and
	// returns when it is gone. It may be called again.
	stop()
	// kill ends it at once.
	kill()
}

// session is one connection to a server, from its first message to its last.
type session struct {
	server *Server
	wire   wire
	client *mcp.ClientSession

	ctx    context.Context // done when the session is over
	cancel context.CancelCauseFunc

	calls   atomic.Int64  // in flight
	changed chan struct{} // the server says that its tools have changed
	doubted chan struct{} // a call has timed out, or failed as it should not
	broken  chan struct{} // closed: no call can be made any more
	breakUp func()        // closes broken

	listed []byte // the last list, as JSON
}

// open connects, within the server's bound, and publishes its tools.
func (s *Server) open(ctx context.Context, turn int) (*session, error) {
	x := &session{
		server:  s,
		wire:    s.dial(ctx),
		changed: make(chan struct{}, 1),
		doubted: make(chan struct{}, 1),
		broken:  make(chan struct{}),
	}
	x.breakUp = sync.OnceFunc(func() { close(x.broken) })
	x.ctx, x.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	bounded, cancel := context.WithTimeout(ctx, s.cfg.ConnectTimeout)
	defer cancel()
	err := x.connect(bounded, turn)
	if err == nil {
		s.line.up(x) // before anybody sees the tools
		err = x.refresh(bounded)
	}
	if err != nil {
		s.line.lost(x)
		x.end()
		return nil, err
	}
	info := x.client.InitializeResult()
	s.log.InfoContext(ctx, "mcp server connected",
		slog.Int("tools", len(s.Tools())), slog.String("protocol", info.ProtocolVersion))
	return x, nil
}

func (x *session) connect(ctx context.Context, turn int) error {
	client := mcp.NewClient(&mcp.Implementation{Name: "runwire", Version: x.server.cfg.Version}, &mcp.ClientOptions{
		Capabilities:           &mcp.ClientCapabilities{}, // it has nothing to offer to a server
		ToolListChangedHandler: func(context.Context, *mcp.ToolListChangedRequest) { signal(x.changed) },
	})
	options := &mcp.ClientSessionOptions{}
	if isProgram := x.server.cfg.URL == ""; isProgram == (turn%2 == 0) { // programs are the ones that die
		options.ProtocolVersion = elderVersion
	}
	type outcome struct {
		client *mcp.ClientSession
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		client, err := client.Connect(ctx, x.wire, options)
		done <- outcome{client, err}
	}()
	select {
	case got := <-done:
		x.client = got.client
		if got.err != nil {
			return fmt.Errorf("connecting: %w", got.err)
		}
		return nil
	case <-ctx.Done(): // which Connect need not heed
		x.wire.kill()
		select {
		case got := <-done:
			x.client = got.client
		case <-time.After(endWithin): // it is left behind
		}
		return fmt.Errorf("connecting: %w", context.Cause(ctx))
	}
}

// keep keeps the session and its tools fresh until ctx is done or the session
// is of no more use, and returns why.
func (x *session) keep(ctx context.Context) error {
	closed := make(chan error, 1)
	go func() { closed <- x.client.Wait() }()
	check := time.NewTicker(checkEvery)
	defer check.Stop()
	changed := x.changed
	var rested <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-closed:
			if err != nil {
				return fmt.Errorf("the connection broke: %w", err)
			}
			return errClosed
		case <-x.broken:
			return errBroken
		case <-rested:
			changed, rested = x.changed, nil
			continue
		case <-changed:
			changed, rested = nil, time.After(restBetweenLists)
		case <-x.doubted:
		case <-check.C:
			if x.calls.Load() > 0 { // it may be busy with them
				continue
			}
		}
		if err := x.ask(ctx); err != nil {
			return err
		}
		x.server.line.up(x) // from which a doubt may have taken it
	}
}

// ask refreshes the tools, for which the server has a bounded time.
func (x *session) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	return x.refresh(ctx)
}

// refresh publishes the server's tools if they have changed.
func (x *session) refresh(ctx context.Context) error {
	tools, err := x.list(ctx)
	if err != nil {
		return fmt.Errorf("listing the tools: %w", err)
	}
	listed, err := json.Marshal(tools)
	if err != nil {
		return fmt.Errorf("comparing the tools: %w", err)
	}
	if x.listed == nil || !bytes.Equal(listed, x.listed) {
		x.listed = listed
		offered := x.server.offered(ctx, tools)
		x.server.publish(offered)
		x.server.log.DebugContext(ctx, "mcp tools listed", slog.Int("listed", len(tools)), slog.Int("offered", len(offered)))
	}
	return nil
}

func (x *session) list(ctx context.Context) ([]*mcp.Tool, error) {
	if info := x.client.InitializeResult(); info.Capabilities == nil || info.Capabilities.Tools == nil {
		return nil, nil
	}
	var tools []*mcp.Tool
	params := &mcp.ListToolsParams{}
	for range maxPages {
		page, err := x.client.ListTools(ctx, params)
		if err != nil {
			return nil, err //nolint:wrapcheck // its only caller says so
		}
		tools = append(tools, page.Tools...)
		if page.NextCursor == "" || len(tools) > maxTools {
			break
		}
		params = &mcp.ListToolsParams{Cursor: page.NextCursor}
	}
	return tools, nil
}

// end ends the calls in flight, the session and the wire, and returns when all
// is gone.
func (x *session) end() {
	x.cancel(errEnded)
	if x.client != nil {
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			_ = x.client.Close() // it is over, whatever it says
		}()
		select {
		case <-closed:
		case <-time.After(endWithin):
			x.wire.kill()
			select {
			case <-closed:
			case <-time.After(endWithin): // it is left behind
			}
		}
	}
	x.wire.stop()
}

// signal leaves a message in a channel of one, unless there is one already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
