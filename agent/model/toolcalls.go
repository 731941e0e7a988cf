package model

import (
	"crypto/rand"
	"encoding/json"
	"slices"
	"strings"
)

// openAIToolCall is a piece of a tool call: its beginning, which names it, or
// more of its arguments. Index says which call; compatible servers leave it
// out, repeat it, or send each call in one piece.
type openAIToolCall struct {
	Index    *int   `json:"index"`
	ID       string `json:"id"`
	Function struct {
		Name      string `json:"name"`
		Arguments string `json:"arguments"`
	} `json:"function"`
}

// toolCalls puts a reply's tool calls together.
type toolCalls struct{ begun []*partialToolCall }

type partialToolCall struct {
	index     *int
	id, name  string
	arguments []byte
}

func (c *toolCalls) add(piece *openAIToolCall) {
	call := c.of(piece)
	if call == nil {
		call = &partialToolCall{index: piece.Index, id: piece.ID, name: piece.Function.Name}
		c.begun = append(c.begun, call)
	}
	if call.id == "" {
		call.id = piece.ID
	}
	if call.name == "" {
		call.name = piece.Function.Name
	}
	call.arguments = append(call.arguments, piece.Function.Arguments...)
}

// of is the latest call that piece continues; nil if it begins one.
func (c *toolCalls) of(piece *openAIToolCall) *partialToolCall {
	for _, call := range slices.Backward(c.begun) {
		if call.continuedBy(piece) {
			return call
		}
	}
	return nil
}

func (p *partialToolCall) continuedBy(piece *openAIToolCall) bool {
	if p.index != nil && piece.Index != nil && *p.index != *piece.Index {
		return false
	}
	if p.id != "" && piece.ID != "" {
		return p.id == piece.ID
	}
	// Nothing tells them apart but this: a name after whole arguments is another call's.
	return piece.Function.Name == "" || p.name == "" || !json.Valid(p.arguments)
}

// whole is the calls in the order they began. Ids that are missing or taken
// are made, and no arguments at all are an empty object.
func (c *toolCalls) whole(names *wireNames) []ToolCall {
	calls := make([]ToolCall, 0, len(c.begun))
	for _, partial := range c.begun {
		call := ToolCall{ID: partial.id, Name: names.ours(partial.name), Arguments: string(partial.arguments)}
		taken := func(other ToolCall) bool { return other.ID == call.ID }
		if call.ID == "" || slices.ContainsFunc(calls, taken) {
			call.ID = "call_" + rand.Text()
		}
		if call.Arguments == "" {
			call.Arguments = "{}"
		}
		calls = append(calls, call)
	}
	return calls
}

// tokens is our count of the calls so far.
func (c *toolCalls) tokens() int64 {
	var sum int64
	for _, call := range c.begun {
		sum += toolFraming + guessTokens(call.name) + guessTokens(string(call.arguments))
	}
	return sum
}

// sendable is the arguments as the model wrote them. What is no JSON object is
// sent back in one, as Anthropic recommends: servers parse the calls of a
// conversation, and many refuse all of it for one that they cannot.
func sendable(arguments string) string {
	if strings.HasPrefix(strings.TrimLeft(arguments, " \t\r\n"), "{") && json.Valid([]byte(arguments)) {
		return arguments
	}
	wrapped, err := json.Marshal(map[string]string{"INVALID_JSON": arguments})
	if err != nil { // texts can always be written
		return "{}"
	}
	return string(wrapped)
}
