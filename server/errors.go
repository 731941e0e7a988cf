package server

import (
	"errors"
	"time"

	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/interceptors"
)

// errShuttingDown is the cause with which calls end that outlast the drain.
var errShuttingDown = errors.New("the server is shutting down")

// retryUnavailable is when to come back to a provider that has not said when.
const retryUnavailable = 5 * time.Second

// retryShuttingDown is when to come back to a server that is being replaced.
const retryShuttingDown = time.Second

// errorRules says what callers are told of what handlers return, the first
// rule that matches first. What none matches is a bug: INTERNAL.
func errorRules() []interceptors.ErrorRule {
	return []interceptors.ErrorRule{
		func(err error) *interceptors.Error {
			if unknown := (*agent.UnknownAgentError)(nil); errors.As(err, &unknown) {
				return interceptors.NotFound("agent", unknown.Name)
			}
			return nil
		},
		func(err error) *interceptors.Error {
			if errors.Is(err, errShuttingDown) {
				return interceptors.Unavailable(errShuttingDown.Error(), retryShuttingDown)
			}
			return nil
		},
		func(err error) *interceptors.Error {
			if errors.Is(err, errStalled) {
				return interceptors.Aborted("CLIENT_STALLED", errStalled.Error())
			}
			return nil
		},
		func(err error) *interceptors.Error {
			if unavailable := (*agent.UnavailableError)(nil); errors.As(err, &unavailable) {
				return interceptors.Unavailable("no model answered", retryAfter(unavailable))
			}
			return nil
		},
	}
}

// retryAfter is the provider's own word on when to come back, if it gave one.
func retryAfter(err error) time.Duration {
	if failed := (*model.Error)(nil); errors.As(err, &failed) && failed.RetryAfter > 0 {
		return failed.RetryAfter
	}
	return retryUnavailable
}
