package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/runwire/runwire/server"
	"github.com/runwire/runwire/telemetry"
)

// serveCommand has a field for each flag; its defaults are server.DefaultConfig's.
type serveCommand struct {
	Config     string `help:"YAML file with agents, providers, keys, limits and prices. Without one the built-in agent 'default' is served." placeholder:"FILE"`
	Listen     string `help:"Address of the gRPC server. Without API keys it must be loopback. Default: ${default}." default:"127.0.0.1:50051" placeholder:"HOST:PORT"`
	HTTPListen string `name:"http-listen" help:"Address of /healthz, /readyz and /metrics, which need no key; 'off' opens none. Default: ${default}." default:"127.0.0.1:8080" placeholder:"HOST:PORT"`

	Role        string        `help:"What this process does: ${enum}. 'api' serves calls, 'worker' runs tasks." enum:"all,api,worker" default:"all"`
	Workers     int           `help:"Tasks that run at once in this process." default:"2"`
	DataDir     string        `help:"Folder of the embedded database, for one process alone. Default: ${default}." default:"./data" placeholder:"DIR"`
	DatabaseURL string        `name:"database-url" help:"PostgreSQL instead of the embedded database, shared by all processes." placeholder:"postgres://…"`
	NATSURL     string        `name:"nats-url" help:"A NATS cluster instead of the embedded one, shared by all processes." placeholder:"nats://a,b,c"`
	Retention   time.Duration `help:"How long finished tasks and their events are kept. Default: ${default}." default:"168h"`

	RateLimit  int           `help:"Runs that a user may start in the rate window; 0 is any number. The file's limits win." default:"10"`
	RateWindow time.Duration `help:"How long a started run counts." default:"60s"`

	DrainTimeout time.Duration `help:"How long running calls may go on after SIGTERM. A second signal ends the process at once." default:"30s"`
	StallTimeout time.Duration `help:"When a stream is cut off whose client takes nothing of it." default:"30s"`

	TLSCert     string `name:"tls-cert" help:"Certificate, PEM. A replaced file is used without a restart." placeholder:"FILE"`
	TLSKey      string `name:"tls-key" help:"The certificate's key, PEM." placeholder:"FILE"`
	TLSClientCA string `name:"tls-client-ca" help:"Asks clients for a certificate that one of these authorities has signed, PEM." placeholder:"FILE"`

	InsecureNoAuth bool `help:"Serve everyone on any address when no API key is configured."`
	LogContent     bool `help:"Write prompts and answers to the log."`

	LogLevel  string `help:"Least level that is logged: ${enum}." enum:"debug,info,warn,error,off" default:"info"`
	LogFormat string `help:"Format of the log: ${enum}; auto is text on a terminal, else json." enum:"auto,json,text" default:"auto"`
}

// ballast is how many bytes of the heap are never touched. They take address
// space and no memory, and let a busy server with little in use collect its
// garbage five times a second instead of fifty.
const ballast = 32 << 20

// Run serves until ctx ends and all is drained.
func (c *serveCommand) Run(ctx context.Context, term terminal) error {
	defer runtime.KeepAlive(make([]byte, ballast))
	cfg, err := c.config()
	if err != nil {
		return err
	}
	lines := telemetry.Gather(term.err)
	defer func() { _ = lines.Close() }() // to whom could it be told?
	cfg.Log = newLog(lines, c.LogLevel, format(term.err, c.LogFormat))
	s, err := server.New(ctx, cfg)
	if err != nil {
		return mistake{fmt.Errorf("runwire: %w", err)}
	}
	return s.Run(ctx)
}

func (c *serveCommand) config() (server.Config, error) {
	file, err := server.LoadFile(c.Config)
	if err != nil {
		return server.Config{}, mistake{err}
	}
	cfg := server.Config{
		Listen:         c.Listen,
		HTTPListen:     c.HTTPListen,
		File:           file,
		APIKey:         strings.TrimSpace(os.Getenv("RUNWIRE_API_KEY")), // a mounted secret ends in a line end
		InsecureNoAuth: c.InsecureNoAuth,
		Role:           server.Role(c.Role),
		Workers:        c.Workers,
		DataDir:        c.DataDir,
		DatabaseURL:    c.DatabaseURL,
		NATSURL:        c.NATSURL,
		Retention:      c.Retention,
		RateLimit:      c.RateLimit,
		RateWindow:     c.RateWindow,
		DrainTimeout:   c.DrainTimeout,
		StallTimeout:   c.StallTimeout,
		TLSCert:        c.TLSCert,
		TLSKey:         c.TLSKey,
		TLSClientCA:    c.TLSClientCA,
		LogContent:     c.LogContent,
	}
	if cfg.HTTPListen == "off" {
		cfg.HTTPListen = ""
	}
	return cfg, nil
}

// format is the log's format on w.
func format(w io.Writer, asked string) string {
	if file, ok := w.(*os.File); ok && asked == "auto" {
		return telemetry.DefaultFormat(file)
	}
	return asked
}

// newLog writes to w; at level `off` nothing does.
func newLog(w io.Writer, level, format string) *slog.Logger {
	if level == "off" {
		return slog.New(slog.DiscardHandler)
	}
	var least slog.Level
	_ = least.UnmarshalText([]byte(level)) // the flag allows only what it knows
	return telemetry.NewLogger(w, format, least)
}
