package model

import "encoding/json"

// anthropicEvent is what is read of an event, of whatever type.
type anthropicEvent struct {
	Type string `json:"type"`
	// Message comes with message_start.
	Message struct {
		ID    string          `json:"id"`
		Model string          `json:"model"`
		Usage *anthropicUsage `json:"usage"`
	} `json:"message"`
	// Index says which block of the content the event is about.
	Index        int             `json:"index"`
	ContentBlock anthropicBlock  `json:"content_block"`
	Delta        anthropicDelta  `json:"delta"`
	Usage        *anthropicUsage `json:"usage"`
	Error        json.RawMessage `json:"error"`
}

// anthropicBlock is a block of content as it begins.
type anthropicBlock struct {
	Type      string          `json:"type"`
	Text      string          `json:"text"`
	Thinking  string          `json:"thinking"`
	Signature string          `json:"signature"`
	Data      string          `json:"data"`
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	Input     json.RawMessage `json:"input"`
}

// anthropicDelta is more of a block, or of the message.
type anthropicDelta struct {
	Text        string `json:"text"`
	Thinking    string `json:"thinking"`
	Signature   string `json:"signature"`
	PartialJSON string `json:"partial_json"`
	StopReason  string `json:"stop_reason"`
}

// anthropicUsage is what has been used so far; nil is what was not said.
type anthropicUsage struct {
	InputTokens              *int64 `json:"input_tokens"`
	CacheReadInputTokens     *int64 `json:"cache_read_input_tokens"`
	CacheCreationInputTokens *int64 `json:"cache_creation_input_tokens"`
	OutputTokens             *int64 `json:"output_tokens"`
}

// add takes what v says beyond u: all of it only grows, and some servers write
// 0 for what they have said before, or are yet to say.
func (u *anthropicUsage) add(v *anthropicUsage) {
	if v == nil {
		return
	}
	for _, field := range [...]struct{ to, from **int64 }{
		{&u.InputTokens, &v.InputTokens},
		{&u.CacheReadInputTokens, &v.CacheReadInputTokens},
		{&u.CacheCreationInputTokens, &v.CacheCreationInputTokens},
		{&u.OutputTokens, &v.OutputTokens},
	} {
		if *field.from != nil && (*field.to == nil || **field.from > **field.to) {
			*field.to = *field.from
		}
	}
}

// usage is u in our terms, if it can be: Anthropic's input_tokens are those
// beside the cache.
func (u *anthropicUsage) usage() (Usage, bool) {
	cached, written, output := told(u.CacheReadInputTokens), told(u.CacheCreationInputTokens), told(u.OutputTokens)
	const most = 1 << 40 // far from overflow
	if u.InputTokens == nil || max(*u.InputTokens, cached, written) > most || min(*u.InputTokens, cached, written) < 0 {
		return Usage{}, false
	}
	sum := Usage{
		InputTokens:       *u.InputTokens + cached + written,
		CachedInputTokens: cached,
		CacheWriteTokens:  written,
		OutputTokens:      output,
	}
	return sum, sum.possible()
}

func told(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}
