package interceptors

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
)

// Limiter decides whether a user's run may begin. It must be safe for
// concurrent use.
type Limiter interface {
	// Acquire counts a run that begins. It returns what to call when the run
	// has ended, never nil; or a *LimitError, and then nothing was counted. Any
	// other error is a fault of the limiter, and the run does not begin.
	Acquire(ctx context.Context, tenant, user string) (release func(), err error)
}

// LimitError is a run refused for now.
type LimitError struct {
	// RetryAfter is when to come back: a run that is asked for exactly then
	// begins, unless others came in between.
	RetryAfter time.Duration
	// Exceeded are the limits in the way, at least one.
	Exceeded []ExceededLimit
}

// ExceededLimit is a limit that was reached.
type ExceededLimit struct {
	// Subject is whose limit it is: `user:ID` or `service`.
	Subject string
	// Description says what is allowed, in a few words for callers.
	Description string
}

// Error says which limit was reached, and until when.
func (e *LimitError) Error() string {
	return fmt.Sprintf("limit reached: %s; retry in %v", e.Exceeded[0].Description, e.RetryAfter)
}

// limit counts runs by tenant and user, and refuses those that are too many.
func limit(limiter Limiter) requestCheck {
	return func(ctx context.Context, req any) (func(), error) {
		from, ok := req.(userRequest)
		if limiter == nil || !ok {
			return nil, nil
		}
		caller, _ := Caller(ctx)
		release, err := limiter.Acquire(ctx, caller.Tenant, from.GetUserId())
		if err == nil {
			return release, nil
		}
		refused, ok := errors.AsType[*LimitError](err)
		if !ok {
			return nil, internalError(ctx, fmt.Errorf("asking the limiter: %w", err))
		}
		violations := make([]*errdetails.QuotaFailure_Violation, len(refused.Exceeded))
		for i, exceeded := range refused.Exceeded {
			violations[i] = &errdetails.QuotaFailure_Violation{Subject: exceeded.Subject, Description: exceeded.Description}
		}
		return nil, ResourceExhausted(refused.Error(), refused.RetryAfter, violations...)
	}
}
