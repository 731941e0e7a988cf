package interceptors

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ErrorRule says what callers are told of one kind of error; nil means that err
// is not of that kind.
type ErrorRule func(err error) *Error

// translation makes handlers' errors into what callers may know.
func translation(rules []ErrorRule) wrap {
	return func(ctx context.Context, p *passage) error {
		if err := p.next(ctx); err != nil {
			return translate(ctx, rules, err)
		}
		return nil
	}
}

// translate returns an *Error for any error. A status that was not made here
// comes from a library: its words were not meant for callers, and its code is
// about another call.
func translate(ctx context.Context, rules []ErrorRule, err error) error {
	if told, ok := errors.AsType[*Error](err); ok {
		return told
	}
	for _, rule := range rules {
		if told := rule(err); told != nil {
			callFrom(ctx).cause = err
			return told
		}
	}
	if isContextError(err) {
		return contextError(err)
	}
	return internalError(ctx, err)
}

func isContextError(err error) bool {
	code := status.Code(err)
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		code == codes.Canceled || code == codes.DeadlineExceeded
}

// contextError tells a caller that it went away, or that its time is up.
func contextError(err error) *Error {
	if errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded {
		return newError(codes.DeadlineExceeded, "the call's deadline has passed")
	}
	return newError(codes.Canceled, "the call was cancelled")
}

// internalError keeps the cause for the call's log line and tells the caller
// the run's id, by which it can be found.
func internalError(ctx context.Context, cause error) *Error {
	c := callFrom(ctx)
	c.cause = cause
	return Internal(c.runID)
}
