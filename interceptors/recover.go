package interceptors

import (
	"context"
	"fmt"
	"runtime/debug"
)

// recovery makes a panic an INTERNAL error; its value and stack are for the log.
func recovery(ctx context.Context, p *passage) (err error) {
	defer func() {
		if value := recover(); value != nil {
			callFrom(ctx).stack = debug.Stack()
			err = internalError(ctx, fmt.Errorf("panic: %v", value))
		}
	}()
	return p.next(ctx)
}
