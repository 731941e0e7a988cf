package model

import (
	"encoding/json"
	"io"
	"net"
	"os"
	"reflect"
	"strings"
	"testing"
)

const ephemeral = `"cache_control": {"type": "ephemeral"}`

// sentBy is what one call of the model sends.
func sentBy(t *testing.T, req *Request, change ...func(*AnthropicConfig)) sent {
	t.Helper()
	w := &wire{answers: []func(net.Conn){write(streamHead, started(), stopped("end_turn"))}}
	if _, err := newTestAnthropic(t, w.client(), change...).Generate(t.Context(), req, func(Delta) {}); err != nil {
		t.Fatal(err)
	}
	return w.sent()[0]
}

func TestAnthropicRequestAsSent(t *testing.T) {
	t.Parallel()
	got := sentBy(t, &Request{
		System: "Be <brief> & \"kind\".",
		Messages: []Message{
			{Role: RoleUser, Text: "2+2?"},
			{Role: RoleAssistant, Text: " \n", ToolCalls: []ToolCall{{"c1", "calculator", ` {"expression": "2+2", "n": 12345678901234567890}`}, {"c.2", "files.read", "{"}}},
			{Role: RoleTool, Text: "4", ToolCallID: "c1"},
			{Role: RoleTool, Text: "", ToolCallID: "c.2"},
			{Role: RoleAssistant, Text: "It is 4."},
			{Role: RoleAssistant, Text: ""},
			{Role: RoleUser, Text: "And\n"},
			{Role: RoleUser, Notes: "Noted.", Text: "2+3?"},
		},
		Tools: []Tool{
			{Name: "calculator", Description: "Calculates.", Parameters: json.RawMessage(`{"type":"object","properties":{"expression":{"type":"string","maxLength":9007199254740993}}}`)},
			{Name: "files.read"},
		},
		MaxOutputTokens: 77,
	})
	const want = `{
		"model": "m", "stream": true, "max_tokens": 77,
		"system": [{"type": "text", "text": "Be <brief> & \"kind\".", ` + ephemeral + `}],
		"messages": [
			{"role": "user", "content": [{"type": "text", "text": "2+2?"}]},
			{"role": "assistant", "content": [
				{"type": "tool_use", "id": "c1", "name": "calculator", "input": {"expression": "2+2", "n": 12345678901234567890}},
				{"type": "tool_use", "id": "c_2", "name": "files_read", "input": {"INVALID_JSON": "{"}}]},
			{"role": "user", "content": [
				{"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "4"}]},
				{"type": "tool_result", "tool_use_id": "c_2", ` + ephemeral + `}]},
			{"role": "assistant", "content": [{"type": "text", "text": "It is 4."}]},
			{"role": "user", "content": [{"type": "text", "text": "And\n"}, {"type": "text", "text": "Noted."}, {"type": "text", "text": "2+3?", ` + ephemeral + `}]}
		],
		"tools": [
			{"name": "calculator", "description": "Calculates.", "eager_input_streaming": true,
				"input_schema": {"type": "object", "properties": {"expression": {"type": "string", "maxLength": 9007199254740993}}}},
			{"name": "files_read", "eager_input_streaming": true, "input_schema": {"type": "object"}, ` + ephemeral + `}
		]
	}`
	if !reflect.DeepEqual(decoded(t, got.body), decoded(t, want)) {
		t.Errorf("sent %s\nwant %s", got.body, want)
	}
	if got.path != "/v1/messages" || got.header.Get("X-Api-Key") != testKey || got.header.Get("Anthropic-Version") != "2023-06-01" {
		t.Errorf("sent to %s with headers %v", got.path, got.header)
	}
}

func TestAnthropicAddresses(t *testing.T) {
	t.Parallel()
	for base, path := range map[string]string{
		"": "/v1/messages", "http://h": "/v1/messages", "http://h/": "/v1/messages", "http://h/v1": "/v1/messages", "http://h/v1/": "/v1/messages",
		"http://h/anthropic": "/anthropic/v1/messages", "http://h/anthropic/v1": "/anthropic/v1/messages",
	} {
		change := func(cfg *AnthropicConfig) {
			cfg.BaseURL = base
			if base == "" {
				cfg.BaseURL = strings.Replace(DefaultAnthropicBaseURL, "https", "http", 1)
			}
		}
		if got := sentBy(t, hello(), change).path; got != path {
			t.Errorf("%q: sent to %s, want %s", base, got, path)
		}
	}
}

// A tool's name that Anthropic does not take is another on the wire only.
func TestAnthropicToolNames(t *testing.T) {
	t.Parallel()
	body := started() + opened("0", `{"type":"tool_use","id":"a","name":"files_read_2","input":{}}`) +
		opened("1", `{"type":"tool_use","id":"b","name":"files_read","input":{}}`) +
		opened("2", `{"type":"tool_use","id":"c","name":"none_such","input":{}}`) + stopped("tool_use")
	w := &wire{answers: []func(net.Conn){write(streamHead, body)}}
	req := hello()
	req.Tools = []Tool{{Name: "files.read"}, {Name: "files_read"}}
	reply, err := newTestAnthropic(t, w.client()).Generate(t.Context(), req, func(Delta) {})
	want := []ToolCall{{"a", "files.read", "{}"}, {"b", "files_read", "{}"}, {"c", "none_such", "{}"}}
	if err != nil || !reflect.DeepEqual(reply.ToolCalls, want) {
		t.Errorf("calls %+v, error %v; want %+v", reply.ToolCalls, err, want)
	}
}

func TestAnthropicThinkingParameter(t *testing.T) {
	t.Parallel()
	thought := Message{Role: RoleAssistant, ToolCalls: []ToolCall{{"c", "f", "{}"}}, Opaque: anthropicState{Model: "anthropic/m", Prefix: cacheKey(&Request{}), Blocks: []anthropicPart{
		{Type: thinkingBlock, thinking: []byte("hm"), Signature: "s"}, {Type: toolUseBlock},
	}}.opaque()}
	result := Message{Role: RoleTool, ToolCallID: "c", Text: "1"}
	another := thought
	another.Opaque = json.RawMessage(strings.Replace(string(thought.Opaque), "anthropic/m", "anthropic/n", 1))
	plain := thought
	plain.Opaque = nil
	user := hello().Messages[0]
	tests := []struct {
		name     string
		thinking int64
		most     int64
		messages []Message
		want     string
	}{
		{"none asked for", 0, 9000, []Message{user}, ""},
		{"adaptive", ThinkingAdaptive, 500, []Message{user}, `{"display":"summarized","type":"adaptive"}`},
		{"a budget", 4000, 9000, []Message{user}, `{"type":"enabled","budget_tokens":4000}`},
		{"a budget that leaves room to answer", 4000, 3000, []Message{user}, `{"type":"enabled","budget_tokens":1976}`},
		{"a budget for which there is no room", 4000, 2047, []Message{user}, ""},
		{"a tool loop that began with reasoning", 4000, 9000, []Message{user, thought, result, plain, result}, `{"type":"enabled","budget_tokens":4000}`},
		{"a tool loop that began without", 4000, 9000, []Message{user, plain, result}, ""},
		{"a tool loop that another model began", 4000, 9000, []Message{user, another, result}, ""},
		{"a tool loop that another model began, adaptive", ThinkingAdaptive, 9000, []Message{user, another, result}, `{"display":"summarized","type":"adaptive"}`},
		{"an older loop that began without", 4000, 9000, []Message{user, plain, result, user}, `{"type":"enabled","budget_tokens":4000}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			req := &Request{Messages: tt.messages, MaxOutputTokens: tt.most}
			got := sentBy(t, req, func(cfg *AnthropicConfig) { cfg.Thinking = tt.thinking })
			var body struct {
				Thinking json.RawMessage `json:"thinking"`
			}
			if err := json.Unmarshal([]byte(got.body), &body); err != nil || string(body.Thinking) != tt.want {
				t.Errorf("sent thinking %s, error %v; want %s", body.Thinking, err, tt.want)
			}
		})
	}
}

// The SDK warns of some models on the standard error, where only our log belongs.
func TestAnthropicThinkingWritesNoWarning(t *testing.T) { //nolint:paralleltest // the standard error is the process's
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr := os.Stderr
	os.Stderr = write
	req := hello()
	req.MaxOutputTokens = 9000
	sentBy(t, req, func(cfg *AnthropicConfig) { cfg.Model, cfg.Thinking = "claude-opus-4-6", 2000 })
	os.Stderr = stderr
	_ = write.Close()
	if warning, err := io.ReadAll(read); err != nil || len(warning) > 0 {
		t.Errorf("written: %s, error %v", warning, err)
	}
}

func TestAnthropicReadsNothingFromTheEnvironment(t *testing.T) {
	t.Setenv("ANTHROPIC_API_KEY", "sk-env")
	t.Setenv("ANTHROPIC_AUTH_TOKEN", "token-env")
	t.Setenv("ANTHROPIC_BASE_URL", "http://env.test")
	t.Setenv("ANTHROPIC_CUSTOM_HEADERS", "X-Env: yes")
	got := sentBy(t, hello(), func(cfg *AnthropicConfig) { cfg.APIKey = "" })
	for _, name := range []string{"X-Api-Key", "Authorization", "X-Env"} {
		if value := got.header.Get(name); value != "" {
			t.Errorf("sent %s: %s", name, value)
		}
	}
}

func TestNewAnthropicRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]AnthropicConfig{
		"no name":            {Model: "m"},
		"no model":           {Name: "p/m"},
		"no scheme":          {Name: "p/m", Model: "m", BaseURL: "localhost:1/v1"},
		"no host":            {Name: "p/m", Model: "m", BaseURL: "http:///v1"},
		"a key with newline": {Name: "p/m", Model: "m", APIKey: testKey + "\n"},
		"too little thought": {Name: "p/m", Model: "m", Thinking: LeastThinking - 1},
		"a negative thought": {Name: "p/m", Model: "m", Thinking: -2},
	} {
		m, err := NewAnthropic(cfg)
		if err == nil || m != nil {
			t.Errorf("%s: model %v, error %v", name, m, err)
		} else if strings.Contains(err.Error(), testKey) {
			t.Errorf("%s: the error holds the key: %v", name, err)
		}
	}
}

// A schema that is no JSON is our fault, and never leaves.
func TestAnthropicRequestThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	w := &wire{answers: []func(net.Conn){hang()}}
	req := hello()
	req.Tools = []Tool{{Name: "f", Parameters: []byte(`{"type":`)}}
	_, err := newTestAnthropic(t, w.client()).Generate(t.Context(), req, func(Delta) {})
	if kindOf(err) != KindRejected || len(w.sent()) != 0 {
		t.Errorf("error %v, %d requests", err, len(w.sent()))
	}
}

// What is sent back, and what Anthropic adds for tools, is billed.
func TestAnthropicInputTokensCountReasoningAndToolPrompt(t *testing.T) {
	t.Parallel()
	m := newTestAnthropic(t, nil)
	req := hello()
	before := m.InputTokens(req)
	if openAI := newTestOpenAI(t, nil).InputTokens(req); before != openAI {
		t.Errorf("%d tokens, %d as an OpenAI model counts", before, openAI)
	}
	req.Messages = append(req.Messages, Message{Role: RoleAssistant, Opaque: json.RawMessage(`{"THINKING":"12345"}`)})
	if after := m.InputTokens(req); after < before+20 {
		t.Errorf("reasoning counts %d tokens", after-before)
	}
	before = m.InputTokens(req)
	req.Tools = []Tool{{Name: "f"}}
	if after := m.InputTokens(req); after < before+toolPrompt {
		t.Errorf("a tool counts %d tokens", after-before)
	}
}
