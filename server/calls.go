package server

import (
	"context"
	"strings"
	"sync"

	"google.golang.org/grpc"
)

// calls counts the calls of agents' services that go on, so that a drain knows
// when nothing is left to wait for. Health and reflection do not count: their
// streams may stay open for as long as a client lives.
type calls struct {
	mu     sync.Mutex
	active int
	idle   chan struct{} // closed when active is 0; nil while nobody waits
}

// unary implements grpc.UnaryServerInterceptor.
func (c *calls) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if counts(info.FullMethod) {
		c.enter()
		defer c.leave()
	}
	return next(ctx, req)
}

// stream implements grpc.StreamServerInterceptor.
func (c *calls) stream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if counts(info.FullMethod) {
		c.enter()
		defer c.leave()
	}
	return next(srv, stream)
}

func counts(method string) bool { return strings.HasPrefix(method, "/agent.v1.") }

func (c *calls) enter() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active++
}

func (c *calls) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active--
	c.tell()
}

// ended is closed once no call goes on. It is asked for once.
func (c *calls) ended() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	idle := make(chan struct{})
	c.idle = idle
	c.tell()
	return idle
}

func (c *calls) tell() {
	if c.active == 0 && c.idle != nil {
		close(c.idle)
		c.idle = nil
	}
}
