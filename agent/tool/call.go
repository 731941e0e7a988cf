package tool

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"runtime/debug"
	"slices"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
)

// What every call is held to.
const (
	// DefaultTimeout bounds a call of a tool that names no bound of its own.
	DefaultTimeout = 30 * time.Second
	// MaxArguments is how long a call's arguments may be, in bytes.
	MaxArguments = 1 << 20
	// MaxOutput is how long an answer may be, in bytes. A longer one is cut, and
	// ends with a note that says so.
	MaxOutput = 256 << 10
	// MaxMessage is how long an error's Message may be, in bytes. A longer one
	// loses its middle.
	MaxMessage = 2 << 10
)

var namePattern = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,64}$`)

// Tool is a tool that can be called. Make one with New. Safe for concurrent
// use if its Func is.
type Tool struct {
	definition Definition
	schema     *jsonschema.Resolved
	work       Func
}

// New makes a tool that calls fn, and compiles its schema. It refuses a name
// that is not 1 to 64 letters, digits, `_`, `.` or `-`; a nil fn; a negative
// timeout; and parameters that are not a JSON Schema (draft-07 or 2020-12) of
// type object, refer to anything outside of themselves, or refer to themselves
// in a circle.
func New(def Definition, fn Func) (*Tool, error) {
	switch {
	case !namePattern.MatchString(def.Name):
		return nil, fmt.Errorf("tool %q: a name has 1 to 64 letters, digits, '_', '.' or '-'", def.Name)
	case fn == nil:
		return nil, fmt.Errorf("tool %q: it has no function", def.Name)
	case def.Timeout < 0:
		return nil, fmt.Errorf("tool %q: its timeout is negative: %s", def.Name, def.Timeout)
	case def.Timeout == 0:
		def.Timeout = DefaultTimeout
	}
	def.Effect = cmp.Or(def.Effect, Once)
	schema, err := compile(def.Parameters)
	if err != nil {
		return nil, fmt.Errorf("tool %q: parameters: %w", def.Name, err)
	}
	def.Parameters = slices.Clone(def.Parameters)
	return &Tool{definition: def, schema: schema, work: fn}, nil
}

// Definition is what the tool was made from, its timeout filled in. Its
// Parameters must not be changed.
func (t *Tool) Definition() Definition { return t.definition }

// Refusal is how Call would refuse arguments without running the tool; nil if
// they fit.
func (t *Tool) Refusal(arguments string) *Error {
	_, refusal := checkArguments(t.schema, arguments)
	if refusal == "" {
		return nil
	}
	return &Error{Type: InvalidArguments, Message: boundMessage(refusal)}
}

// Call checks arguments, a JSON object, against the schema and runs the tool;
// none at all mean `{}`. It returns when the tool has answered, when the tool's
// timeout is over, or when ctx is done, whichever is first: a tool that does
// not heed its context is left behind and what it answers later is dropped.
// A tool that panics has failed, and harms nothing else.
//
// The answer is valid UTF-8 of at most MaxOutput bytes. Every error is an *Error.
func (t *Tool) Call(ctx context.Context, arguments string) (string, error) {
	timeout := &Error{Type: Timeout, Message: fmt.Sprintf("the tool took longer than %s", t.definition.Timeout)}
	ctx, cancel := context.WithTimeoutCause(ctx, t.definition.Timeout, timeout)
	defer cancel()
	if ctx.Err() != nil {
		return "", interrupted(ctx, timeout, nil)
	}
	done := make(chan outcome, 1) // room for the answer of a tool that is left behind
	go t.run(ctx, arguments, timeout, done)
	select {
	case result := <-done:
		if result.failure != nil {
			return "", result.failure
		}
		return result.output, nil
	case <-ctx.Done():
		return "", interrupted(ctx, timeout, nil)
	}
}

type outcome struct {
	output  string
	failure *Error
}

// run always puts one outcome into done, also when the tool panics or ends its
// goroutine.
func (t *Tool) run(ctx context.Context, arguments string, timeout *Error, done chan<- outcome) {
	result := outcome{failure: panicked(errors.New("the tool ended its goroutine"))}
	defer func() {
		if value := recover(); value != nil {
			result = outcome{failure: panicked(fmt.Errorf("panic: %v\n%s", value, debug.Stack()))}
		}
		done <- result
	}()
	result = t.answer(ctx, arguments, timeout)
}

func (t *Tool) answer(ctx context.Context, arguments string, timeout *Error) outcome {
	checked, refusal := checkArguments(t.schema, arguments)
	if refusal != "" {
		return outcome{failure: &Error{Type: InvalidArguments, Message: boundMessage(refusal)}}
	}
	output, err := t.work(ctx, json.RawMessage(checked))
	switch {
	case err == nil:
		return outcome{output: BoundOutput(output)}
	case ctx.Err() != nil:
		return outcome{failure: interrupted(ctx, timeout, err)}
	default:
		return outcome{failure: &Error{Type: Failed, Message: boundMessage(err.Error()), Err: err}}
	}
}

// interrupted tells the tool's own timeout from an end of the run. Each call
// has a timeout error of its own, since a call may happen within another's.
func interrupted(ctx context.Context, timeout *Error, cause error) *Error {
	if errors.Is(context.Cause(ctx), timeout) {
		return &Error{Type: Timeout, Message: timeout.Message, Err: cause}
	}
	if cause == nil {
		cause = context.Cause(ctx)
	}
	return &Error{Type: Cancelled, Message: "the run ended before the tool did", Err: cause}
}

func panicked(cause error) *Error {
	return &Error{Type: Panicked, Message: "the tool has a bug", Err: cause}
}
