package mcp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// pass lets time go by, in a bubble where nobody waits for it.
func pass(d time.Duration) { <-time.After(d) }

// memory is a wire to a server in this process.
type memory struct {
	server *mcp.Server

	mu  sync.Mutex
	end *mcp.ServerSession
}

func (m *memory) Connect(ctx context.Context) (mcp.Connection, error) {
	ours, theirs := mcp.NewInMemoryTransports()
	end, err := m.server.Connect(ctx, theirs, nil)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.end = end
	return ours.Connect(ctx)
}

func (m *memory) stop() { m.kill() }

func (m *memory) kill() {
	m.mu.Lock()
	end := m.end
	m.mu.Unlock()
	if end != nil {
		_ = end.Close()
	}
}

// dead is a wire that leads nowhere.
type dead struct{}

func (dead) Connect(context.Context) (mcp.Connection, error) {
	return nil, errors.New("nobody is there")
}
func (dead) stop() {}
func (dead) kill() {}

// listening is a server in memory with a tool that takes ten minutes. It tells
// how often it was asked for its tools, and answers until it is mute.
func listening(mute *atomic.Bool, asked *atomic.Int32) *mcp.Server {
	server := mcp.NewServer(&mcp.Implementation{Name: "memory"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "long"}, func(context.Context, *mcp.CallToolRequest, said) (*mcp.CallToolResult, any, error) {
		pass(10 * time.Minute)
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "at last"}}}, nil, nil
	})
	server.AddReceivingMiddleware(func(next mcp.MethodHandler) mcp.MethodHandler {
		return func(ctx context.Context, method string, request mcp.Request) (mcp.Result, error) {
			if method == "tools/list" {
				asked.Add(1)
				if mute.Load() {
					<-ctx.Done()
				}
			}
			return next(ctx, method, request)
		}
	})
	return server
}

// runIn runs a server in a bubble of time until what it is for is done.
func runIn(t *testing.T, dial func() wire, do func(*Server, *journal)) {
	t.Helper()
	log := newJournal()
	s, err := New(Config{Name: "fake", Command: []string{"unused"}, Timeout: time.Hour, Log: slog.New(log)})
	if err != nil {
		t.Fatal(err)
	}
	s.dial = func(context.Context) wire { return dial() }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	<-s.Settled()
	do(s, log)
	cancel()
	<-done
}

func TestASilentServerIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mute atomic.Bool
		var asked atomic.Int32
		var dials atomic.Int32
		runIn(t, func() wire {
			dials.Add(1)
			mute.Store(false)
			return &memory{server: listening(&mute, &asked)}
		}, func(s *Server, log *journal) {
			began := time.Now()
			mute.Store(true)
			from := log.await(t, 0, "mcp server lost", "deadline exceeded")
			if took := time.Since(began); took != checkEvery+answerWithin {
				t.Errorf("it is given up after %s", took)
			}
			if len(s.Tools()) != 1 {
				t.Error("its tools are gone before it was tried again")
			}
			log.await(t, from, "mcp server connected")
			if took := time.Since(began); dials.Load() != 2 || took > checkEvery+answerWithin+endWithin {
				t.Errorf("it is back after %s and %d attempts", took, dials.Load())
			}
		})
	})
}

func TestABusyServerIsNotAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mute atomic.Bool
		var asked atomic.Int32
		runIn(t, func() wire { return &memory{server: listening(&mute, &asked)} }, func(s *Server, log *journal) {
			mute.Store(true)
			if got := mustCall(t, s, "fake.long", `{"text": ""}`); got != "at last" {
				t.Errorf("it says %q", got)
			}
			if strings.Contains(log.String(), "lost") {
				t.Errorf("it was given up:\n%s", log)
			}
			mute.Store(false)
		})
	})
}

func TestADeadServerIsAskedLessAndLess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var dials atomic.Int32
		runIn(t, func() wire { dials.Add(1); return dead{} }, func(*Server, *journal) {
			pass(time.Minute)
			first := dials.Load()
			pass(time.Hour)
			if rest := dials.Load() - first; first < 6 || first > 12 || rest < 60 || rest > 120 {
				t.Errorf("it was tried %d times in a minute and %d times in the next hour", first, rest)
			}
		})
	})
}

// One that comes up and dies again and again is down most of the time.
func TestAServerThatDiesAgainAndAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mute atomic.Bool
		var asked atomic.Int32
		var dials atomic.Int32
		runIn(t, func() wire {
			dials.Add(1)
			m := &memory{server: listening(&mute, &asked)}
			time.AfterFunc(time.Second, m.kill)
			return m
		}, func(*Server, *journal) {
			pass(time.Hour)
			if got := dials.Load(); got < 60 || got > 150 {
				t.Errorf("it was tried %d times in an hour", got)
			}
		})
	})
}

func TestAServerThatChangesAllTheTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mute atomic.Bool
		var asked atomic.Int32
		server := listening(&mute, &asked)
		runIn(t, func() wire { return &memory{server: server} }, func(s *Server, _ *journal) {
			before := asked.Load()
			for i := range 100 {
				mcp.AddTool(server, &mcp.Tool{Name: fmt.Sprintf("tool-%d", i)}, func(context.Context, *mcp.CallToolRequest, said) (*mcp.CallToolResult, any, error) {
					return nil, nil, nil
				})
				pass(100 * time.Millisecond)
			}
			pass(2 * restBetweenLists)
			if got := len(s.Tools()); got != 101 {
				t.Errorf("there are %d tools", got)
			}
			if times := asked.Load() - before; times > 15 {
				t.Errorf("it was asked %d times in 10 s", times)
			}
		})
	})
}
