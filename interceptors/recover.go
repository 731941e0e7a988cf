package interceptors

import (
	"context"
	"fmt"
	"runtime/debug"

	middleware "github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
)

// recovery makes a panic an INTERNAL error; its value and stack are for the log.
func recovery() pair {
	handler := middleware.WithRecoveryHandlerContext(func(ctx context.Context, value any) error {
		callFrom(ctx).stack = debug.Stack()
		return internalError(ctx, fmt.Errorf("panic: %v", value))
	})
	return pair{
		unary:  middleware.UnaryServerInterceptor(handler),
		stream: middleware.StreamServerInterceptor(handler),
	}
}
