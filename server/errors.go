package server

import (
	"errors"
	"fmt"
	"time"

	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/interceptors"
	"github.com/runwire/runwire/store"
	"github.com/runwire/runwire/tasks"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
)

// errShuttingDown is the cause with which calls end that outlast the drain.
var errShuttingDown = errors.New("the server is shutting down")

// When to come back to what has not said when.
const (
	// retryUnavailable is for a model's provider.
	retryUnavailable = 5 * time.Second
	// retryShuttingDown is for a server that is being replaced.
	retryShuttingDown = time.Second
	// retryDatabase is for a database that is gone or full.
	retryDatabase = 2 * time.Second
)

// errorRules says what callers are told of what handlers return, the first
// rule that matches first. What none matches is a bug: INTERNAL.
func errorRules() []interceptors.ErrorRule {
	return []interceptors.ErrorRule{
		as(func(unknown *agent.UnknownAgentError) *interceptors.Error {
			return interceptors.NotFound("agent", unknown.Name)
		}),
		as(func(missing *notFoundError) *interceptors.Error {
			return interceptors.NotFound(missing.kind, missing.name)
		}),
		as(func(wrong *agent.SchemaError) *interceptors.Error {
			return invalid("response_schema", wrong.Err.Error())
		}),
		as(func(wrong *tasks.WebhookError) *interceptors.Error {
			return invalid("webhook_url", wrong.Err.Error())
		}),
		as(func(wrong *tasks.PastEndError) *interceptors.Error {
			return invalid("after_sequence", wrong.Error())
		}),
		is(errShuttingDown, interceptors.Unavailable(errShuttingDown.Error(), retryShuttingDown)),
		is(errStalled, interceptors.Aborted("CLIENT_STALLED", errStalled.Error())),
		as(tooMuchSpent),
		is(store.ErrUnavailable, interceptors.Unavailable("the database is unavailable", retryDatabase)),
		as(func(unavailable *agent.UnavailableError) *interceptors.Error {
			return interceptors.Unavailable("no model answered", retryAfter(unavailable))
		}),
		as(func(needed *agent.ApprovalError) *interceptors.Error {
			return interceptors.FailedPrecondition("APPROVAL_NEEDED",
				fmt.Sprintf("the tool %q needs a person's approval: submit this as a task", needed.Calls[0].Name))
		}),
		is(store.ErrNotPending, interceptors.FailedPrecondition("APPROVAL_NOT_PENDING",
			"no such tool call of this task waits for a decision")),
		is(store.ErrFull, interceptors.FailedPrecondition("MEMORIES_FULL",
			"this user has as many memories as a user may have: delete some of them first")),
		is(store.ErrPageToken, invalid("page_token", "must be a next_page_token of the same method and filter")),
		is(store.ErrInvalid, invalid("", "a text in it cannot be kept, such as one with a NUL character")),
		is(store.ErrSessionBusy, interceptors.Aborted("SESSION_BUSY", "another run goes on in this session")),
		is(store.ErrIdempotencyConflict, interceptors.AlreadyExists("IDEMPOTENCY_KEY_REUSED",
			"this idempotency key was used with another request")),
		is(store.ErrExists, interceptors.AlreadyExists("ID_TAKEN", "this id is taken")),
		is(store.ErrClosed, interceptors.Unavailable(errShuttingDown.Error(), retryShuttingDown)),
	}
}

// is tells the same of every error that is target.
func is(target error, told *interceptors.Error) interceptors.ErrorRule {
	return func(err error) *interceptors.Error {
		if errors.Is(err, target) {
			return told
		}
		return nil
	}
}

// as tells something of every error of a type.
func as[E error](tell func(E) *interceptors.Error) interceptors.ErrorRule {
	return func(err error) *interceptors.Error {
		if found, ok := errors.AsType[E](err); ok {
			return tell(found)
		}
		return nil
	}
}

// tooMuchSpent says which spend limits leave too little, and until when.
func tooMuchSpent(spent *agent.SpentError) *interceptors.Error {
	violations := make([]*errdetails.QuotaFailure_Violation, len(spent.Limits))
	for i, limit := range spent.Limits {
		violations[i] = &errdetails.QuotaFailure_Violation{Subject: limit.Subject, Description: limit.Description}
	}
	return interceptors.ResourceExhausted(spent.Error(), spent.RetryAfter, violations...)
}

// invalid says what is wrong with one field of a request.
func invalid(field, description string) *interceptors.Error {
	return interceptors.InvalidArgument(&errdetails.BadRequest_FieldViolation{Field: field, Description: description})
}

// notFoundError is a thing that there is not, or not for this caller.
type notFoundError struct{ kind, name string }

// Error implements error.
func (e *notFoundError) Error() string { return fmt.Sprintf("no such %s: %q", e.kind, e.name) }

// named is err, and if the store has not found it, which thing that was.
func named(kind, name string, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return &notFoundError{kind: kind, name: name}
	}
	return err
}

// retryAfter is the provider's own word on when to come back, if it gave one.
func retryAfter(err error) time.Duration {
	if failed := (*model.Error)(nil); errors.As(err, &failed) && failed.RetryAfter > 0 {
		return failed.RetryAfter
	}
	return retryUnavailable
}
