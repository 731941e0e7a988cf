package server

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/runwire/runwire/interceptors"
	"google.golang.org/grpc"
)

// How long each step of the end may take after the drain.
const (
	// endTimeout is how long calls have to say that they were ended.
	endTimeout = 2 * time.Second
	// stopTimeout is how long handlers and connections have to be gone.
	stopTimeout = handshakeTimeout + time.Second
)

// drain ends the serving of calls, politely first.
//
// Connections that serve are told to go (GOAWAY), so that a client behind a
// load balancer moves on to another replica without an error. Whoever comes
// back to this one is answered by a server of its own: UNAVAILABLE with a
// delay, and health that says NOT_SERVING.
func (s *Server) drain(ctx context.Context, door *entrance) error {
	s.ready.Store(false)
	s.core.health.Shutdown()

	err := door.Close()
	late := s.lateServer()                     //nolint:contextcheck // a handshake has its own.
	go func() { _ = late.Serve(s.listener) }() // its callers are refused either way
	tasksEnd := make(chan error, 1)
	go func() { tasksEnd <- s.core.drain() }()
	s.log.InfoContext(ctx, "draining", slog.String("timeout", s.cfg.DrainTimeout.String()))
	gone := make(chan struct{})
	go func() {
		s.core.grpc.GracefulStop()
		close(gone)
	}()

	if !s.finishCalls(gone) {
		s.log.WarnContext(ctx, "drain timeout is over, calls are ended")
	}
	s.core.calls.end(errShuttingDown)
	happens(gone, endTimeout) // a stream of health or reflection stays until its client leaves
	return errors.Join(err, stop(s.core.grpc, late), <-tasksEnd)
}

// settling is how long a call may be on its way in after its connection was
// told to go: the client had not heard of that yet.
const settling = 200 * time.Millisecond

// finishCalls waits until no call goes on and none is on its way in, and
// returns whether that was so within the drain timeout.
func (s *Server) finishCalls(gone <-chan struct{}) bool {
	until := time.Now().Add(s.cfg.DrainTimeout)
	if !happens(s.core.calls.ended(), s.cfg.DrainTimeout) {
		return false
	}
	return happens(gone, min(settling, time.Until(until))) || happens(s.core.calls.ended(), time.Until(until))
}

// lateServer answers those who come while the server drains.
func (s *Server) lateServer() *grpc.Server {
	refused := interceptors.Unavailable(errShuttingDown.Error(), retryShuttingDown)
	late := grpc.NewServer(append(transportOptions(s.certs, maxAge, s.cfg.longestCall()),
		grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error { return refused }))...)
	s.core.registerHealth(late)
	return late
}

// stop closes what is still open and waits for the handlers.
func stop(servers ...*grpc.Server) error {
	var stopping sync.WaitGroup
	for _, server := range servers {
		stopping.Go(server.Stop)
	}
	stopped := make(chan struct{})
	go func() {
		stopping.Wait()
		close(stopped)
	}()
	if !happens(stopped, stopTimeout) {
		return errors.New("stop: a call would not end")
	}
	return nil
}

// happens waits for an event, and returns whether it came in time.
func happens(event <-chan struct{}, within time.Duration) bool {
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-event:
		return true
	case <-timer.C:
		return false
	}
}
