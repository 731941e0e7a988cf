package model_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/agent/model/modeltest"
)

// What the provider answers, by the user's message. It cuts a text every
// twenty characters.
const fixtures = `{"fixtures": [
	{"match": {"userMessage": "Hello?"}, "response": {
		"content": "Good day, 世界 🌍! How can I help you with your tea?", "id": "r1", "model": "m-2",
		"usage": {"prompt_tokens": 21, "completion_tokens": 14, "total_tokens": 35}}},
	{"match": {"userMessage": "uncounted"}, "response": {"content": "All is well."}},
	{"match": {"userMessage": "2+2", "hasToolResult": false}, "response": {
		"content": "Let me see.", "toolCalls": [
			{"id": "call_a", "name": "calculator", "arguments": {"expression": "2+2"}},
			{"id": "call_b", "name": "current_time", "arguments": {}}],
		"usage": {"prompt_tokens": 50, "completion_tokens": 20, "total_tokens": 70}}},
	{"match": {"userMessage": "2+2", "hasToolResult": true, "toolResultContains": "noon"}, "response": {
		"content": "4, at noon.", "usage": {"prompt_tokens": 90, "completion_tokens": 5, "total_tokens": 95}}},
	{"match": {"userMessage": "long"}, "response": {"content": "Once upon", "finishReason": "length"}},
	{"match": {"userMessage": "cut"}, "latency": 20, "truncateAfterChunks": 4,
		"response": {"content": "Once upon a time there was a provider that hung up in the middle of its answer."}},
	{"match": {"userMessage": "limited"}, "response": {
		"status": 429, "retryAfter": 17, "error": {"type": "rate_limit_error", "message": "Slow down."}}},
	{"match": {"userMessage": "overloaded"}, "response": {
		"status": 529, "error": {"type": "overloaded_error", "message": "Overloaded."}}},
	{"match": {"userMessage": "too much"}, "response": {
		"status": 400, "error": {"type": "invalid_request_error", "code": "context_length_exceeded", "message": "Too long."}}},
	{"match": {"userMessage": "garbage"}, "chaos": {"malformedRate": 1}, "response": {"content": "never said"}},
	{"match": {"userMessage": "hang up"}, "chaos": {"disconnectRate": 1}, "response": {"content": "never said"}}
]}`

// Both providers against one that nobody here wrote.
func TestProviders(t *testing.T) {
	t.Parallel()
	address := modeltest.Provider(t, fixtures)
	client := model.NewHTTPClient()
	t.Cleanup(client.CloseIdleConnections)
	for name, open := range map[string]func(key string) (model.Model, error){
		"openai": func(key string) (model.Model, error) {
			return model.NewOpenAI(model.OpenAIConfig{
				Name: "local/m", Model: "m", BaseURL: address + "/v1", APIKey: key, MaxRetries: -1, HTTPClient: client,
			})
		},
		"anthropic": func(key string) (model.Model, error) {
			return model.NewAnthropic(model.AnthropicConfig{
				Name: "local/m", Model: "m", BaseURL: address, APIKey: key, MaxRetries: -1, HTTPClient: client,
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, err := open(modeltest.Key)
			if err != nil {
				t.Fatal(err)
			}
			t.Run("answer", func(t *testing.T) { t.Parallel(); testAnswer(t, m) })
			t.Run("tools", func(t *testing.T) { t.Parallel(); testToolCalls(t, m) })
			t.Run("failures", func(t *testing.T) { t.Parallel(); testFailures(t, m) })
			stranger, err := open("sk-of-nobody")
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := ask(t, stranger, "Hello?"); kind(err) != model.KindRejected {
				t.Errorf("with a key of nobody: %v", err)
			}
		})
	}
}

func testAnswer(t *testing.T, m model.Model) {
	t.Helper()
	reply, deltas, err := ask(t, m, "Hello?")
	if err != nil {
		t.Fatal(err)
	}
	want := model.Reply{
		Stop: model.StopEnd, ResponseID: "r1", ResponseModel: "m-2",
		Usage: model.Usage{InputTokens: 21, OutputTokens: 14},
	}
	if !reflect.DeepEqual(reply, want) {
		t.Errorf("reply %+v, want %+v", reply, want)
	}
	if text := strings.Join(deltas, ""); text != "Good day, 世界 🌍! How can I help you with your tea?" || len(deltas) < 3 {
		t.Errorf("it is said as %q", deltas)
	}
	// Of what it is not told, the mock says 0 or counts in a way of its own.
	reply, _, err = ask(t, m, "uncounted")
	if err != nil || reply.Usage.InputTokens <= 0 || reply.Usage.OutputTokens <= 0 {
		t.Errorf("usage that is not told: %+v, %v", reply.Usage, err)
	}
	reply, deltas, err = ask(t, m, "long")
	if err != nil || reply.Stop != model.StopLength || strings.Join(deltas, "") != "Once upon" {
		t.Errorf("a reply that is cut: %+v, %q, %v", reply, deltas, err)
	}
}

// The second question has the calls and their outputs as the provider wants them.
func testToolCalls(t *testing.T, m model.Model) {
	t.Helper()
	reply, deltas, err := ask(t, m, "What is 2+2?")
	if err != nil {
		t.Fatal(err)
	}
	calls := []model.ToolCall{
		{ID: "call_a", Name: "calculator", Arguments: `{"expression":"2+2"}`},
		{ID: "call_b", Name: "current_time", Arguments: `{}`},
	}
	if !reflect.DeepEqual(reply.ToolCalls, calls) || reply.Stop != model.StopToolCalls ||
		reply.Usage != (model.Usage{InputTokens: 50, OutputTokens: 20}) {
		t.Fatalf("reply %+v", reply)
	}
	text := strings.Join(deltas, "")
	reply, deltas, err = ask(t, m, "What is 2+2?",
		model.Message{Role: model.RoleAssistant, Text: text, ToolCalls: calls, Opaque: reply.Opaque},
		model.Message{Role: model.RoleTool, Text: "4", ToolCallID: "call_a"},
		model.Message{Role: model.RoleTool, Text: "noon", ToolCallID: "call_b"},
	)
	if err != nil || strings.Join(deltas, "") != "4, at noon." || reply.Usage != (model.Usage{InputTokens: 90, OutputTokens: 5}) {
		t.Errorf("said %q, reply %+v, %v", deltas, reply, err)
	}
}

func testFailures(t *testing.T, m model.Model) {
	t.Helper()
	for message, want := range map[string]struct {
		kind       model.ErrorKind
		retryAfter time.Duration
		said       bool // something was said before
	}{
		"limited":             {kind: model.KindRateLimited, retryAfter: 17 * time.Second},
		"overloaded":          {kind: model.KindUnavailable},
		"too much":            {kind: model.KindRejected},
		"garbage":             {kind: model.KindBroken},
		"hang up":             {kind: model.KindUnavailable},
		"cut":                 {kind: model.KindBroken, said: true},
		"nobody answers this": {kind: model.KindUnavailable},
	} {
		reply, deltas, err := ask(t, m, message)
		failed, ok := errors.AsType[*model.Error](err)
		if !ok || failed.Kind != want.kind || failed.RetryAfter != want.retryAfter {
			t.Errorf("%s: %v, wanted %s in %v", message, err, want.kind, want.retryAfter)
		}
		if said := len(deltas) > 0; said != want.said || reply.Usage.Estimated != want.said {
			t.Errorf("%s: said %q, used %+v", message, deltas, reply.Usage)
		}
	}
}

// ask asks m about the user's message, and what came after it.
func ask(t *testing.T, m model.Model, message string, then ...model.Message) (reply model.Reply, deltas []string, err error) {
	t.Helper()
	reply, err = m.Generate(t.Context(), &model.Request{
		System:   "Be brief.",
		Messages: append([]model.Message{{Role: model.RoleUser, Text: message}}, then...),
		Tools: []model.Tool{
			{Name: "calculator", Description: "Calculates.", Parameters: []byte(`{"type":"object","properties":{"expression":{"type":"string"}}}`)},
			{Name: "current_time", Parameters: []byte(`{"type":"object"}`)},
		},
		MaxOutputTokens: 100,
	}, func(d model.Delta) { deltas = append(deltas, d.Text) })
	return reply, deltas, err
}

func kind(err error) model.ErrorKind {
	if failed, ok := errors.AsType[*model.Error](err); ok {
		return failed.Kind
	}
	return ""
}
