package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/runwire/runwire/server"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// access is what it takes to be let in by a server.
type access struct {
	APIKey string `name:"api-key" help:"The server's API key." placeholder:"KEY"`

	TLS        bool   `name:"tls" help:"Talk to the server over TLS."`
	TLSCA      string `name:"tls-ca" help:"Trust these authorities instead of the system's, PEM. Implies --tls." placeholder:"FILE"`
	ClientCert string `help:"Certificate to show to the server, PEM. Implies --tls." placeholder:"FILE"`
	ClientKey  string `help:"The certificate's key, PEM." placeholder:"FILE"`
}

// remote says which server to talk to.
type remote struct {
	Server string `help:"Server to ask. Default: ${default}." default:"127.0.0.1:50051" placeholder:"HOST:PORT"`

	Access access `embed:""`
}

// connection says which server to talk to; none is one of its own, in memory.
type connection struct {
	Server string `help:"Server to ask. Without one the agent runs in this process, from --config." placeholder:"HOST:PORT"`

	Access access `embed:""`

	Config   string `help:"YAML file for running in this process." placeholder:"FILE"`
	LogLevel string `help:"Least level that this process logs: ${enum}." enum:"debug,info,warn,error,off" default:"off"`
}

// open returns a connection and what ends it.
func (c *connection) open(ctx context.Context, term terminal) (grpc.ClientConnInterface, func() error, error) {
	if c.Server == "" {
		return c.local(ctx, term)
	}
	conn, err := c.Access.dial(c.Server)
	if err != nil {
		return nil, nil, err
	}
	return conn, conn.Close, nil
}

// ask connects, has the server asked, and makes an exit code of what goes wrong.
func (r *remote) ask(ctx context.Context, term terminal, ask func(conn grpc.ClientConnInterface) error) error {
	conn, err := r.Access.dial(r.Server)
	if err != nil {
		return err
	}
	return errors.Join(outcome(ctx, term, ask(conn)), conn.Close())
}

func (c *connection) local(ctx context.Context, term terminal) (grpc.ClientConnInterface, func() error, error) {
	file, err := server.LoadFile(c.Config)
	if err != nil {
		return nil, nil, mistake{err}
	}
	local, err := server.StartLocal(ctx, file, newLog(term.err, c.LogLevel, format(term.err, "auto")))
	if err != nil {
		return nil, nil, err
	}
	return local.Conn(), local.Close, nil
}

// How a connection finds out that its server is gone, and that it is back.
const (
	pingInterval   = 30 * time.Second // a server allows one in 10 s
	pingTimeout    = 10 * time.Second
	connectTimeout = 5 * time.Second
	connectPause   = 3 * time.Second
)

// dial returns a connection, which connects when it is first used.
func (a *access) dial(address string) (*grpc.ClientConn, error) {
	transport, err := a.transport()
	if err != nil {
		return nil, mistake{fmt.Errorf("runwire: %w", err)}
	}
	pauses := backoff.DefaultConfig
	pauses.MaxDelay = connectPause
	conn, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(transport),
		grpc.WithPerRPCCredentials(apiKey(a.APIKey)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingInterval, Timeout: pingTimeout}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: pauses, MinConnectTimeout: connectTimeout}),
		grpc.WithUserAgent("runwire-cli"))
	if err != nil {
		return nil, mistake{fmt.Errorf("runwire: --server %q: %w", address, err)}
	}
	return conn, nil
}

// apiKey goes with every call; an empty one does not.
type apiKey string

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (k apiKey) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	if k == "" {
		return nil, nil //nolint:nilnil // there is nothing to send.
	}
	return map[string]string{"x-api-key": string(k)}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials. A server
// on loopback may be asked without TLS.
func (apiKey) RequireTransportSecurity() bool { return false }

func (a *access) transport() (credentials.TransportCredentials, error) {
	if !a.TLS && a.TLSCA == "" && a.ClientCert == "" {
		return insecure.NewCredentials(), nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if a.TLSCA != "" {
		pem, err := os.ReadFile(a.TLSCA)
		if err != nil {
			return nil, fmt.Errorf("--tls-ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--tls-ca: %s: %w", a.TLSCA, errNoCertificate)
		}
	}
	if a.ClientCert != "" {
		pair, err := tls.LoadX509KeyPair(a.ClientCert, a.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("--client-cert and --client-key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return credentials.NewTLS(config), nil
}

var errNoCertificate = errors.New("no certificate in it")
