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

// pair is one concern for both kinds of calls.
type pair struct {
	unary  grpc.UnaryServerInterceptor
	stream grpc.StreamServerInterceptor
}

// around makes the pair of a concern that encloses the call: wrap calls next,
// with the context that everything further in shall see, or does not.
func around(wrap func(ctx context.Context, method string, next func(context.Context) error) error) pair {
	return pair{
		unary: func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			var resp any
			err := wrap(ctx, info.FullMethod, func(ctx context.Context) (err error) {
				resp, err = handler(ctx, req)
				return err
			})
			return resp, err
		},
		stream: func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			s := chained(ss)
			return wrap(s.ctx, info.FullMethod, func(ctx context.Context) error {
				s.ctx = ctx
				return handler(srv, s)
			})
		},
	}
}

// requestCheck looks at a request before the handler does. Unless it refuses,
// it returns what to call when the call has ended.
type requestCheck func(ctx context.Context, req any) (done func(), err error)

// nothing is what there is to do for most checks when the call has ended.
func nothing() {}

// onRequest makes the pair of a concern that looks at the request. A method
// that streams its requests has each of them looked at.
func onRequest(check requestCheck) pair {
	return pair{
		unary: func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			done, err := check(ctx, req)
			if err != nil {
				return nil, err
			}
			defer done()
			return handler(ctx, req)
		},
		stream: func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			s := chained(ss)
			var ended []func()
			s.checks = append(s.checks, func(req any) error {
				done, err := check(s.ctx, req)
				if err == nil {
					ended = append(ended, done)
				}
				return err
			})
			defer func() {
				for _, done := range ended {
					done()
				}
			}()
			return handler(srv, s)
		},
	}
}

// when limits a pair to the methods that match.
func (p pair) when(match func(method string) bool) pair {
	return pair{
		unary: func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
			if !match(info.FullMethod) {
				return handler(ctx, req)
			}
			return p.unary(ctx, req, info, handler)
		},
		stream: func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
			if !match(info.FullMethod) {
				return handler(srv, ss)
			}
			return p.stream(srv, ss, info, handler)
		},
	}
}

func not(match func(string) bool) func(string) bool {
	return func(method string) bool { return !match(method) }
}

// service is the service's part of a full method name.
func service(method string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	return name
}

// chainedStream is a streaming call as the chain's inner links and the handler
// see it. All links share one, so that a message passes one wrapper, not seven.
type chainedStream struct {
	grpc.ServerStream

	ctx    context.Context //nolint:containedctx // a grpc.ServerStream carries its context.
	checks []func(req any) error
}

func chained(ss grpc.ServerStream) *chainedStream {
	if s, ok := ss.(*chainedStream); ok {
		return s
	}
	return &chainedStream{ServerStream: ss, ctx: ss.Context()}
}

// Context returns the context with all that the links have put into it.
func (s *chainedStream) Context() context.Context { return s.ctx }

// RecvMsg receives a request and has it checked.
func (s *chainedStream) RecvMsg(req any) error {
	if err := s.ServerStream.RecvMsg(req); err != nil {
		return wireError(err)
	}
	for _, check := range s.checks {
		if err := check(req); err != nil {
			return err
		}
	}
	return nil
}

// SendMsg sends a response.
func (s *chainedStream) SendMsg(resp any) error {
	err := s.ServerStream.SendMsg(resp)
	if err == nil {
		return nil
	}
	if !callerIsGone(err) {
		callFrom(s.ctx).cause = err
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
