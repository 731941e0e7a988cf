package model

import (
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// newTestAnthropic is a model behind client.
func newTestAnthropic(t testing.TB, client *http.Client, change ...func(*AnthropicConfig)) Model {
	t.Helper()
	cfg := AnthropicConfig{
		Name: "anthropic/m", Model: "m", BaseURL: "http://provider.test", APIKey: testKey, HTTPClient: client,
	}
	for _, f := range change {
		f(&cfg)
	}
	m, err := NewAnthropic(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// typed is a server-sent event as Anthropic writes it: its type twice.
func typed(name, rest string) string {
	return "event: " + name + "\ndata: {\"type\":\"" + name + "\"" + rest + "}\n\n"
}

// started is the event that a reply begins with. It tells of 2 tokens beside
// 16 from the cache and 3 into it.
func started() string {
	return typed("message_start", `,"message":{"id":"msg_1","type":"message","role":"assistant","model":"m-2","content":[],`+
		`"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":2,"cache_creation_input_tokens":3,"cache_read_input_tokens":16,`+
		`"cache_creation":{"ephemeral_5m_input_tokens":3,"ephemeral_1h_input_tokens":0},"output_tokens":1,"service_tier":"standard"}}`)
}

func opened(index, block string) string {
	return typed("content_block_start", `,"index":`+index+`,"content_block":`+block)
}

func grown(index, delta string) string {
	return typed("content_block_delta", `,"index":`+index+`,"delta":`+delta)
}

func closed(index string) string { return typed("content_block_stop", `,"index":`+index) }

// stopped is the end of a reply, with its tokens.
func stopped(reason string) string {
	return typed("message_delta", `,"delta":{"stop_reason":"`+reason+`","stop_sequence":null},"usage":{"input_tokens":2,`+
		`"cache_creation_input_tokens":3,"cache_read_input_tokens":16,"output_tokens":7}`) + typed("message_stop", "")
}

func spokenText(text string) string { return grown("0", `{"type":"text_delta","text":"`+text+`"}`) }

// toldByAnthropic is the usage that started and stopped tell.
var toldByAnthropic = Usage{InputTokens: 21, CachedInputTokens: 16, CacheWriteTokens: 3, OutputTokens: 7}

// begunAtAnthropic is the usage of a reply that broke off after started.
func begunAtAnthropic(output int64) Usage {
	return Usage{InputTokens: 21, CachedInputTokens: 16, CacheWriteTokens: 3, OutputTokens: output, Estimated: true}
}

const (
	emptyText = `{"type":"text","text":""}`
	ping      = "event: ping\ndata: {\"type\": \"ping\"}\n\n"
)

func TestAnthropicReply(t *testing.T) {
	t.Parallel()
	plain := func(stop Stop, usage Usage) Reply {
		return Reply{Stop: stop, Usage: usage, ResponseID: "msg_1", ResponseModel: "m-2"}
	}
	calls := func(calls ...ToolCall) Reply {
		return Reply{Stop: StopToolCalls, ToolCalls: calls, Usage: toldByAnthropic, ResponseID: "msg_1", ResponseModel: "m-2"}
	}
	hi := opened("0", emptyText) + ping + spokenText("Good ") + spokenText("day, 世界 🌍!") + closed("0")
	tool := func(index, id, name string, pieces ...string) string {
		s := opened(index, `{"type":"tool_use","id":"`+id+`","name":"`+name+`","input":{},"caller":{"type":"direct"}}`)
		for _, piece := range pieces {
			s += grown(index, `{"type":"input_json_delta","partial_json":"`+strings.ReplaceAll(piece, `"`, `\"`)+`"}`)
		}
		return s + closed(index)
	}
	tests := []struct {
		name            string
		body            string
		text, reasoning string
		want            Reply
	}{
		{"an answer in words", started() + hi + stopped("end_turn"), "Good day, 世界 🌍!", "", plain(StopEnd, toldByAnthropic)},
		{"a stop sequence", started() + hi + stopped("stop_sequence"), "Good day, 世界 🌍!", "", plain(StopEnd, toldByAnthropic)},
		{"length", started() + hi + stopped("max_tokens"), "Good day, 世界 🌍!", "", plain(StopLength, toldByAnthropic)},
		{"a full context", started() + hi + stopped("model_context_window_exceeded"), "Good day, 世界 🌍!", "", plain(StopLength, toldByAnthropic)},
		{"a pause is no end", started() + hi + stopped("pause_turn"), "Good day, 世界 🌍!", "", plain(StopLength, toldByAnthropic)},
		{"a refusal", started() + hi + stopped("refusal"), "Good day, 世界 🌍!", "", plain(StopContentFilter, toldByAnthropic)},
		{"an unpublished reason", started() + hi + stopped("bored"), "Good day, 世界 🌍!", "", plain(StopEnd, toldByAnthropic)},
		{"no content at all", started() + stopped("end_turn"), "", "", plain(StopEnd, toldByAnthropic)},
		{
			"events, blocks and deltas that are not known",
			ping + started() + typed("message_note", `,"note":[1]`) + opened("0", emptyText) + spokenText("a") +
				grown("0", `{"type":"citations_delta","citation":{"type":"char_location"}}`) + closed("0") +
				opened("1", `{"type":"server_tool_use","id":"s","name":"web_search","input":{}}`) +
				grown("1", `{"type":"input_json_delta","partial_json":"{"}`) + closed("1") +
				opened("2", emptyText) + grown("2", `{"type":"text_delta","text":"b"}`) + closed("2") + stopped("end_turn"),
			"ab", "", plain(StopEnd, toldByAnthropic),
		},
		{
			"CRLF, fields without a space, comments, no event names",
			": hi\r\n\r\n" + strings.ReplaceAll(strings.ReplaceAll(started()+hi+stopped("end_turn"), "data: ", "data:"), "\n", "\r\n"),
			"Good day, 世界 🌍!", "", plain(StopEnd, toldByAnthropic),
		},
		{
			"no message_stop, but a reason to stop",
			started() + hi + strings.TrimSuffix(stopped("end_turn"), typed("message_stop", "")),
			"Good day, 世界 🌍!", "", plain(StopEnd, toldByAnthropic),
		},
		{
			"message_stop, but no reason to stop",
			started() + hi + typed("message_stop", ""),
			"Good day, 世界 🌍!", "", plain(StopEnd, begunAtAnthropic(guessTokens("Good ")+guessTokens("day, 世界 🌍!"))),
		},
		{
			"text that a block begins with",
			started() + opened("0", `{"type":"text","text":"a"}`) + spokenText("b") + closed("0") + stopped("end_turn"),
			"ab", "", plain(StopEnd, toldByAnthropic),
		},
		{
			"usage is nowhere",
			typed("message_start", `,"message":{"id":"msg_1","model":"m-2"}`) + opened("0", emptyText) + spokenText("a") +
				closed("0") + typed("message_delta", `,"delta":{"stop_reason":"end_turn"}`) + typed("message_stop", ""),
			"a", "", plain(StopEnd, estimated(1)),
		},
		{
			"usage only at the end",
			typed("message_start", `,"message":{"id":"msg_1","model":"m-2","usage":{"input_tokens":0,"output_tokens":0}}`) +
				opened("0", emptyText) + spokenText("a") + stopped("end_turn"),
			"a", "", plain(StopEnd, toldByAnthropic),
		},
		{
			"usage at the end is of the output alone",
			started() + opened("0", emptyText) + spokenText("a") +
				typed("message_delta", `,"delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":0,"cache_read_input_tokens":null,"output_tokens":7}`),
			"a", "", plain(StopEnd, toldByAnthropic),
		},
		{
			"usage that cannot be is not believed",
			typed("message_start", `,"message":{"id":"msg_1","model":"m-2","usage":{"input_tokens":-5,"cache_read_input_tokens":9}}`) +
				opened("0", emptyText) + spokenText("a") + typed("message_delta", `,"delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":7}`),
			"a", "", plain(StopEnd, estimated(1)),
		},
		{
			"null everywhere",
			typed("message_start", `,"message":{"id":"msg_1","model":"m-2","usage":null}`) + "data: null\n\n" +
				opened("0", `{"type":"text","text":null,"citations":null}`) + spokenText("a") + typed("content_block_stop", `,"index":null`) +
				typed("message_delta", `,"delta":null,"usage":null,"error":null`) + stopped("end_turn"),
			"a", "", plain(StopEnd, toldByAnthropic),
		},
		{
			"invalid UTF-8 and half a surrogate pair",
			started() + opened("0", emptyText) + spokenText("a\xff\xe4\xb8") + spokenText(`\ud83d`) + stopped("end_turn"),
			"a\uFFFD\uFFFD\uFFFD\uFFFD", "", plain(StopEnd, toldByAnthropic),
		},
		{
			"reasoning before an answer",
			started() + opened("0", `{"type":"thinking","thinking":"","signature":""}`) +
				grown("0", `{"type":"thinking_delta","thinking":"hm "}`) + grown("0", `{"type":"thinking_delta","thinking":"so"}`) +
				grown("0", `{"type":"signature_delta","signature":"c2ln"}`) + closed("0") +
				opened("1", emptyText) + grown("1", `{"type":"text_delta","text":"a"}`) + closed("1") + stopped("end_turn"),
			"a", "hm so", plain(StopEnd, toldByAnthropic),
		},
		{
			"two tool calls after words",
			started() + opened("0", emptyText) + spokenText("Let me see.") + closed("0") +
				tool("1", "toolu_1", "calculator", "", `{"expr`, `ession": "2+2"}`) + tool("2", "toolu_2", "current_time", "") + stopped("tool_use"),
			"Let me see.", "",
			calls(ToolCall{"toolu_1", "calculator", `{"expression": "2+2"}`}, ToolCall{"toolu_2", "current_time", "{}"}),
		},
		{
			"tool calls whose pieces mix",
			started() + opened("0", `{"type":"tool_use","id":"a","name":"f","input":{}}`) + opened("1", `{"type":"tool_use","id":"b","name":"g","input":{}}`) +
				grown("1", `{"type":"input_json_delta","partial_json":"{\"y\""}`) + grown("0", `{"type":"input_json_delta","partial_json":"{\"x\":1}"}`) +
				grown("1", `{"type":"input_json_delta","partial_json":":2}"}`) + closed("1") + closed("0") + stopped("tool_use"),
			"", "", calls(ToolCall{"a", "f", `{"x":1}`}, ToolCall{"b", "g", `{"y":2}`}),
		},
		{
			"arguments that are no JSON are the caller's to judge",
			started() + tool("0", "a", "f", `{"x": nope`) + stopped("tool_use"),
			"", "", calls(ToolCall{"a", "f", `{"x": nope`}),
		},
		{
			"arguments in one piece",
			started() + opened("0", `{"type":"tool_use","id":"a","name":"f","input":{"x":12345678901234567890}}`) + closed("0") + stopped("tool_use"),
			"", "", calls(ToolCall{"a", "f", `{"x":12345678901234567890}`}),
		},
		{
			"a call although the turn is said to have ended",
			started() + tool("0", "a", "f", "{}") + stopped("end_turn"),
			"", "", calls(ToolCall{"a", "f", "{}"}),
		},
		{"calls that were cut are none", started() + tool("0", "a", "f", `{"x":`) + stopped("max_tokens"), "", "", plain(StopLength, toldByAnthropic)},
		{"calls that were refused are none", started() + tool("0", "a", "f", `{}`) + stopped("refusal"), "", "", plain(StopContentFilter, toldByAnthropic)},
	}
	for _, tt := range tests {
		for cut, pieces := range map[string][]string{
			"whole": {streamHead + tt.body}, "bytewise": strings.Split(streamHead+tt.body, ""), "torn": torn(streamHead + tt.body),
		} {
			t.Run(tt.name+"/"+cut, func(t *testing.T) {
				t.Parallel()
				w := &wire{answers: []func(net.Conn){write(pieces...)}}
				var heard spoken
				got, err := newTestAnthropic(t, w.client()).Generate(t.Context(), hello(), heard.speak)
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(got, tt.want) {
					t.Errorf("reply %+v\nwant  %+v", got, tt.want)
				}
				if text, reasoning := heard.text.String(), heard.reasoning.String(); text != tt.text || reasoning != tt.reasoning {
					t.Errorf("said %q, thought %q; want %q, %q", text, reasoning, tt.text, tt.reasoning)
				}
			})
		}
	}
}

func TestAnthropicReplyCutAnywhereInTwo(t *testing.T) {
	t.Parallel()
	body := streamHead + started() + opened("0", emptyText) + spokenText("Größe ") + spokenText("🌍") + closed("0") + stopped("end_turn")
	for i := 1; i < len(body); i++ {
		w := &wire{answers: []func(net.Conn){write(body[:i], body[i:])}}
		var heard spoken
		got, err := newTestAnthropic(t, w.client()).Generate(t.Context(), hello(), heard.speak)
		if err != nil || heard.text.String() != "Größe 🌍" || got.Usage != toldByAnthropic {
			t.Fatalf("cut at %d: said %q, usage %+v, error %v", i, heard.text.String(), got.Usage, err)
		}
	}
}

// Whatever is missing at the end, half a reply is never taken for a whole one.
func TestAnthropicReplyThatEndsAnywhere(t *testing.T) {
	t.Parallel()
	whole := started() + opened("0", emptyText) + spokenText("all of it") + closed("0")
	body := whole + stopped("end_turn")
	enough := len(whole) + strings.Index(stopped("end_turn"), "\n\n") + 2
	for i := range len(body) {
		w := &wire{answers: []func(net.Conn){write(streamHead, body[:i])}}
		m := newTestAnthropic(t, w.client(), func(cfg *AnthropicConfig) { cfg.MaxRetries = -1 })
		reply, err := m.Generate(t.Context(), hello(), func(Delta) {})
		if (err == nil) != (i >= enough) {
			t.Fatalf("of %d bytes, %d came: error %v", len(body), i, err)
		}
		if err != nil && (reply.Stop != "" || i >= len(started()) && reply.Usage.InputTokens != 21) {
			t.Fatalf("of %d bytes, %d came: reply %+v", len(body), i, reply)
		}
	}
}
