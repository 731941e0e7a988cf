// Package server puts the parts together: ports, TLS, health, the chain of
// interceptors, the services, and how they all end. It must not know how an
// agent runs, nor what its callers look like.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/runwire/runwire/interceptors"
)

// Server serves agents on a gRPC port and operators on an HTTP port.
type Server struct {
	cfg   Config
	log   *slog.Logger
	ready atomic.Bool

	listener *net.TCPListener
	certs    *certs // nil without TLS
	core     *core

	httpListener net.Listener // nil when there is none
	http         *http.Server

	opened closers
}

// New opens all that a server needs: its ports are bound, and it serves once
// Run is called. Run also closes what New has opened, so it must be called,
// if only with a context that has ended. On an error nothing is left open; a
// wrong configuration is reported with every mistake in it.
func New(ctx context.Context, cfg Config) (*Server, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	if user := limits(cfg).PerUser; user.Requests > 0 && user.Length <= 0 {
		return nil, errors.New("rate window: must be positive, for the file limits users' requests")
	}
	s := &Server{cfg: cfg, log: cfg.Log.With(slog.String("logger", "runwire.server"))}
	go interceptors.Prepare() // while other things are opened
	for _, open := range []func(context.Context) error{s.openListener, s.openCerts, s.openCore, s.openHTTP} {
		if err := open(ctx); err != nil {
			return nil, errors.Join(err, s.opened.close())
		}
	}
	return s, nil
}

// Addr is where calls are served.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// HTTPAddr is where `/healthz`, `/readyz` and `/metrics` are served; nil when
// they are not.
func (s *Server) HTTPAddr() net.Addr {
	if s.httpListener == nil {
		return nil
	}
	return s.httpListener.Addr()
}

// Run serves until ctx ends, then drains and closes everything: health and
// `/readyz` say so first, new calls get UNAVAILABLE, running ones get
// DrainTimeout and are then ended with UNAVAILABLE. It returns nil once all is
// done, and an error if a port broke or something would not end. It is called
// once.
func (s *Server) Run(ctx context.Context) error {
	broken := make(chan error, 2)
	door := &entrance{TCPListener: s.listener}
	go func() { broken <- s.core.grpc.Serve(door) }()
	if s.http != nil {
		go func() { broken <- s.http.Serve(s.httpListener) }()
	}
	s.core.serving()
	s.ready.Store(true)
	s.logServing(ctx)

	var err error
	select {
	case <-ctx.Done():
	case err = <-broken:
		err = fmt.Errorf("serve: %w", err)
	}
	return errors.Join(err, s.drain(context.WithoutCancel(ctx), door), s.opened.close())
}

func (s *Server) logServing(ctx context.Context) {
	attrs := []slog.Attr{slog.String("grpc", s.Addr().String()), slog.Bool("tls", s.certs != nil)}
	if s.httpListener != nil {
		attrs = append(attrs, slog.String("http", s.HTTPAddr().String()))
	}
	s.log.LogAttrs(ctx, slog.LevelInfo, "serving", attrs...)
}

func (s *Server) openListener(ctx context.Context) error {
	addr, err := s.cfg.resolve()
	if err != nil {
		return err
	}
	opened, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr.String())
	if err != nil {
		return fmt.Errorf("listen on %q: %w", s.cfg.Listen, err)
	}
	listener, ok := opened.(*net.TCPListener)
	if !ok {
		return errors.Join(fmt.Errorf("listen on %q: not TCP", s.cfg.Listen), opened.Close())
	}
	s.listener = listener
	s.opened.add(func() error { return closeListener(listener) })
	return nil
}

func (s *Server) openCerts(context.Context) (err error) {
	if s.cfg.TLSCert != "" {
		s.certs, err = openCerts(s.cfg.TLSCert, s.cfg.TLSKey, s.cfg.TLSClientCA, s.log)
	}
	return err
}

func (s *Server) openCore(ctx context.Context) (err error) {
	s.core, err = openCore(ctx, s.cfg, transportOptions(s.certs, maxAge, s.cfg.longestCall()), true) //nolint:contextcheck // a handshake has its own.
	if err == nil {
		s.opened.add(func() error { return s.core.close(context.WithoutCancel(ctx)) })
	}
	return err
}

func (s *Server) openHTTP(ctx context.Context) error {
	if s.cfg.HTTPListen == "" {
		return nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.cfg.HTTPListen)
	if err != nil {
		return fmt.Errorf("listen on %q for HTTP: %w", s.cfg.HTTPListen, err)
	}
	s.httpListener = listener
	s.http = newHTTPServer(&s.ready, s.core.telemetry.MetricsHandler)
	s.http.ErrorLog = slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)
	s.opened.add(func() error { return closeListener(listener) }, s.http.Close)
	return nil
}

// closers are closed in reverse.
type closers []func() error

func (c *closers) add(closer ...func() error) { *c = append(*c, closer...) }

func (c *closers) close() error {
	var errs []error
	for _, closer := range slices.Backward(*c) {
		errs = append(errs, closer())
	}
	*c = nil
	return errors.Join(errs...)
}

// closeListener closes l, which whoever served it may have done already.
func closeListener(l net.Listener) error {
	if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close a port: %w", err)
	}
	return nil
}
