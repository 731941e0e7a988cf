package model

import (
	"encoding/json"
	"net"
	"reflect"
	"strings"
	"testing"
)

func TestOpenAIRequestAsSent(t *testing.T) {
	t.Parallel()
	w := &wire{answers: []func(net.Conn){write(streamHead, said("ok"), ended("stop"))}}
	req := &Request{
		System: "Be <brief> & \"kind\".",
		Messages: []Message{
			{Role: RoleUser, Text: "2+2?"},
			{Role: RoleAssistant, Text: "", ToolCalls: []ToolCall{{"c1", "calculator", `{"expression":"2+2"}`}, {"c2", "calculator", "{"}}},
			{Role: RoleTool, Text: "4", ToolCallID: "c1"},
			{Role: RoleTool, Text: "error: no JSON", ToolCallID: "c2"},
			{Role: RoleAssistant, Text: "It is 4."},
			{Role: RoleUser, Text: ""},
			{Role: RoleUser, Notes: "Noted.", Text: "So?"},
		},
		Tools: []Tool{
			{Name: "calculator", Description: "Calculates.", Parameters: json.RawMessage(`{"type":"object","properties":{"expression":{"type":"string","maxLength":9007199254740993}}}`)},
			{Name: "bare"},
		},
		MaxOutputTokens: 77,
	}
	const want = `{
		"model": "m", "stream": true, "stream_options": {"include_usage": true}, "max_tokens": 77,
		"messages": [
			{"role": "system", "content": "Be <brief> & \"kind\"."},
			{"role": "user", "content": "2+2?"},
			{"role": "assistant", "tool_calls": [
				{"id": "c1", "type": "function", "function": {"name": "calculator", "arguments": "{\"expression\":\"2+2\"}"}},
				{"id": "c2", "type": "function", "function": {"name": "calculator", "arguments": "{\"INVALID_JSON\":\"{\"}"}}]},
			{"role": "tool", "content": "4", "tool_call_id": "c1"},
			{"role": "tool", "content": "error: no JSON", "tool_call_id": "c2"},
			{"role": "assistant", "content": "It is 4."},
			{"role": "user", "content": ""},
			{"role": "user", "content": "Noted.\n\nSo?"}
		],
		"tools": [
			{"type": "function", "function": {"name": "calculator", "description": "Calculates.",
				"parameters": {"type": "object", "properties": {"expression": {"type": "string", "maxLength": 9007199254740993}}}}},
			{"type": "function", "function": {"name": "bare"}}
		]
	}`
	if _, err := newTestOpenAI(t, w.client()).Generate(t.Context(), req, func(Delta) {}); err != nil {
		t.Fatal(err)
	}
	got := w.sent()[0]
	if !reflect.DeepEqual(decoded(t, got.body), decoded(t, want)) {
		t.Errorf("sent %s\nwant %s", got.body, want)
	}
	if got.path != "/v1/chat/completions" || got.header.Get("Authorization") != "Bearer "+testKey {
		t.Errorf("sent to %s with authorization %q", got.path, got.header.Get("Authorization"))
	}
}

// decoded is JSON as it is, each digit kept.
func decoded(t *testing.T, text string) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// OpenAI's own models refuse max_tokens, and other servers know nothing else.
func TestOpenAILimitsOutputByTheProvidersField(t *testing.T) {
	t.Parallel()
	for base, field := range map[string]string{
		"http://api.openai.com/v1":       "max_completion_tokens",
		"http://eu.api.openai.com/v1/":   "max_completion_tokens",
		"http://127.0.0.1:11434/v1":      "max_tokens",
		"http://notapi.openai.com.evil/": "max_tokens",
	} {
		w := &wire{answers: []func(net.Conn){write(streamHead, said("ok"), ended("stop"))}}
		m := newTestOpenAI(t, w.client(), func(cfg *OpenAIConfig) { cfg.BaseURL = base })
		if _, err := m.Generate(t.Context(), hello(), func(Delta) {}); err != nil {
			t.Fatal(err)
		}
		body, _ := decoded(t, w.sent()[0].body).(map[string]any)
		for _, name := range []string{"max_tokens", "max_completion_tokens"} {
			if _, has := body[name]; has != (name == field) {
				t.Errorf("%s: %s sent is %v", base, name, has)
			}
		}
	}
}

func TestOpenAIReadsNothingFromTheEnvironment(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "sk-env")
	t.Setenv("OPENAI_BASE_URL", "http://env.test")
	t.Setenv("OPENAI_ORG_ID", "org-env")
	t.Setenv("OPENAI_PROJECT_ID", "project-env")
	t.Setenv("OPENAI_CUSTOM_HEADERS", "X-Env: yes")
	w := &wire{answers: []func(net.Conn){write(streamHead, said("ok"), ended("stop"))}}
	m := newTestOpenAI(t, w.client(), func(cfg *OpenAIConfig) { cfg.APIKey = "" })
	if _, err := m.Generate(t.Context(), hello(), func(Delta) {}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Authorization", "OpenAI-Organization", "OpenAI-Project", "X-Env"} {
		if value := w.sent()[0].header.Get(name); value != "" {
			t.Errorf("sent %s: %s", name, value)
		}
	}
}

func TestNewOpenAIRefusesWhatCannotWork(t *testing.T) {
	t.Parallel()
	tests := map[string]OpenAIConfig{
		"no name":            {Model: "m"},
		"no model":           {Name: "p/m"},
		"no scheme":          {Name: "p/m", Model: "m", BaseURL: "localhost:11434/v1"},
		"another scheme":     {Name: "p/m", Model: "m", BaseURL: "ftp://localhost/v1"},
		"no host":            {Name: "p/m", Model: "m", BaseURL: "http:///v1"},
		"no URL":             {Name: "p/m", Model: "m", BaseURL: "http://[::1"},
		"a key with newline": {Name: "p/m", Model: "m", APIKey: testKey + "\n"},
	}
	for name, cfg := range tests {
		m, err := NewOpenAI(cfg)
		if err == nil || m != nil {
			t.Errorf("%s: model %v, error %v", name, m, err)
		} else if strings.Contains(err.Error(), testKey) {
			t.Errorf("%s: the error holds the key: %v", name, err)
		}
	}
}
