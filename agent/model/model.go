// Package model is what the loop asks for a reply: one interface, one file a
// provider, and what each model's tokens cost. It must not know of runs,
// budgets, tools' code, gRPC or storage.
package model

import (
	"context"
	"encoding/json"
)

// Model answers a conversation. Safe for concurrent use.
type Model interface {
	// Name is how a configuration and the price table write it:
	// `provider/model`, or the provider alone where it has but one.
	Name() string

	// Generate asks for one reply and pushes each piece to speak as it
	// arrives, from the calling goroutine. speak may block while the reader is
	// slow, until ctx is done.
	//
	// It returns when the reply is whole; a stream that breaks off before that
	// is an error, never a reply. Every error is an *Error, or ctx's. With an
	// error, Reply.Usage is still what the try has used as far as known, and
	// Reply.ToolCalls is empty.
	Generate(ctx context.Context, req *Request, speak func(Delta)) (Reply, error)

	// InputTokens is the most that req may be billed for as input, in tokens.
	InputTokens(req *Request) int64
}

// Request is one question to a model. A model must not change or keep it.
type Request struct {
	// System is the system prompt; may be empty.
	System string
	// Messages is the conversation, oldest first; never empty. Requests of one
	// run only ever append to it, so that providers can cache the prefix.
	Messages []Message
	// Tools may be called by the model, always in the same order.
	Tools []Tool
	// AnswerSchema is a JSON Schema that the answer is to fit; nil for none. The
	// system prompt says so as well: a model sees to it as far as it can, and
	// whoever asks it checks.
	AnswerSchema json.RawMessage
	// MaxOutputTokens bounds the reply, reasoning included; always positive.
	MaxOutputTokens int64
}

// Role is who said a message.
type Role string

// The roles of a conversation. The system prompt has a field of its own.
const (
	RoleUser      Role = "user"
	RoleAssistant Role = "assistant"
	RoleTool      Role = "tool"
)

// Message is one turn of a conversation.
type Message struct {
	Role Role `json:"role"`
	// Text is what was said, or a tool's output.
	Text string `json:"text,omitempty"`
	// Notes goes before the Text of a user's message, in the same message, and is
	// nothing that the user has said now; may be empty.
	Notes string `json:"notes,omitempty"`
	// ToolCalls are what an assistant's message asked for.
	ToolCalls []ToolCall `json:"tool_calls,omitempty"`
	// ToolCallID says which call a tool's message answers.
	ToolCallID string `json:"tool_call_id,omitempty"`
	// Opaque is the Reply.Opaque that an assistant's message came with; may be nil.
	Opaque json.RawMessage `json:"opaque,omitempty"`
}

// ToolCall is a model's wish to call a tool.
type ToolCall struct {
	// ID pairs the call with the message that answers it; unique in a reply.
	ID string `json:"id"`
	// Name is the tool's.
	Name string `json:"name"`
	// Arguments is what the model wrote: a JSON object, if it kept to the schema.
	Arguments string `json:"arguments"`
}

// AgentPrefix begins the names of tools that are agents.
const AgentPrefix = "agent."

// Tool tells a model what it may call.
type Tool struct {
	Name        string
	Description string
	// Parameters is a JSON Schema of type object.
	Parameters json.RawMessage
}

// Delta is a piece of a reply: Text of the answer or Reasoning before it,
// never both and never neither.
type Delta struct {
	Text      string
	Reasoning string
}

// Stop is why a model ended its reply.
type Stop string

// Why a reply ended.
const (
	// StopEnd: the answer is complete.
	StopEnd Stop = "stop"
	// StopToolCalls: the model waits for its tool calls' outputs.
	StopToolCalls Stop = "tool_calls"
	// StopLength: MaxOutputTokens, the context window or another bound of the
	// provider's was reached.
	StopLength Stop = "length"
	// StopContentFilter: the provider withheld the rest.
	StopContentFilter Stop = "content_filter"
)

// Reply is what came of a question beside the deltas, whose texts concatenate
// to what the model said.
type Reply struct {
	// ToolCalls is empty unless Stop is StopToolCalls.
	ToolCalls []ToolCall `json:"tool_calls,omitempty"`
	Stop      Stop       `json:"stop"`
	Usage     Usage      `json:"usage"`
	// Opaque is what the provider wants back, unchanged, with the message that
	// holds ToolCalls: the signed reasoning before them, for one. It is JSON, only
	// the model that made it reads it, and leaving it out costs that model its
	// train of thought. nil where there is nothing of the kind.
	Opaque json.RawMessage `json:"opaque,omitempty"`
	// ResponseModel is the model the provider says answered; may be empty.
	ResponseModel string `json:"response_model,omitempty"`
	// ResponseID is the provider's id of the reply; may be empty.
	ResponseID string `json:"response_id,omitempty"`
}

// Usage is the tokens of one call, retries included. The zero value means that nothing was billed.
type Usage struct {
	// InputTokens includes CachedInputTokens and CacheWriteTokens, whatever the
	// provider's own way of counting.
	InputTokens       int64 `json:"input_tokens"`
	CachedInputTokens int64 `json:"cached_input_tokens,omitempty"`
	CacheWriteTokens  int64 `json:"cache_write_tokens,omitempty"`
	// OutputTokens includes reasoning.
	OutputTokens int64 `json:"output_tokens"`
	// Estimated says that the provider did not tell all of it, and the rest is our count.
	Estimated bool `json:"estimated,omitempty"`
}

// possible refuses what cannot be, so that no server's slip becomes a bill:
// then our own count stands.
func (u Usage) possible() bool {
	const most = 1 << 30
	return u.InputTokens > 0 && u.InputTokens <= most && u.OutputTokens >= 0 && u.OutputTokens <= most &&
		u.CachedInputTokens >= 0 && u.CachedInputTokens <= u.InputTokens &&
		u.CacheWriteTokens >= 0 && u.CacheWriteTokens <= u.InputTokens-u.CachedInputTokens
}
