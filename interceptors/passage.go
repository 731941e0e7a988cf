package interceptors

import (
	"context"
	"errors"
	"io"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// link is one concern of the chain.
type link struct {
	// when says which methods it concerns; nil is all.
	when func(method string) bool
	wrap wrap
}

// wrap encloses the rest of the call: it calls p.next, with the context that
// everything further in shall see, or ends the call without.
type wrap func(ctx context.Context, p *passage) error

// links is the chain, for unary and streaming calls alike. grpc's own chaining
// would make two closures a link a call; a goroutine's first stack would be too
// small for them, and every call would pay for a larger one.
type links []link

// unary implements grpc.UnaryServerInterceptor.
func (l links) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	p := &passage{links: l, method: info.FullMethod, request: req, unary: handler}
	defer p.end()
	err := p.next(ctx)
	return p.response, err
}

// stream implements grpc.StreamServerInterceptor.
func (l links) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	p := &passage{links: l, method: info.FullMethod, ServerStream: ss, service: srv, stream: handler}
	defer p.end()
	return p.next(ss.Context())
}

// passage is one call on its way through the chain. A streaming one is also
// the stream that the handler sees.
type passage struct {
	grpc.ServerStream // nil for a unary call

	links  links // those that it has not passed yet
	method string
	ctx    context.Context //nolint:containedctx // a grpc.ServerStream carries its context.
	ended  []func()        // what to do when the call has ended

	request, response any
	unary             grpc.UnaryHandler

	checks  []requestCheck // of each request of a stream
	service any
	stream  grpc.StreamHandler
}

// next goes on with the call. A link calls it once at most.
func (p *passage) next(ctx context.Context) (err error) {
	for len(p.links) > 0 {
		l := &p.links[0]
		p.links = p.links[1:]
		if l.when == nil || l.when(p.method) {
			return l.wrap(ctx, p)
		}
	}
	if p.ServerStream == nil {
		p.response, err = p.unary(ctx, p.request)
		return err
	}
	p.ctx = ctx
	return p.stream(p.service, p)
}

func (p *passage) end() {
	for _, done := range p.ended {
		done()
	}
}

// requestCheck looks at a request before the handler does. What it returns as
// done, unless nil, is called when the call has ended.
type requestCheck func(ctx context.Context, req any) (done func(), err error)

// onRequest is a link that looks at the request. A method that streams its
// requests has each of them looked at.
func onRequest(check requestCheck) wrap {
	return func(ctx context.Context, p *passage) error {
		if p.ServerStream != nil {
			p.checks = append(p.checks, check)
		} else if err := p.check(ctx, check, p.request); err != nil {
			return err
		}
		return p.next(ctx)
	}
}

func (p *passage) check(ctx context.Context, check requestCheck, req any) error {
	done, err := check(ctx, req)
	if done != nil {
		p.ended = append(p.ended, done)
	}
	return err
}

// Context returns the context with all that the links have put into it.
func (p *passage) Context() context.Context { return p.ctx }

// RecvMsg receives a request and has it checked.
func (p *passage) RecvMsg(req any) error {
	if err := p.ServerStream.RecvMsg(req); err != nil {
		return wireError(err)
	}
	for _, check := range p.checks {
		if err := p.check(p.ctx, check, req); err != nil {
			return err
		}
	}
	return nil
}

// SendMsg sends a response.
func (p *passage) SendMsg(resp any) error {
	err := p.ServerStream.SendMsg(resp)
	if err == nil {
		return nil
	}
	if !callerIsGone(err) {
		callFrom(p.ctx).cause = err
	}
	return wireError(err)
}

// wireError makes a stream's own failure one that may be told: grpc has told
// it by then, and has ended the stream's context. A caller that is gone is
// that and nothing else.
func wireError(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return err
	case callerIsGone(err):
		return contextError(err)
	default:
		return &Error{status: status.Convert(err)}
	}
}

func callerIsGone(err error) bool {
	return isContextError(err) || status.Code(err) == codes.Unavailable
}

func not(match func(string) bool) func(string) bool {
	return func(method string) bool { return !match(method) }
}

// service is the service's part of a full method name.
func service(method string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	return name
}
