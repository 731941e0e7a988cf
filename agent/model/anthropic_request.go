package model

import (
	"encoding/json"
	"slices"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/packages/param"
)

// params is req as Messages has it, with marks where the next request will
// find its beginning cached: after the tools, after the system prompt, where
// the last request ended, and at the end.
func (m *anthropicModel) params(req *Request, w *anthropicWriter) anthropic.MessageNewParams {
	loop := lastUser(req.Messages) + 1
	p := anthropic.MessageNewParams{
		Model:     m.model,
		MaxTokens: req.MaxOutputTokens,
		Thinking:  m.thinkingParam(req.MaxOutputTokens, req.Messages[loop:], w),
		Messages:  make([]anthropic.MessageParam, 0, len(req.Messages)),
	}
	for i := range req.Tools {
		p.Tools = append(p.Tools, anthropicTool(&req.Tools[i], w.names))
	}
	if len(p.Tools) > 0 {
		p.Tools[len(p.Tools)-1].OfTool.CacheControl = anthropic.NewCacheControlEphemeralParam()
	}
	if !blank(req.System) {
		p.System = []anthropic.TextBlockParam{{Text: req.System, CacheControl: anthropic.NewCacheControlEphemeralParam()}}
	}
	for i := range req.Messages {
		role, content := w.content(&req.Messages[i], i >= loop)
		p.Messages = appendContent(p.Messages, role, content)
	}
	markMessages(p.Messages)
	if closedSchema(req.AnswerSchema, false) {
		p.OutputConfig.Format.SetExtraFields(map[string]any{"schema": req.AnswerSchema})
	}
	return p
}

// lastUser is where the user has spoken last; -1 if nowhere. What follows is
// the tool loop that is going on. Reasoning is sent back within it and not
// after: later its signature would hold only for a conversation that nothing
// has been cut from.
func lastUser(messages []Message) int {
	for i, message := range slices.Backward(messages) {
		if message.Role == RoleUser {
			return i
		}
	}
	return -1
}

// appendContent adds to the last message if it is of the same role: a reply's
// tool results must stand in one.
func appendContent(
	messages []anthropic.MessageParam, role anthropic.MessageParamRole, content []anthropic.ContentBlockParamUnion,
) []anthropic.MessageParam {
	if len(content) == 0 {
		return messages // Anthropic takes none without content
	}
	if last := len(messages) - 1; last >= 0 && messages[last].Role == role {
		messages[last].Content = append(messages[last].Content, content...)
		return messages
	}
	return append(messages, anthropic.MessageParam{Role: role, Content: content})
}

// markMessages marks the end of the conversation, for the next request to
// read, and where the last request ended, which it has marked for this one.
// Both are needed: Anthropic looks back 20 blocks from a mark, and tools may
// have added more.
func markMessages(messages []anthropic.MessageParam) {
	last := len(messages) - 1
	if last < 0 {
		return
	}
	markLast(messages[last].Content)
	for i := last; i > 0; i-- {
		if messages[i].Role == anthropic.MessageParamRoleAssistant {
			markLast(messages[i-1].Content)
			return
		}
	}
}

// markLast marks the last block that can be marked, which reasoning cannot.
func markLast(content []anthropic.ContentBlockParamUnion) {
	for _, block := range slices.Backward(content) {
		if mark := block.GetCacheControl(); mark != nil {
			*mark = anthropic.NewCacheControlEphemeralParam()
			return
		}
	}
}

// anthropicWriter writes messages as content blocks.
type anthropicWriter struct {
	state anthropicState // what a reply's reasoning must be of, to be sent back
	names *wireNames
}

// content is what message says. loop is whether it is of the tool loop that is
// going on.
func (w *anthropicWriter) content(
	message *Message, loop bool,
) (anthropic.MessageParamRole, []anthropic.ContentBlockParamUnion) {
	switch message.Role {
	case RoleAssistant:
		return anthropic.MessageParamRoleAssistant, w.assistantContent(message, loop)
	case RoleTool:
		return anthropic.MessageParamRoleUser, []anthropic.ContentBlockParamUnion{toolResult(message)}
	default:
		return anthropic.MessageParamRoleUser, appendText(appendText(nil, message.Notes), message.Text)
	}
}

func appendText(content []anthropic.ContentBlockParamUnion, text string) []anthropic.ContentBlockParamUnion {
	if blank(text) {
		return content
	}
	return append(content, anthropic.NewTextBlock(text))
}

// assistantContent is the blocks in the order they came in: the text before
// the tool calls, unless the reasoning says otherwise.
func (w *anthropicWriter) assistantContent(message *Message, loop bool) []anthropic.ContentBlockParamUnion {
	var parts []anthropicPart
	if loop {
		parts, loop = w.state.parts(message)
	}
	if !loop {
		parts = append(make([]anthropicPart, 0, 1+len(message.ToolCalls)), anthropicPart{Type: textBlock, Bytes: len(message.Text)})
		for range message.ToolCalls {
			parts = append(parts, anthropicPart{Type: toolUseBlock})
		}
	}
	var content []anthropic.ContentBlockParamUnion
	text, calls := message.Text, message.ToolCalls
	for i := range parts {
		switch part := &parts[i]; part.Type {
		case textBlock:
			content = appendText(content, text[:part.Bytes])
			text = text[part.Bytes:]
		case thinkingBlock:
			content = append(content, anthropic.NewThinkingBlock(part.Signature, part.Thinking))
		case redactedThinkingBlock:
			content = append(content, anthropic.NewRedactedThinkingBlock(part.Data))
		case toolUseBlock:
			content = append(content, toolUse(&calls[0], w.names))
			calls = calls[1:]
		}
	}
	return content
}

func toolUse(call *ToolCall, names *wireNames) anthropic.ContentBlockParamUnion {
	return anthropic.NewToolUseBlock(wireName(call.ID), json.RawMessage(sendable(call.Arguments)), names.wire(call.Name))
}

func toolResult(message *Message) anthropic.ContentBlockParamUnion {
	result := anthropic.ToolResultBlockParam{ToolUseID: wireName(message.ToolCallID)}
	if !blank(message.Text) {
		result.Content = []anthropic.ToolResultBlockParamContentUnion{{OfText: &anthropic.TextBlockParam{Text: message.Text}}}
	}
	return anthropic.ContentBlockParamUnion{OfToolResult: &result}
}

func anthropicTool(tool *Tool, names *wireNames) anthropic.ToolUnionParam {
	p := anthropic.ToolParam{
		Name: names.wire(tool.Name),
		// Arguments come as they are written, so that long ones are no silence.
		EagerInputStreaming: param.NewOpt(true),
	}
	if tool.Description != "" {
		p.Description = param.NewOpt(tool.Description)
	}
	if len(tool.Parameters) > 0 {
		// As it stands: through a map, large numbers would lose digits.
		p.InputSchema = param.Override[anthropic.ToolInputSchemaParam](tool.Parameters)
	} else {
		p.InputSchema = anthropic.ToolInputSchemaParam{Type: "object"}
	}
	return anthropic.ToolUnionParam{OfTool: &p}
}

// thinkingParam asks for reasoning in the room that most leaves. A tool loop
// that began without it goes on without it: with a budget, Anthropic wants the
// reasoning that a loop began with.
func (m *anthropicModel) thinkingParam(most int64, loop []Message, w *anthropicWriter) anthropic.ThinkingConfigParamUnion {
	budget := min(m.thinking, most-LeastThinking)
	switch {
	case m.thinking == ThinkingAdaptive:
		return anthropic.ThinkingConfigParamUnion{OfAdaptive: &anthropic.ThinkingConfigAdaptiveParam{
			Display: anthropic.ThinkingConfigAdaptiveDisplaySummarized,
		}}
	case budget < LeastThinking || len(loop) > 0 && !w.thought(&loop[0]):
		return anthropic.ThinkingConfigParamUnion{}
	}
	// Not the SDK's own type, at which it writes warnings to the standard error.
	return param.Override[anthropic.ThinkingConfigParamUnion](struct {
		Type         string `json:"type"`
		BudgetTokens int64  `json:"budget_tokens"`
	}{"enabled", budget})
}

// thought says whether message began with reasoning that is sent back.
func (w *anthropicWriter) thought(message *Message) bool {
	parts, ok := w.state.parts(message)
	return ok && len(parts) > 0 && parts[0].signed()
}
