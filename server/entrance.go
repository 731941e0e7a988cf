package server

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// entrance lends a TCP listener to one server. Close takes it back and leaves
// it open for the next: to the server that serves, then, while that one
// drains, to the one that refuses. So a caller who comes late is answered, not
// turned away by the operating system.
//
// The connections are the listener's own: grpc-go keeps no buffer for an idle
// connection if it is a *net.TCPConn.
type entrance struct {
	*net.TCPListener

	accepting sync.Mutex // held while Accept waits
	closed    atomic.Bool
}

// Accept implements net.Listener.
func (e *entrance) Accept() (net.Conn, error) {
	e.accepting.Lock()
	defer e.accepting.Unlock()
	if e.closed.Load() {
		return nil, net.ErrClosed
	}
	conn, err := e.TCPListener.Accept()
	if err != nil && e.closed.Load() {
		return nil, errors.Join(net.ErrClosed, err)
	}
	return conn, err
}

// Close implements net.Listener. After it Accept takes no connection away from
// the next server.
func (e *entrance) Close() error {
	if e.closed.Swap(true) {
		return nil
	}
	if err := e.SetDeadline(time.Unix(1, 0)); err != nil {
		return fmt.Errorf("stop accepting connections: %w", err)
	}
	e.accepting.Lock() // Accept has returned
	defer e.accepting.Unlock()
	if err := e.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("hand over the port: %w", err)
	}
	return nil
}
