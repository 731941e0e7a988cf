package model

import (
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/shared"
)

// params is req as chat completions have it. What stays the same from call to
// call comes first, since providers cache by the prefix.
func (m *openAI) params(req *Request, names *wireNames) openai.ChatCompletionNewParams {
	p := openai.ChatCompletionNewParams{
		Model:         m.model,
		Messages:      make([]openai.ChatCompletionMessageParamUnion, 0, len(req.Messages)+1),
		StreamOptions: openai.ChatCompletionStreamOptionsParam{IncludeUsage: param.NewOpt(true)},
	}
	if m.official {
		p.MaxCompletionTokens = param.NewOpt(req.MaxOutputTokens)
		p.PromptCacheKey = param.NewOpt(cacheKey(req))
	} else {
		p.MaxTokens = param.NewOpt(req.MaxOutputTokens)
	}
	if req.System != "" {
		p.Messages = append(p.Messages, openai.SystemMessage(req.System))
	}
	for i := range req.Messages {
		p.Messages = append(p.Messages, messageParam(&req.Messages[i], names))
	}
	for i := range req.Tools {
		p.Tools = append(p.Tools, toolParam(&req.Tools[i], names))
	}
	if m.official && closedSchema(req.AnswerSchema, true) {
		p.ResponseFormat.OfJSONSchema = &shared.ResponseFormatJSONSchemaParam{
			JSONSchema: shared.ResponseFormatJSONSchemaJSONSchemaParam{
				Name: "answer", Schema: req.AnswerSchema, Strict: param.NewOpt(true),
			},
		}
	}
	return p
}

func messageParam(message *Message, names *wireNames) openai.ChatCompletionMessageParamUnion {
	switch message.Role {
	case RoleTool:
		return openai.ToolMessage(message.Text, message.ToolCallID)
	case RoleAssistant:
		return assistantParam(message, names)
	default:
		if message.Notes != "" {
			return openai.UserMessage(message.Notes + "\n\n" + message.Text)
		}
		return openai.UserMessage(message.Text)
	}
}

func assistantParam(message *Message, names *wireNames) openai.ChatCompletionMessageParamUnion {
	var p openai.ChatCompletionAssistantMessageParam
	if message.Text != "" || len(message.ToolCalls) == 0 {
		p.Content.OfString = param.NewOpt(message.Text)
	}
	for _, call := range message.ToolCalls {
		p.ToolCalls = append(p.ToolCalls, openai.ChatCompletionMessageToolCallUnionParam{
			OfFunction: &openai.ChatCompletionMessageFunctionToolCallParam{
				ID: call.ID,
				Function: openai.ChatCompletionMessageFunctionToolCallFunctionParam{
					Name:      names.wire(call.Name),
					Arguments: sendable(call.Arguments),
				},
			},
		})
	}
	return openai.ChatCompletionMessageParamUnion{OfAssistant: &p}
}

func toolParam(tool *Tool, names *wireNames) openai.ChatCompletionToolUnionParam {
	function := shared.FunctionDefinitionParam{Name: names.wire(tool.Name)}
	if tool.Description != "" {
		function.Description = param.NewOpt(tool.Description)
	}
	if len(tool.Parameters) > 0 {
		// As it stands: through a map, large numbers would lose digits.
		function.SetExtraFields(map[string]any{"parameters": tool.Parameters})
	}
	return openai.ChatCompletionFunctionTool(function)
}
