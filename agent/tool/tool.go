// Package tool is what a model may call: a definition, a function, and the
// bounds every call keeps (schema, time, panics). It must not know of models,
// runs, gRPC or storage.
package tool

import (
	"context"
	"encoding/json"
	"time"
)

// Definition describes a tool.
type Definition struct {
	// Name is what a model and a configuration call it.
	Name string
	// Description tells the model when to call it.
	Description string
	// Parameters is a JSON Schema of type object; calls that do not fit it are refused.
	Parameters json.RawMessage
	// Timeout bounds one call; 0 is DefaultTimeout.
	Timeout time.Duration
	// Effect is what a second call may do; Once when empty, which is safe.
	Effect Effect
	// RequiresApproval says that a person must agree to a call before it is made.
	// Whoever makes the calls sees to it: Call does not.
	RequiresApproval bool
}

// Func does a tool's work. Its error's text is told to the model and shown to
// the caller, so it must hold no secret and no internal address.
type Func func(ctx context.Context, arguments json.RawMessage) (string, error)

// ErrorType sorts the failures of tool calls.
type ErrorType string

// The types of failure.
const (
	// UnknownTool: the model asked for a tool that the agent does not have.
	UnknownTool ErrorType = "unknown_tool"
	// InvalidArguments: the arguments are no JSON or do not fit the schema.
	InvalidArguments ErrorType = "invalid_arguments"
	// Timeout: the call took longer than the tool's bound.
	Timeout ErrorType = "timeout"
	// Cancelled: the run ended before the call did.
	Cancelled ErrorType = "cancelled"
	// Panicked: the tool's code has a bug.
	Panicked ErrorType = "panic"
	// Failed: the tool itself reported an error.
	Failed ErrorType = "failed"
)
