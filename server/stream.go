package server

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

// errStalled is the cause of a stream's end whose reader took nothing for too long.
var errStalled = errors.New("the client has stopped reading")

// send puts one event on a stream.
type send func(*agentv1.RunEvent) error

// sender writes events to a stream from a goroutine of its own, so that what
// makes them can go on, or end, while the transport is blocked.
type sender struct {
	ctx    context.Context // the stream's
	write  send
	cancel context.CancelCauseFunc
	done   chan error

	stall   time.Duration
	timer   *time.Timer
	stalled chan struct{}
	sending atomic.Int64 // when the present send began, in Unix nanoseconds; 0 when there is none
}

// startSender starts work, which sends until it returns. cancel ends whatever
// makes the events: with errStalled when the client takes nothing for stall,
// with work's error when the client has gone.
func startSender(
	stream context.Context, write send, stall time.Duration, cancel context.CancelCauseFunc, work func(send) error,
) *sender {
	s := &sender{
		ctx: stream, write: write, cancel: cancel, stall: stall,
		done: make(chan error, 1), stalled: make(chan struct{}),
	}
	s.timer = time.AfterFunc(time.Hour, s.watch) // watch needs s.timer, so it must not fire yet
	s.timer.Reset(stall)
	go func() {
		err := work(s.send)
		if err != nil {
			cancel(err)
		}
		s.done <- err
	}()
	return s
}

func (s *sender) send(event *agentv1.RunEvent) error {
	s.sending.Store(time.Now().UnixNano())
	if err := s.write(event); err != nil {
		return err
	}
	s.sending.Store(0)
	return nil
}

// watch ends the stream if its present send has lasted for stall, and else
// looks again when it would have. So a token costs no timer of its own.
func (s *sender) watch() {
	if s.ctx.Err() != nil {
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
