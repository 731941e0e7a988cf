package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/runwire/runwire/server"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// connection says which server to talk to; none is one of its own, in memory.
type connection struct {
	Server string `help:"Server to ask. Without one the agent runs in this process, from --config." placeholder:"HOST:PORT"`
	APIKey string `name:"api-key" help:"The server's API key." placeholder:"KEY"`

	TLS        bool   `name:"tls" help:"Talk to the server over TLS."`
	TLSCA      string `name:"tls-ca" help:"Trust these authorities instead of the system's, PEM. Implies --tls." placeholder:"FILE"`
	ClientCert string `help:"Certificate to show to the server, PEM. Implies --tls." placeholder:"FILE"`
	ClientKey  string `help:"The certificate's key, PEM." placeholder:"FILE"`

	Config   string `help:"YAML file for running in this process." placeholder:"FILE"`
	LogLevel string `help:"Least level that this process logs: ${enum}." enum:"debug,info,warn,error,off" default:"off"`
}

// open returns a connection and what ends it.
func (c *connection) open(ctx context.Context, term terminal) (grpc.ClientConnInterface, func() error, error) {
	if c.Server == "" {
		return c.local(ctx, term)
	}
	transport, err := c.transport()
	if err != nil {
		return nil, nil, mistake{fmt.Errorf("runwire: %w", err)}
	}
	conn, err := grpc.NewClient(c.Server,
		grpc.WithTransportCredentials(transport),
		grpc.WithStreamInterceptor(c.identify),
		grpc.WithUserAgent("runwire-cli"))
	if err != nil {
		return nil, nil, mistake{fmt.Errorf("runwire: --server %q: %w", c.Server, err)}
	}
	return conn, conn.Close, nil
}

func (c *connection) local(ctx context.Context, term terminal) (grpc.ClientConnInterface, func() error, error) {
	file, err := server.LoadFile(c.Config)
	if err != nil {
		return nil, nil, mistake{err}
	}
	local, err := server.StartLocal(ctx, file, newLog(term.err, c.LogLevel, "auto"))
	if err != nil {
		return nil, nil, err
	}
	return local.Conn(), local.Close, nil
}

// identify adds the API key to a call.
func (c *connection) identify(
	ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string,
	streamer grpc.Streamer, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	if c.APIKey != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "x-api-key", c.APIKey)
	}
	return streamer(ctx, desc, conn, method, opts...)
}

func (c *connection) transport() (credentials.TransportCredentials, error) {
	if !c.TLS && c.TLSCA == "" && c.ClientCert == "" {
		return insecure.NewCredentials(), nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLSCA != "" {
		pem, err := os.ReadFile(c.TLSCA)
		if err != nil {
			return nil, fmt.Errorf("--tls-ca: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--tls-ca: %s: %w", c.TLSCA, errNoCertificate)
		}
	}
	if c.ClientCert != "" {
		pair, err := tls.LoadX509KeyPair(c.ClientCert, c.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("--client-cert and --client-key: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return credentials.NewTLS(config), nil
}

var errNoCertificate = errors.New("no certificate in it")
