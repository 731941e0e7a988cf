package model

import (
	"fmt"
	"time"
)

// ErrorKind sorts a model's failures by what can be done about them.
type ErrorKind string

// The kinds of failure.
const (
	// KindUnavailable: the provider could not be reached, was overloaded, or
	// answered 5xx, after the provider's own retries. Another model may do.
	KindUnavailable ErrorKind = "unavailable"
	// KindRateLimited: the provider's own limit, after retries. Another model may do.
	KindRateLimited ErrorKind = "rate_limited"
	// KindTimeout: nothing came for longer than the provider's timeout. Another model may do.
	KindTimeout ErrorKind = "timeout"
	// KindBroken: the reply broke off, or was not of the published shape.
	KindBroken ErrorKind = "broken"
	// KindRejected: the provider refused the request itself (bad key, unknown
	// model, too long a conversation). Trying again cannot help; another model may.
	KindRejected ErrorKind = "rejected"
)

// Error is a failed model call.
type Error struct {
	Kind ErrorKind
	// Model is the name of the model that failed.
	Model string
	// RetryAfter is when the provider asked to be tried again; 0 when it did not say.
	RetryAfter time.Duration
	// Err is the cause, for the log. It may quote the provider, and never a key.
	Err error
}

// Error says which model failed, how and why. It is for the log, not for callers.
func (e *Error) Error() string {
	return fmt.Sprintf("model %s: %s: %v", e.Model, e.Kind, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }
