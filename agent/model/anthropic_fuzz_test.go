package model

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// Whatever a provider sends, a call ends in an error or in a reply that keeps
// its contract, and what is kept of it can be sent back.
func FuzzAnthropicStream(f *testing.F) {
	for _, seed := range []string{
		"",
		typed("message_stop", ""),
		started() + opened("0", emptyText) + ping + spokenText("Good day 🌍") + closed("0") + stopped("end_turn"),
		started() + opened("0", emptyText) + spokenText("half"),
		thinkingThenCalls(2),
		started() + errorEvent("overloaded_error"),
		started() + opened("-1", `{"type":"tool_use","input":[1]}`) + opened("-1", emptyText) + stopped("tool_use"),
		started() + spokenText("x"),
		opened("0", `{"type":"text","text":"\ud83d"}`) + "\r\ndata:\r\n\r\n" + stopped("refusal"),
		typed("message_start", `,"message":{"usage":{"input_tokens":9223372036854775807,"cache_read_input_tokens":1,"output_tokens":-1}}`) + stopped("max_tokens"),
		event(`{"type":"error","error":[]}`),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		sent := ""
		client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			data, err := io.ReadAll(r.Body)
			sent = string(data)
			reader := io.NopCloser(iotest.HalfReader(strings.NewReader(body)))
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: reader, Request: r}, err
		})}
		m := newTestAnthropic(t, client, func(cfg *AnthropicConfig) { cfg.MaxRetries = -1 })
		var heard spoken
		req := hello()
		reply, err := m.Generate(t.Context(), req, func(d Delta) {
			if !utf8.ValidString(d.Text) || !utf8.ValidString(d.Reasoning) {
				t.Errorf("delta %+q is no valid text", d)
			}
			if (d.Text == "") == (d.Reasoning == "") {
				t.Errorf("delta %+v has not exactly one of text and reasoning", d)
			}
			heard.speak(d)
		})
		checkReply(t, reply, err)
		if err != nil || len(reply.ToolCalls) == 0 {
			if reply.Opaque != nil {
				t.Errorf("without tool calls, %s is kept", reply.Opaque)
			}
			return
		}
		if reply.Opaque != nil && !json.Valid(reply.Opaque) {
			t.Errorf("%q is no JSON", reply.Opaque)
		}
		req.Messages = append(req.Messages, Message{
			Role: RoleAssistant, Text: heard.text.String(), ToolCalls: reply.ToolCalls, Opaque: reply.Opaque,
		})
		_, _ = m.Generate(t.Context(), req, func(Delta) {})
		if !json.Valid([]byte(sent)) || strings.Count(sent, `"type":"tool_use"`) < len(reply.ToolCalls) ||
			reply.Opaque != nil && !strings.Contains(sent, `thinking"`) {
			t.Errorf("sent back: %s\nof %+v", sent, reply)
		}
	})
}
