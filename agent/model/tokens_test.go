package model

import (
	"encoding/json"
	"strings"
	"testing"
)

// Counts by o200k_base, as js-tiktoken 1.0 has them.
func TestTokenCounts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text  string
		count int64
	}{
		{"Hello, world!", 4},
		{"What is 17% of 4,000? Answer in one sentence, please.", 18},
		{"The quick brown fox jumps over the lazy dog.", 10},
		{"{\"type\":\"object\",\"properties\":{\"expression\":{\"type\":\"string\"}},\"required\":[\"expression\"]}", 19},
		{"func (m *openAI) Name() string { return m.cfg.Name }\n", 16},
		{"Die Straßenbahn fährt über die Brücke.", 9},
		{"今天天气很好，我们去公园吧。", 10},
		{"🌍🌍🌍", 6},
		{"1234567890", 4},
		{"HTTP 404 NOT FOUND", 5},
		{"e3b0c44298fc1c149afbf4c8996fb924", 19},
		{"    if x:\n        return y\n\n\n", 8},
		{"antidisestablishmentarianism", 6},
		{"2026-01-15T10:30:00Z", 13},
		{"- one\n- two\n- three\n", 9},
		{"<|endoftext|>", 7},
		{"I'll say it's DON'T, we'VE!", 9},
		{"\t\t  x", 2},
		{"HTTPServerError_v2.1", 7},
		{strings.Repeat("The quick brown fox jumps over the lazy dog. ", 100), 1001},
	}
	var tokenizer Tokenizer
	tokenizer.Input("openai/any", &Request{})
	for _, tt := range tests {
		if exact := tokenizer.count(tt.text); exact != tt.count {
			t.Errorf("%q: counted %d, is %d", tt.text, exact, tt.count)
		}
		guess, most := guessTokens(tt.text), mostTokens(tt.text)
		if 2*guess < tt.count || guess > 2*tt.count+1 {
			t.Errorf("%q: guessed %d, is %d", tt.text, guess, tt.count)
		}
		if most < tt.count {
			t.Errorf("%q: at most %d, is %d", tt.text, most, tt.count)
		}
	}
}

// All of a request counts: whatever is added, the count grows.
func TestRequestTokensCountEverything(t *testing.T) {
	t.Parallel()
	req := Request{Messages: []Message{{Role: RoleUser}}}
	last := requestTokens(&req, guessTokens)
	for name, add := range map[string]func(){
		"system":      func() { req.System += "Be brief." },
		"text":        func() { req.Messages[0].Text += "Hello there." },
		"notes":       func() { req.Messages[0].Notes += "Likes tea." },
		"message":     func() { req.Messages = append(req.Messages, Message{Role: RoleTool}) },
		"call":        func() { req.Messages[0].ToolCalls = append(req.Messages[0].ToolCalls, ToolCall{Name: "f"}) },
		"arguments":   func() { req.Messages[0].ToolCalls = []ToolCall{{Name: "f"}, {Name: "g", Arguments: `{"a":1}`}} },
		"tool":        func() { req.Tools = append(req.Tools, Tool{Name: "f"}) },
		"description": func() { req.Tools = append(req.Tools, Tool{Name: "f", Description: "Does it."}) },
		"parameters":  func() { req.Tools = append(req.Tools, Tool{Name: "f", Parameters: json.RawMessage(`{}`)}) },
	} {
		add()
		if now := requestTokens(&req, guessTokens); now <= last {
			t.Errorf("%s: %d tokens, were %d", name, now, last)
		} else {
			last = now
		}
	}
}

// What a model says it may cost is what it counts by.
func TestInputTokens(t *testing.T) {
	t.Parallel()
	offline, openai := newTestOffline(t, OfflineOptions{}), newTestOpenAI(t, nil)
	reply, err := offline.Generate(t.Context(), hello(), func(Delta) {})
	if err != nil || offline.InputTokens(hello()) != reply.Usage.InputTokens {
		t.Errorf("offline: %d tokens, billed %+v, error %v", offline.InputTokens(hello()), reply.Usage, err)
	}
	if got, guess := openai.InputTokens(hello()), estimated(0).InputTokens; got < guess || got > 3*guess {
		t.Errorf("openai: at most %d tokens, by our count %d", got, guess)
	}
	if offline.Name() != "offline" || openai.Name() != "local/m" {
		t.Errorf("names %q and %q", offline.Name(), openai.Name())
	}
}

// An estimate is never more than what was asked for as the most, so that
// settling a reservation gives back and never takes.
func FuzzTokens(f *testing.F) {
	for _, seed := range []string{"", "Hello, world!", "世界", "\xff\xfe", "a\n\n b  c", "1234567", "----"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		guess, most := guessTokens(text), mostTokens(text)
		if guess < 0 || guess > most || most > int64(len(text)) {
			t.Errorf("%q: guessed %d, at most %d, %d bytes", text, guess, most, len(text))
		}
	})
}
