package model

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// converse plays a run of the loop: each reply's tool calls are answered until
// one has none. It returns the bodies that were sent.
func converse(t *testing.T, w *wire, newModel func(*http.Client) Model) []map[string]json.RawMessage {
	t.Helper()
	m := newModel(w.client())
	req := &Request{
		System:   "Be <brief> & kind.",
		Messages: []Message{{Role: RoleUser, Text: "Before."}, {Role: RoleAssistant, Text: "Yes."}, {Role: RoleUser, Text: "2+2?"}},
		Tools: []Tool{
			{Name: "files.read", Parameters: json.RawMessage(`{"type":"object","properties":{"b":{"type":"string"},"a":{"type":"number"}}}`)},
			{Name: "calculator", Description: "Calculates."},
		},
		MaxOutputTokens: 5000,
	}
	for range len(w.answers) {
		var heard spoken
		reply, err := m.Generate(t.Context(), req, heard.speak)
		if err != nil {
			t.Fatal(err)
		}
		if len(reply.ToolCalls) == 0 {
			break
		}
		req.Messages = append(req.Messages, remembered(t, Message{
			Role: RoleAssistant, Text: heard.text.String(), ToolCalls: reply.ToolCalls, Opaque: reply.Opaque,
		}))
		for _, call := range reply.ToolCalls {
			req.Messages = append(req.Messages, Message{Role: RoleTool, Text: "result of " + call.Arguments, ToolCallID: call.ID})
		}
	}
	var bodies []map[string]json.RawMessage
	for _, sent := range w.sent() {
		var body map[string]json.RawMessage
		if err := json.Unmarshal([]byte(sent.body), &body); err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, body)
	}
	if len(bodies) != len(w.answers) {
		t.Fatalf("%d requests, want %d", len(bodies), len(w.answers))
	}
	return bodies
}

// remembered is message after a journal has had it.
func remembered(t *testing.T, message Message) Message {
	t.Helper()
	data, err := json.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	var back Message
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	return back
}

// samePrefix holds each request against the one before it: every field but
// the messages is the same to the byte, and the messages begin with all the
// bytes of the last request's. strip takes out of a field what may move.
func samePrefix(t *testing.T, bodies []map[string]json.RawMessage, strip func(string) string) {
	t.Helper()
	for n := 1; n < len(bodies); n++ {
		last, next := bodies[n-1], bodies[n]
		if a, b := slices.Sorted(maps.Keys(last)), slices.Sorted(maps.Keys(next)); !slices.Equal(a, b) {
			t.Errorf("request %d has %v, the one before it %v", n, b, a)
		}
		for field := range next {
			a, b := strip(string(last[field])), strip(string(next[field]))
			if field == "messages" {
				if a = strings.TrimSuffix(a, "]"); !strings.HasPrefix(b, a+",") || len(b) <= len(a) {
					t.Errorf("the messages of request %d\n%s\ndo not begin with those before them\n%s", n, b, a)
				}
			} else if a != b {
				t.Errorf("request %d has another %s: %s, was %s", n, field, b, a)
			}
		}
	}
}

const mark = `"cache_control":{"type":"ephemeral"}`

// unmarked is text without its marks, and where they were in it.
func unmarked(text string) (string, []int) {
	var b strings.Builder
	var at []int
	for {
		before, after, found := strings.Cut(text, mark)
		if !found {
			b.WriteString(text)
			return b.String(), at
		}
		if rest, first := strings.CutPrefix(after, ","); first {
			after = rest
		} else {
			before = strings.TrimSuffix(before, ",")
		}
		b.WriteString(before)
		at = append(at, b.Len())
		text = after
	}
}

func thinkingThenCalls(calls int) string {
	s := started() + opened("0", `{"type":"thinking","thinking":"","signature":""}`) +
		grown("0", `{"type":"thinking_delta","thinking":"hm <&> ü"}`) + grown("0", `{"type":"signature_delta","signature":"c2ln+/=="}`) + closed("0") +
		opened("1", emptyText) + grown("1", `{"type":"text_delta","text":"Let me see."}`) + closed("1") +
		opened("2", `{"type":"redacted_thinking","data":"ZGF0YQ=="}`) + closed("2")
	for i := range calls {
		s += opened(fmt.Sprint(i+3), fmt.Sprintf(`{"type":"tool_use","id":"t%d","name":"files_read","input":{}}`, i)) +
			grown(fmt.Sprint(i+3), fmt.Sprintf(`{"type":"input_json_delta","partial_json":"{\"b\": \"x\",  \"a\": 1.0%d}"}`, i)) + closed(fmt.Sprint(i+3))
	}
	return s + stopped("tool_use")
}

// What is compared: every byte of the requests but the cache_control marks,
// which must be at most four, at the end of the tools, of the system prompt and
// of the messages, and where the messages of the request before ended.
func TestAnthropicRequestsShareTheirPrefix(t *testing.T) {
	t.Parallel()
	for name, thinking := range map[string]int64{"default": 0, "adaptive": ThinkingAdaptive, "a budget": 2000} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &wire{answers: []func(net.Conn){
				write(streamHead, thinkingThenCalls(1)), write(streamHead, thinkingThenCalls(30)), write(streamHead, thinkingThenCalls(2)),
				write(streamHead, started(), opened("0", emptyText), spokenText("4"), stopped("end_turn")),
			}}
			bodies := converse(t, w, func(client *http.Client) Model {
				return newTestAnthropic(t, client, func(cfg *AnthropicConfig) { cfg.Thinking = thinking })
			})
			samePrefix(t, bodies, func(field string) string { text, _ := unmarked(field); return text })

			end := -1
			for n, body := range bodies {
				text, marks := unmarked(string(body["messages"]))
				if len(marks) != 2 || end >= 0 && marks[0] != end {
					t.Errorf("request %d has marks at %v of %d bytes; the last one's last was at %d", n, marks, len(text), end)
				}
				if end = marks[len(marks)-1]; strings.Contains(text[end:], "},{") {
					t.Errorf("request %d: the last mark is not in the last block: %s", n, text[end:])
				}
				for _, field := range []string{"tools", "system"} {
					if text, marks := unmarked(string(body[field])); len(marks) != 1 || strings.Contains(text[marks[0]:], `"name":"files_read"`) {
						t.Errorf("request %d: %s has marks at %v: %s", n, field, marks, body[field])
					}
				}
			}
		})
	}
}

// Reasoning goes back as it came and where it stood, within its tool loop.
func TestAnthropicSendsReasoningBackUnchanged(t *testing.T) {
	t.Parallel()
	w := &wire{answers: []func(net.Conn){write(streamHead, thinkingThenCalls(1)), write(streamHead, started(), stopped("end_turn"))}}
	bodies := converse(t, w, func(client *http.Client) Model { return newTestAnthropic(t, client) })
	text, _ := unmarked(string(bodies[1]["messages"]))
	const want = `[
		{"type": "thinking", "thinking": "hm <&> ü", "signature": "c2ln+/=="},
		{"type": "text", "text": "Let me see."},
		{"type": "redacted_thinking", "data": "ZGF0YQ=="},
		{"type": "tool_use", "id": "t0", "name": "files_read", "input": {"b": "x", "a": 1.00}}]`
	var messages []struct {
		Content json.RawMessage `json:"content"`
	}
	if err := json.Unmarshal([]byte(text), &messages); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(decoded(t, string(messages[3].Content))); got != fmt.Sprint(decoded(t, want)) {
		t.Errorf("sent %s\nwant %s", got, want)
	}
	if !strings.Contains(text, `"input":{"b":"x","a":1.00}`) {
		t.Errorf("the arguments are not as they were written: %s", text)
	}
}

// Reasoning is left out where its signature does not hold: after its tool
// loop, at another model, after another beginning, and beside words that are
// not the model's own.
func TestAnthropicLeavesReasoningOut(t *testing.T) {
	t.Parallel()
	w := &wire{answers: []func(net.Conn){write(streamHead, thinkingThenCalls(1))}}
	reply, err := newTestAnthropic(t, w.client()).Generate(t.Context(), hello(), func(Delta) {})
	if err != nil || reply.Opaque == nil {
		t.Fatalf("reply %+v, error %v", reply, err)
	}
	user, tool := hello().Messages[0], []Tool{{Name: "files_read"}}
	said := Message{Role: RoleAssistant, Text: "Let me see.", ToolCalls: reply.ToolCalls, Opaque: reply.Opaque}
	result := Message{Role: RoleTool, ToolCallID: "t0", Text: "1"}
	edited, without, broken := said, said, said
	edited.Text, without.ToolCalls, broken.Opaque = "Let me see!!", nil, json.RawMessage(strings.Replace(string(said.Opaque), `"bytes":11`, `"bytes":-9`, 1))
	if string(broken.Opaque) == string(said.Opaque) {
		t.Fatalf("nothing to break in %s", said.Opaque)
	}
	tests := []struct {
		name     string
		messages []Message
		change   func(*AnthropicConfig, *Request)
		has      bool
	}{
		{"in its tool loop", []Message{user, said, result}, nil, true},
		{"after it", []Message{user, said, result, user}, nil, false},
		{"at another model", []Message{user, said, result}, func(cfg *AnthropicConfig, _ *Request) { cfg.Name = "anthropic/n" }, false},
		{"under another system prompt", []Message{user, said, result}, func(_ *AnthropicConfig, r *Request) { r.System = "Be long." }, false},
		{"beside other tools", []Message{user, said, result}, func(_ *AnthropicConfig, r *Request) { r.Tools = tool }, false},
		{"with another text", []Message{user, edited, result}, nil, false},
		{"without its calls", []Message{user, without}, nil, false},
		{"where it is nonsense", []Message{user, broken, result}, nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			req := hello()
			req.Messages = tt.messages
			body := sentBy(t, req, func(cfg *AnthropicConfig) {
				if tt.change != nil {
					tt.change(cfg, req)
				}
			}).body
			if has := strings.Contains(body, "c2ln"); has != tt.has || !strings.Contains(body, "Let me see") {
				t.Errorf("sent is %v: %s", has, body)
			}
		})
	}
}

// What is compared: every byte of the requests.
func TestOpenAIRequestsShareTheirPrefix(t *testing.T) {
	t.Parallel()
	call := func(id string) string {
		return event(`{"choices":[{"delta":{"content":"Let me see.","tool_calls":[{"index":0,"id":"`+id+`","function":{"name":"files_read","arguments":"{\"b\":  1}"}}]}}]}`) +
			ended("tool_calls") + usageEvent
	}
	w := &wire{answers: []func(net.Conn){
		write(streamHead, call("c1")), write(streamHead, call("c2")), write(streamHead, call("c3")),
		write(streamHead, said("4"), ended("stop"), usageEvent),
	}}
	bodies := converse(t, w, func(client *http.Client) Model {
		return newTestOpenAI(t, client, func(cfg *OpenAIConfig) { cfg.BaseURL = "http://api.openai.com/v1" })
	})
	samePrefix(t, bodies, func(field string) string { return field })
	if len(bodies[0]["prompt_cache_key"]) < 18 {
		t.Errorf("the cache key is %s", bodies[0]["prompt_cache_key"])
	}
}

// The key is the same for calls that begin alike, and for no others.
func TestOpenAICacheKey(t *testing.T) {
	t.Parallel()
	req := func(change func(*Request)) *Request {
		r := hello()
		r.Tools = []Tool{{Name: "f", Description: "g", Parameters: json.RawMessage(`{}`)}}
		change(r)
		return r
	}
	key := cacheKey(req(func(*Request) {}))
	for name, same := range map[string]*Request{
		"another question": req(func(r *Request) { r.Messages[0].Text = "What?" }),
		"a longer history": req(func(r *Request) { r.Messages = append(r.Messages, r.Messages...) }),
		"less room":        req(func(r *Request) { r.MaxOutputTokens = 1 }),
	} {
		if cacheKey(same) != key {
			t.Errorf("%s has another key", name)
		}
	}
	for name, other := range map[string]*Request{
		"another system prompt": req(func(r *Request) { r.System = "Be long." }),
		"no tools":              req(func(r *Request) { r.Tools = nil }),
		"another tool":          req(func(r *Request) { r.Tools[0].Name = "h" }),
		"another description":   req(func(r *Request) { r.Tools[0].Name, r.Tools[0].Description = "fg", "" }),
		"another schema":        req(func(r *Request) { r.Tools[0].Parameters = json.RawMessage(`{"type":"object"}`) }),
	} {
		if cacheKey(other) == key {
			t.Errorf("%s has the same key", name)
		}
	}
	w := &wire{answers: []func(net.Conn){write(streamHead, said("ok"), ended("stop"))}}
	if _, err := newTestOpenAI(t, w.client()).Generate(t.Context(), hello(), func(Delta) {}); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(w.sent()[0].body, "prompt_cache_key") {
		t.Error("a key is sent to a server that may not know it")
	}
}
