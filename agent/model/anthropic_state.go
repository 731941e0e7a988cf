package model

import (
	"encoding/json"
	"strings"
)

// The types of content blocks that are read and written.
const (
	textBlock             = "text"
	thinkingBlock         = "thinking"
	redactedThinkingBlock = "redacted_thinking"
	toolUseBlock          = "tool_use"
)

// anthropicState is a Reply.Opaque of Anthropic's: reasoning as it came, and
// where it stood between the text and the tool calls.
type anthropicState struct {
	// Model is the name of the model that thought: no other can read it.
	Model string `json:"model"`
	// Prefix is the hash of the system prompt and the tools: newer models refuse
	// reasoning that came under others.
	Prefix string          `json:"prefix"`
	Blocks []anthropicPart `json:"blocks"`
}

// anthropicPart is one block of a reply, in order. Text and tool calls are the
// message's own: here are only their places.
type anthropicPart struct {
	Type      string `json:"type"`
	Thinking  string `json:"thinking,omitempty"`
	Signature string `json:"signature,omitempty"`
	// Data is redacted thinking.
	Data string `json:"data,omitempty"`
	// Bytes is how long a text is.
	Bytes int `json:"bytes,omitempty"`

	index    int // the provider's
	thinking []byte
	call     *partialToolCall
}

// signed says whether the provider can check that the block is its own; others
// it would refuse.
func (p *anthropicPart) signed() bool {
	return p.Type == thinkingBlock && p.Signature != "" || p.Type == redactedThinkingBlock && p.Data != ""
}

// opaque is s for Reply.Opaque; nil without reasoning.
func (s anthropicState) opaque() json.RawMessage {
	kept := anthropicState{Model: s.Model, Prefix: s.Prefix}
	reasoned := false
	for _, part := range s.Blocks {
		if part.Type != textBlock && part.Type != toolUseBlock && !part.signed() {
			continue
		}
		part.Thinking = string(part.thinking)
		kept.Blocks = append(kept.Blocks, part)
		reasoned = reasoned || part.signed()
	}
	if !reasoned {
		return nil
	}
	data, err := json.Marshal(kept)
	if err != nil { // texts and numbers can always be written
		return nil
	}
	return data
}

// parts are the blocks of message as the same model sent them under the same
// prefix; false if it did not, or if the message is another since.
func (s anthropicState) parts(message *Message) ([]anthropicPart, bool) {
	var state anthropicState
	if len(message.Opaque) == 0 || json.Unmarshal(message.Opaque, &state) != nil ||
		state.Model != s.Model || state.Prefix != s.Prefix {
		return nil, false
	}
	text, calls := 0, 0
	for i := range state.Blocks {
		part := &state.Blocks[i]
		switch {
		case part.Type == toolUseBlock:
			calls++
		case part.Type == textBlock && part.Bytes >= 0:
			text += part.Bytes
		case !part.signed():
			return nil, false
		}
	}
	return state.Blocks, text == len(message.Text) && calls == len(message.ToolCalls)
}

// blank says that a text holds nothing that Anthropic would take as a block.
func blank(text string) bool { return strings.TrimSpace(text) == "" }
