package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/runwire/runwire/config"
)

// Config is what a server is made of. Start from DefaultConfig: a zero field
// means what its comment says, not the default.
type Config struct {
	// Listen is the gRPC server's address, `host:port`; port 0 is a free one.
	Listen string
	// HTTPListen is the address of `/healthz`, `/readyz` and `/metrics`, which
	// ask nobody for a key; empty opens none.
	HTTPListen string

	// File is what the configuration file says; nil is the built-in configuration.
	File *config.File
	// APIKey is one more key, in the clear, that may do everything for the
	// tenant `default`; empty is none.
	APIKey string
	// InsecureNoAuth serves everyone on any address when there is no key.
	InsecureNoAuth bool

	// Role is what this process does: RoleAll, RoleAPI or RoleWorker.
	Role Role
	// Workers is how many tasks run at once in this process; positive, unless
	// Role is RoleAPI.
	Workers int
	// DataDir is where SQLite and the embedded NATS are, for one process alone.
	DataDir string
	// DatabaseURL is PostgreSQL's; empty is SQLite.
	DatabaseURL string
	// NATSURL is a cluster's, `nats://a,b,c`; empty embeds one.
	NATSURL string
	// Retention is how long finished tasks are kept; positive.
	Retention time.Duration

	// RateLimit is how many runs a user may start in RateWindow; 0 is any
	// number. What the file says of users' requests and window wins.
	RateLimit  int
	RateWindow time.Duration

	// DrainTimeout is how long running calls may go on once the server is told
	// to stop; 0 ends them at once.
	DrainTimeout time.Duration
	// StallTimeout is how long a client may take nothing of its stream before
	// the stream is cut off; positive.
	StallTimeout time.Duration

	// TLSCert and TLSKey are PEM files; both or neither. They are followed
	// while the server runs, so a renewed certificate needs no restart.
	TLSCert string
	TLSKey  string
	// TLSClientCA is a PEM file; clients must then show a certificate that one
	// of its authorities has signed. Empty asks for none.
	TLSClientCA string

	// LogContent writes prompts and answers to the log.
	LogContent bool
	// Log takes the log; nil is none.
	Log *slog.Logger
}

// Role is what a process does.
type Role string

// The roles.
const (
	// RoleAll serves calls and runs tasks.
	RoleAll Role = "all"
	// RoleAPI serves calls.
	RoleAPI Role = "api"
	// RoleWorker runs tasks, and serves health alone.
	RoleWorker Role = "worker"
)

// DefaultConfig is the configuration of a server that is told nothing.
func DefaultConfig() Config {
	return Config{
		Listen:       "127.0.0.1:50051",
		HTTPListen:   "127.0.0.1:8080",
		Role:         RoleAll,
		Workers:      2,
		DataDir:      "./data",
		Retention:    7 * 24 * time.Hour,
		RateLimit:    10,
		RateWindow:   time.Minute,
		DrainTimeout: 30 * time.Second,
		StallTimeout: 30 * time.Second,
	}
}

// validate reports every mistake there is.
func (c *Config) validate() error {
	var errs []error
	refuse := func(wrong bool, problem string) {
		if wrong {
			errs = append(errs, errors.New(problem))
		}
	}
	refuse(c.RateLimit < 0, "rate limit: must not be negative; 0 is unlimited")
	refuse(c.RateLimit > 0 && c.RateWindow <= 0, "rate window: must be positive")
	refuse(c.Role != RoleAll && c.Role != RoleAPI && c.Role != RoleWorker, "role: must be all, api or worker")
	refuse(c.Role != RoleAPI && c.Workers <= 0, "workers: must be positive")
	refuse(c.Retention <= 0, "retention: must be positive")
	refuse(c.DatabaseURL == "" && c.DataDir == "", "data dir: is needed where no database URL is given")
	refuse(c.DatabaseURL == "" && (c.Role == RoleAPI || c.Role == RoleWorker), "role: without a database URL there is one process, which does all")
	refuse(c.DrainTimeout < 0, "drain timeout: must not be negative")
	refuse(c.StallTimeout <= 0, "stall timeout: must be positive")
	refuse((c.TLSCert == "") != (c.TLSKey == ""), "tls: a certificate and its key are needed, or neither")
	refuse(c.TLSClientCA != "" && c.TLSCert == "", "tls: a client CA needs a certificate and its key")
	return errors.Join(errs...)
}

// fill puts in what nil stands for.
func (c *Config) fill() (err error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.File == nil {
		c.File, err = LoadFile("")
	}
	return err
}

// longestCall is how long a call may take by what is configured.
func (c *Config) longestCall() time.Duration {
	var longest time.Duration
	for _, a := range c.File.Agents {
		longest = max(longest, a.Timeout)
	}
	return longest + c.StallTimeout
}

func (c *Config) hasKeys() bool {
	return c.APIKey != "" || len(c.File.Keys) > 0
}

// resolve returns where to listen for calls. Without a key it must be loopback.
func (c *Config) resolve() (*net.TCPAddr, error) {
	addr, err := net.ResolveTCPAddr("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", c.Listen, err)
	}
	if addr.IP.IsLoopback() || c.hasKeys() || c.InsecureNoAuth {
		return addr, nil
	}
	return nil, fmt.Errorf("listen on %q: without API keys only loopback is served, such as 127.0.0.1:50051; "+
		"configure keys (`runwire keys new` makes one) or, to serve everyone who can reach it, say --insecure-no-auth", c.Listen)
}
