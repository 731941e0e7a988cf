package server

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// What one connection may ask of the server.
const (
	// maxRequest is the size of the largest request in bytes: a message of
	// 10,000 characters is at most 40,000, the rest is room to grow.
	maxRequest = 256 << 10
	// maxMetadata is the size of a call's metadata in bytes, uncompressed.
	maxMetadata = 64 << 10
	// maxStreams is how many calls may run at once on one connection.
	maxStreams = 1000
	// handshakeTimeout is when a connection that has not spoken HTTP/2 is closed;
	// until then it holds up grpc-go's stopping.
	handshakeTimeout = 5 * time.Second
	// maxAge is when a connection is told to go, with a tenth more or less; its
	// client opens another. So load spreads over new replicas, and what a client
	// never reads is not kept for ever.
	maxAge = 30 * time.Minute
	// minPing is how often a client may ping; one that pings more is told to
	// calm down and disconnected.
	minPing = 10 * time.Second
)

// transportOptions bound what a connection may cost, however it behaves. A call
// that goes on when its connection's age is over has finish to end.
func transportOptions(tls *certs, age, finish time.Duration) []grpc.ServerOption {
	options := []grpc.ServerOption{
		grpc.MaxHeaderListSize(maxMetadata),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle:     15 * time.Minute,
			MaxConnectionAge:      age,
			MaxConnectionAgeGrace: finish,
			Time:                  time.Minute, // a silent connection is asked whether it lives
			Timeout:               20 * time.Second,
		}),
		grpc.WaitForHandlers(true),
		grpc.NumStreamWorkers(64),
	}
	if tls != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(tls.serverConfig())))
	}
	return options
}
