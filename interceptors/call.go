package interceptors

import (
	"context"
	"slices"
)

// DefaultTenant is the tenant of a key that names none, and of everybody where
// no key is configured.
const DefaultTenant = "default"

// Scope is something that a key may do. No scope contains another.
type Scope string

// The scopes.
const (
	// ScopeRun allows running agents.
	ScopeRun Scope = "run"
	// ScopeTasks allows tasks.
	ScopeTasks Scope = "tasks"
	// ScopeAdmin allows what is neither.
	ScopeAdmin Scope = "admin"

	scopeAny Scope = "" // any valid key will do
)

// Identity is who calls.
type Identity struct {
	// Tenant is whose data the caller sees; never empty.
	Tenant string
	// Key is the API key's name; empty where no key is configured.
	Key string
	// Scopes are what the caller may do.
	Scopes []Scope
}

func (id Identity) may(scope Scope) bool {
	return scope == scopeAny || slices.Contains(id.Scopes, scope)
}

// call is what becomes known of a call while it passes the chain. It belongs to
// the call's goroutine.
type call struct {
	identity *Identity // nil until the caller is known
	user     string
	runID    string
	agent    string
	cause    error  // what is behind the status and not told to the caller
	stack    []byte // of a panic
}

type callKey struct{}

// callFrom returns the context's call, and outside the chain one that nobody reads.
func callFrom(ctx context.Context) *call {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c
	}
	return &call{}
}

// Caller returns who calls, and false where the method asks for no key, such as
// health, and outside a call.
func Caller(ctx context.Context) (Identity, bool) {
	if id := callFrom(ctx).identity; id != nil {
		return *id, true
	}
	return Identity{}, false
}

// SetRun tells the chain which run the call has begun, for its log line and for
// an INTERNAL error's details. Only the handler's own goroutine may call it;
// outside a call it does nothing.
func SetRun(ctx context.Context, runID, agent string) {
	c := callFrom(ctx)
	c.runID, c.agent = runID, agent
}
