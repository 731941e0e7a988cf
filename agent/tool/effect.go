package tool

import "context"

// Effect says what may happen when a call is made a second time, because
// whoever made it first was interrupted.
type Effect string

// The effects.
const (
	// Pure: nothing changes, so it can be called again.
	Pure Effect = "pure"
	// Idempotent: a second call with the same CallKey changes nothing more.
	Idempotent Effect = "idempotent"
	// Once: it must not be called again; the model is told that the outcome is
	// unknown.
	Once Effect = "once"
)

type callKey struct{}

// WithCallKey gives a call a key that is the same on every try of it, and no
// other call's.
func WithCallKey(ctx context.Context, key string) context.Context {
	return context.WithValue(ctx, callKey{}, key)
}

// CallKey is the call's key, for an idempotent tool to pass on; empty when it
// was given none.
func CallKey(ctx context.Context) string {
	key, _ := ctx.Value(callKey{}).(string)
	return key
}
