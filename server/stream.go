package server

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"time"

	"github.com/runwire/runwire/agent"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/grpc"
)

// errStalled is the cause of a stream's end whose reader took nothing for too long.
var errStalled = errors.New("the client has stopped reading")

// sender writes a run's events to its stream from a goroutine of its own, so
// that deltas join while the client is slow and the run can end while the
// transport is blocked.
type sender struct {
	stream grpc.ServerStreamingServer[agentv1.StreamRunResponse]
	events *agent.Events
	cancel context.CancelCauseFunc
	done   chan error

	stall   time.Duration
	timer   *time.Timer
	stalled chan struct{}
	sending atomic.Int64 // when the present send began, in Unix nanoseconds; 0 when there is none
}

// startSender starts sending. cancel ends the run: with errStalled when the
// client takes nothing for stall, with the stream's error when it has gone.
func startSender(
	stream grpc.ServerStreamingServer[agentv1.StreamRunResponse], events *agent.Events,
	stall time.Duration, cancel context.CancelCauseFunc,
) *sender {
	s := &sender{
		stream: stream, events: events, cancel: cancel, stall: stall,
		done: make(chan error, 1), stalled: make(chan struct{}),
	}
	s.timer = time.AfterFunc(time.Hour, s.watch) // watch needs s.timer, so it must not fire yet
	s.timer.Reset(stall)
	go s.run()
	return s
}

func (s *sender) run() {
	err := s.send()
	if err != nil {
		s.cancel(err)
	}
	s.done <- err
}

func (s *sender) send() error {
	ctx := s.stream.Context()
	for {
		event, err := s.events.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		s.sending.Store(time.Now().UnixNano())
		if err := s.stream.Send(&agentv1.StreamRunResponse{Event: event}); err != nil {
			return err
		}
		s.sending.Store(0)
	}
}

// watch ends the stream if its present send has lasted for stall, and else
// looks again when it would have. So a token costs no timer of its own.
func (s *sender) watch() {
	if s.stream.Context().Err() != nil {
		return
	}
	began := s.sending.Load()
	if began == 0 {
		s.timer.Reset(s.stall)
		return
	}
	if left := s.stall - time.Since(time.Unix(0, began)); left > 0 {
		s.timer.Reset(left)
		return
	}
	close(s.stalled)
	s.cancel(errStalled)
}

// wait returns once all is sent, or cannot be. A blocked send is left behind:
// it returns as soon as the handler has.
func (s *sender) wait() error {
	defer s.timer.Stop()
	select {
	case err := <-s.done:
		return err
	case <-s.stalled:
		return errStalled
	}
}
