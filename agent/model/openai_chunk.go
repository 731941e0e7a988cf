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
	saidError
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
func (c *openAIChunk) said() (saidError, bool) {
	if said, failed := errorIn(c.Error); failed {
		return said, true
	}
	return c.saidError, c.Object == "error"
}

// usage is u in our terms, if it can be.
func (u *openAIUsage) usage() (Usage, bool) {
	if u == nil || u.CompletionTokens < 0 {
		return Usage{}, false
	}
	told := Usage{
		InputTokens:       u.PromptTokens,
		CachedInputTokens: u.PromptTokensDetails.CachedTokens,
		CacheWriteTokens:  u.PromptTokensDetails.CacheWriteTokens,
		// Some servers leave reasoning out of the completion, and none out of the total.
		OutputTokens: max(u.CompletionTokens, u.TotalTokens-u.PromptTokens),
	}
	return told, told.possible()
}
