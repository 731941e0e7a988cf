// Package mcp has tools that a server of the Model Context Protocol offers: it
// stays connected to the server, and makes each of its tools a tool.Tool. It
// must not know of models, runs or configuration files.
package mcp

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/runwire/runwire/agent/tool"
)

const (
	// DefaultConnectTimeout bounds the time from the start of a server until
	// its tools are known. A package that has to be fetched takes a while.
	DefaultConnectTimeout = time.Minute
	// leastPause and mostPause bound the time between two attempts to connect.
	leastPause = 500 * time.Millisecond
	mostPause  = time.Minute
	// steadyAfter is how long a session must have lasted for the next attempt
	// to follow at once: a server that dies again and again is down.
	steadyAfter = 10 * time.Second
	// checkEvery is how often a server that is not busy is asked for its tools,
	// which tells that it is there, and what it has forgotten to announce.
	checkEvery = time.Minute
	// answerWithin bounds that question.
	answerWithin = 15 * time.Second
	// comesBackWithin is how long a call waits for a server that has just gone.
	comesBackWithin = 5 * time.Second
)

// Config says where a server is. Either Command or URL is given.
type Config struct {
	// Name is what its tools' names begin with: 1 to 32 letters, digits, '_' or '-'.
	Name string
	// Command is a program and its arguments, which speaks over its standard
	// input and output.
	Command []string
	// Env is what the program's environment has besides what every program
	// needs (PATH, HOME and the like): of this process's own it sees no more.
	Env map[string]string
	// URL is where a server speaks over streamable HTTP.
	URL string
	// Headers are sent with each request to URL, and to no other host.
	Headers map[string]string
	// Rules are what is known of its tools; the first that matches counts.
	Rules []Rule
	// Timeout bounds a call of a tool whose rule says nothing else; 0 is
	// tool.DefaultTimeout.
	Timeout time.Duration
	// ConnectTimeout bounds an attempt to connect; 0 is DefaultConnectTimeout.
	ConnectTimeout time.Duration
	// Version is this program's, which servers are told; may be empty.
	Version string
	// Log takes what operators must know; nil is none.
	Log *slog.Logger
}

// Rule says what is known of the tools whose names match.
type Rule struct {
	// Pattern is compared with a tool's name as the server has it; `*` stands
	// for any characters.
	Pattern string
	// Effect is the tool's; when empty, what its annotations say, and Once where
	// they say nothing.
	Effect tool.Effect
	// RequiresApproval says that a person must agree to each call.
	RequiresApproval bool
	// Timeout bounds a call; 0 is the server's.
	Timeout time.Duration
}

// Server is a server's tools. While Run runs it stays connected to it. Safe for
// concurrent use.
type Server struct {
	cfg     Config
	log     *slog.Logger
	tools   atomic.Pointer[[]*tool.Tool]
	line    line
	dial    func(context.Context) wire
	once    sync.Once
	settled chan struct{}
}

var _ tool.Source = (*Server)(nil)

var namePattern = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,32}$`)

// New makes a Server that knows no tools until Run has connected to it. It
// refuses a configuration that can never work.
func New(cfg Config) (*Server, error) {
	switch {
	case !namePattern.MatchString(cfg.Name):
		return nil, fmt.Errorf("mcp server %q: a name has 1 to 32 letters, digits, '_' or '-'", cfg.Name)
	case (len(cfg.Command) > 0) == (cfg.URL != ""):
		return nil, fmt.Errorf("mcp server %q: wants either a command or a URL", cfg.Name)
	case cfg.Timeout < 0 || cfg.ConnectTimeout < 0:
		return nil, fmt.Errorf("mcp server %q: a timeout is negative", cfg.Name)
	}
	for _, rule := range cfg.Rules {
		if _, err := path.Match(rule.Pattern, ""); err != nil {
			return nil, fmt.Errorf("mcp server %q: rule %q: %w", cfg.Name, rule.Pattern, err)
		}
		if rule.Timeout < 0 {
			return nil, fmt.Errorf("mcp server %q: rule %q: its timeout is negative", cfg.Name, rule.Pattern)
		}
	}
	cfg.Timeout = cmp.Or(cfg.Timeout, tool.DefaultTimeout)
	cfg.ConnectTimeout = cmp.Or(cfg.ConnectTimeout, DefaultConnectTimeout)
	s := &Server{
		cfg:     cfg,
		log:     cmp.Or(cfg.Log, slog.New(slog.DiscardHandler)).With(slog.String("mcp_server", cfg.Name)),
		settled: make(chan struct{}),
		line:    line{changed: make(chan struct{})},
	}
	s.dial = s.newWire
	s.tools.Store(new([]*tool.Tool))
	return s, nil
}

// Name is the server's.
func (s *Server) Name() string { return s.cfg.Name }

// Tools are those that the server offers, sorted by name. There are none while
// it is down, which it is when an attempt to connect to it has failed; a tool
// of a server that has only just gone waits a moment for it to come back.
func (s *Server) Tools() []*tool.Tool { return *s.tools.Load() }

// Find is the tool of that name, for which it waits a moment if the server has
// just gone or is yet to come.
func (s *Server) Find(ctx context.Context, name string) (*tool.Tool, error) {
	if s.line.wait(ctx) == nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, s.notConnected()
	}
	tools := s.Tools()
	at := slices.IndexFunc(tools, func(t *tool.Tool) bool { return t.Definition().Name == name })
	if at < 0 {
		return nil, nil //nolint:nilnil // it has none of this name
	}
	return tools[at], nil
}

// notConnected is what a model is told of a call then.
func (s *Server) notConnected() error {
	return fmt.Errorf("the server %q is not connected; the call was not made", s.cfg.Name)
}

// Settled is closed once Run's first attempt to connect has ended, either way.
func (s *Server) Settled() <-chan struct{} { return s.settled }

// Run stays connected until ctx is done: it connects, and connects again
// whenever the server dies, its session breaks or it no longer answers, with
// growing pauses while that fails. Then it ends the session and the program,
// and returns nil. It is called once.
func (s *Server) Run(ctx context.Context) error {
	defer s.settle()
	var failures, turn int
	for ctx.Err() == nil {
		lasted, err := s.attempt(ctx, turn)
		if ctx.Err() != nil {
			break
		}
		if lasted == 0 {
			turn++
		}
		if lasted >= steadyAfter {
			failures = 0
		}
		failures++
		if lasted > 0 && failures == 1 {
			s.log.WarnContext(ctx, "mcp server lost; connecting again", slog.Any("error", err))
			continue
		}
		s.pause(ctx, failures, err)
	}
	s.drop()
	return nil
}

// pause says that the server is down, and waits until it is time to try again.
func (s *Server) pause(ctx context.Context, failures int, err error) {
	wait := pauseAfter(failures)
	level := slog.LevelDebug
	if s.line.down() { // and was not before
		level = slog.LevelWarn
	}
	s.publish(nil)
	s.log.Log(ctx, level, "mcp server is down", slog.Any("error", err), slog.Duration("retry_after", wait))
	select {
	case <-ctx.Done():
	case <-time.After(wait):
	}
}

// attempt connects, and stays connected as long as that goes well. It returns
// how long that was, and why it ended.
func (s *Server) attempt(ctx context.Context, turn int) (lasted time.Duration, err error) {
	x, err := s.open(ctx, turn)
	if err != nil {
		s.settle()
		return 0, err
	}
	s.settle()
	began := time.Now()
	err = x.keep(ctx)
	s.line.lost(x)
	x.end()
	return time.Since(began), err
}

func (s *Server) settle() { s.once.Do(func() { close(s.settled) }) }

func (s *Server) publish(tools []*tool.Tool) { s.tools.Store(&tools) }

// drop says that there is no server, and no use in waiting for it.
func (s *Server) drop() {
	s.publish(nil)
	s.line.down()
}

// pauseAfter is the time until the next attempt, after one failure or more, half
// of it chance.
func pauseAfter(failures int) time.Duration {
	const doublings = 7 // of leastPause pass mostPause
	pause := min(leastPause<<min(failures-1, doublings), mostPause)
	return pause/2 + rand.N(pause/2)
}
