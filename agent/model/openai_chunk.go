package model

import "encoding/json"

// openAIChunk is what is read of an event. The SDK's own type, which keeps
// everything, costs three times the time and fourteen times the memory a token.
type openAIChunk struct {
	ID    string          `json:"id"`
	Model string          `json:"model"`
	Error json.RawMessage `json:"error"`
	// Some servers' errors are the event itself.
	Object string `json:"object"`
	openAIError
	Choices []openAIChoice `json:"choices"`
	Usage   *openAIUsage   `json:"usage"`
}

type openAIChoice struct {
	Index        int         `json:"index"`
	Delta        openAIDelta `json:"delta"`
	FinishReason string      `json:"finish_reason"`
}

type openAIDelta struct {
	Content string `json:"content"`
	Refusal string `json:"refusal"`
	// Reasoning goes by either name at compatible servers, and OpenAI keeps it.
	Reasoning        string           `json:"reasoning"`
	ReasoningContent string           `json:"reasoning_content"`
	ToolCalls        []openAIToolCall `json:"tool_calls"`
}

type openAIUsage struct {
	PromptTokens        int64 `json:"prompt_tokens"`
	CompletionTokens    int64 `json:"completion_tokens"`
	TotalTokens         int64 `json:"total_tokens"`
	PromptTokensDetails struct {
		CachedTokens     int64 `json:"cached_tokens"`
		CacheWriteTokens int64 `json:"cache_write_tokens"`
	} `json:"prompt_tokens_details"`
}

// said is the error that an event or a body reports, if it does.
func (c *openAIChunk) said() (openAIError, bool) {
	switch {
	case len(c.Error) > 0 && string(c.Error) != "null":
		var said openAIError
		if json.Unmarshal(c.Error, &said) != nil {
			said.Message = string(c.Error) // a bare string at some
		}
		return said, true
	case c.Object == "error":
		return c.openAIError, true
	}
	return openAIError{}, false
}

// usage is u in our terms. It is refused where it cannot be, so that no
// server's slip becomes a bill: then our own count stands.
func (u *openAIUsage) usage() (Usage, bool) {
	const most = 1 << 30
	if u == nil {
		return Usage{}, false
	}
	cached, written := u.PromptTokensDetails.CachedTokens, u.PromptTokensDetails.CacheWriteTokens
	// Some servers leave reasoning out of the completion, and none out of the total.
	output := max(u.CompletionTokens, u.TotalTokens-u.PromptTokens)
	if u.PromptTokens <= 0 || u.PromptTokens > most || u.CompletionTokens < 0 || output > most ||
		cached < 0 || cached > u.PromptTokens || written < 0 || written > u.PromptTokens-cached {
		return Usage{}, false
	}
	return Usage{
		InputTokens:       u.PromptTokens,
		CachedInputTokens: cached,
		CacheWriteTokens:  written,
		OutputTokens:      output,
	}, true
}
