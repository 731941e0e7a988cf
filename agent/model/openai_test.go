package model

import (
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// The usage of hello when the provider does not say: what estimates are made of.
func estimated(output int64) Usage {
	return Usage{InputTokens: requestTokens(hello(), guessTokens), OutputTokens: output, Estimated: true}
}

var toldUsage = Usage{InputTokens: 20, CachedInputTokens: 16, CacheWriteTokens: 3, OutputTokens: 7}

// Each reply must be the same however the network cuts it up.
func TestOpenAIReply(t *testing.T) {
	t.Parallel()
	tools := func(pieces ...string) string {
		var b strings.Builder
		for _, piece := range pieces {
			b.WriteString(event(`{"id":"r1","model":"m-2","choices":[{"index":0,"delta":{"tool_calls":[` + piece + `]}}]}`))
		}
		return b.String()
	}
	calls := func(calls ...ToolCall) Reply {
		return Reply{Stop: StopToolCalls, ToolCalls: calls, Usage: toldUsage, ResponseID: "r1", ResponseModel: "m-2"}
	}
	plain := func(stop Stop, usage Usage) Reply {
		return Reply{Stop: stop, Usage: usage, ResponseID: "r1", ResponseModel: "m-2"}
	}
	toolsEnd := ended("tool_calls") + usageEvent + doneEvent
	tests := []struct {
		name            string
		body            string
		text, reasoning string
		want            Reply
	}{
		{
			"an answer in words, its usage in a last chunk without choices",
			said("Good ") + said("day, 世界 🌍!") + ended("stop") + usageEvent + doneEvent,
			"Good day, 世界 🌍!", "", plain(StopEnd, toldUsage),
		},
		{
			"keep-alive comments, CRLF, fields without a space, event names",
			": hi\r\n\r\n" + strings.ReplaceAll("event: chunk\n"+said("a")+":\n\n"+said("b"), "\n", "\r\n") +
				"id: 4\nretry: 10\n" + strings.Replace(ended("stop"), "data: ", "data:", 1) + doneEvent,
			"ab", "", plain(StopEnd, estimated(2)),
		},
		{
			"one event in several data lines",
			"data: {\"id\":\"r1\",\"model\":\"m-2\",\ndata: \"choices\":[{\"delta\":{\"content\":\"a\"},\ndata: \"finish_reason\":\"stop\"}]}\n\n" + usageEvent,
			"a", "", plain(StopEnd, toldUsage),
		},
		{
			"no [DONE], but a reason to stop",
			said("a") + ended("stop"),
			"a", "", plain(StopEnd, estimated(1)),
		},
		{
			"[DONE], but no reason to stop",
			said("a") + usageEvent + doneEvent,
			"a", "", plain(StopEnd, toldUsage),
		},
		{
			"usage in every chunk, and the reason with the last words",
			event(`{"id":"r1","model":"m-2","error":null,"choices":[{"delta":{"role":"assistant","content":null}}],"usage":{"prompt_tokens":20,"completion_tokens":0,"total_tokens":20}}`) +
				event(`{"choices":[{"delta":{"content":"all of it"},"finish_reason":"stop"}],"usage":{"prompt_tokens":20,"completion_tokens":3,"total_tokens":30}}`),
			"all of it", "", plain(StopEnd, Usage{InputTokens: 20, OutputTokens: 10}),
		},
		{
			"usage that cannot be is not believed",
			said("a") + ended("stop") + event(`{"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":-1,"prompt_tokens_details":{"cached_tokens":9}}}`) + doneEvent,
			"a", "", plain(StopEnd, estimated(1)),
		},
		{
			"null everywhere",
			event(`{"id":"r1","model":"m-2","choices":[{"index":null,"delta":{"content":null,"refusal":null,"tool_calls":null},"finish_reason":null}],"usage":null}`) +
				said("a") + event(`null`) + event(`{"choices":null}`) + ended("stop") + usageEvent,
			"a", "", plain(StopEnd, toldUsage),
		},
		{
			"another choice than the one asked for",
			said("a") + event(`{"choices":[{"index":1,"delta":{"content":"no"},"finish_reason":"length"}]}`) + ended("stop") + usageEvent,
			"a", "", plain(StopEnd, toldUsage),
		},
		{
			"invalid UTF-8 and half a surrogate pair",
			said("a\xff\xe4\xb8") + said(`\ud83d`) + ended("stop") + usageEvent,
			"a\uFFFD\uFFFD\uFFFD\uFFFD", "", plain(StopEnd, toldUsage),
		},
		{
			"reasoning under either name, or both",
			event(`{"id":"r1","model":"m-2","choices":[{"delta":{"reasoning_content":"hm "}}]}`) +
				event(`{"choices":[{"delta":{"reasoning":"so "}}]}`) +
				event(`{"choices":[{"delta":{"reasoning":"ah","reasoning_content":"ah"}}]}`) +
				said("a") + ended("stop") + usageEvent,
			"a", "hm so ah", plain(StopEnd, toldUsage),
		},
		{"length", said("a") + ended("length") + usageEvent, "a", "", plain(StopLength, toldUsage)},
		{"content filter", said("a") + ended("content_filter") + usageEvent, "a", "", plain(StopContentFilter, toldUsage)},
		{"an unpublished reason", said("a") + ended("eos") + usageEvent, "a", "", plain(StopEnd, toldUsage)},
		{
			"a refusal is said, and is no answer",
			event(`{"id":"r1","model":"m-2","choices":[{"delta":{"refusal":"I will not."}}]}`) + ended("stop") + usageEvent,
			"I will not.", "", plain(StopContentFilter, toldUsage),
		},
		{
			"two tool calls, their pieces mixed",
			said("Let me see. ") + tools(
				`{"index":0,"id":"c1","type":"function","function":{"name":"calculator","arguments":""}}`,
				`{"index":0,"function":{"arguments":"{\"expression\":"}}`,
				`{"index":1,"id":"c2","type":"function","function":{"name":"current_time","arguments":""}},{"index":0,"function":{"arguments":"\"2+2\"}"}}`,
				`{"index":1,"function":{"arguments":"{}"}}`,
			) + toolsEnd,
			"Let me see. ", "",
			calls(ToolCall{"c1", "calculator", `{"expression":"2+2"}`}, ToolCall{"c2", "current_time", "{}"}),
		},
		{
			"whole calls that all say index 0 (Gemini)",
			tools(`{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}},{"index":0,"id":"b","function":{"name":"f","arguments":"{\"x\":1}"}}`) + toolsEnd,
			"", "", calls(ToolCall{"a", "f", "{}"}, ToolCall{"b", "f", `{"x":1}`}),
		},
		{
			"arguments that are no JSON are the caller's to judge",
			tools(`{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\": no"}}`, `{"index":0,"function":{"arguments":"pe"}}`) + toolsEnd,
			"", "", calls(ToolCall{"a", "f", `{"x": nope`}),
		},
		{
			"chunks without a choice before the answer (Azure)",
			event(`{"id":"","model":"","choices":[],"prompt_filter_results":[{"prompt_index":0}]}`) + said("a") + ended("stop") + usageEvent + doneEvent,
			"a", "", plain(StopEnd, toldUsage),
		},
		{
			"no content at all",
			event(`{"id":"r1","model":"m-2","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}`) + ended("stop") + usageEvent + doneEvent,
			"", "", plain(StopEnd, toldUsage),
		},
		{
			"no index, and name and id with every piece",
			tools(
				`{"id":"a","function":{"name":"f","arguments":"{\"x\""}}`, `{"id":"a","function":{"name":"f","arguments":":1}"}}`,
				`{"id":"b","function":{"name":"g","arguments":"{}"}}`,
			) + toolsEnd,
			"", "", calls(ToolCall{"a", "f", `{"x":1}`}, ToolCall{"b", "g", "{}"}),
		},
		{
			"no arguments, and stop for a reason (Ollama)",
			tools(`{"index":0,"id":"a","function":{"name":"f"}}`) + ended("stop") + usageEvent + doneEvent,
			"", "", calls(ToolCall{"a", "f", "{}"}),
		},
		{
			"calls that were cut are none",
			tools(`{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":"}}`) + ended("length") + usageEvent,
			"", "", plain(StopLength, toldUsage),
		},
	}
	for _, tt := range tests {
		for cut, pieces := range map[string][]string{
			"whole": {streamHead + tt.body}, "bytewise": strings.Split(streamHead+tt.body, ""), "torn": torn(streamHead + tt.body),
		} {
			t.Run(tt.name+"/"+cut, func(t *testing.T) {
				t.Parallel()
				w := &wire{answers: []func(net.Conn){write(pieces...)}}
				var heard spoken
				got, err := newTestOpenAI(t, w.client()).Generate(t.Context(), hello(), heard.speak)
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(got, tt.want) {
					t.Errorf("reply %+v\nwant  %+v", got, tt.want)
				}
				if text, reasoning := heard.text.String(), heard.reasoning.String(); text != tt.text || reasoning != tt.reasoning {
					t.Errorf("said %q, thought %q; want %q, %q", text, reasoning, tt.text, tt.reasoning)
				}
				for _, d := range heard.deltas {
					if (d.Text == "") == (d.Reasoning == "") {
						t.Errorf("delta %+v has not exactly one of text and reasoning", d)
					}
				}
			})
		}
	}
}

// torn is text cut within characters too.
func torn(text string) []string {
	var pieces []string
	for i := 0; i < len(text); i += 7 {
		pieces = append(pieces, text[i:min(i+7, len(text))])
	}
	return pieces
}

func TestOpenAIReplyCutAnywhereInTwo(t *testing.T) {
	t.Parallel()
	body := streamHead + said("Größe ") + said("🌍") + ended("stop") + usageEvent + doneEvent
	for i := 1; i < len(body); i++ {
		w := &wire{answers: []func(net.Conn){write(body[:i], body[i:])}}
		var heard spoken
		got, err := newTestOpenAI(t, w.client()).Generate(t.Context(), hello(), heard.speak)
		if err != nil || heard.text.String() != "Größe 🌍" || got.Usage != toldUsage {
			t.Fatalf("cut at %d: said %q, usage %+v, error %v", i, heard.text.String(), got.Usage, err)
		}
	}
}

// Whole calls without ids get ids of their own, each another.
func TestOpenAIMakesMissingToolCallIDs(t *testing.T) {
	t.Parallel()
	for _, piece := range []string{
		`{"index":0,"id":"","function":{"name":"f","arguments":"{}"}},{"index":0,"id":"","function":{"name":"f","arguments":"{}"}}`,
		`{"function":{"name":"f","arguments":"{}"}},{"function":{"name":"f","arguments":"{}"}}`,
		`{"index":0,"id":"x","function":{"name":"f","arguments":"{}"}},{"index":1,"id":"x","function":{"name":"f","arguments":"{}"}}`,
	} {
		body := event(`{"choices":[{"delta":{"tool_calls":[`+piece+`]}}]}`) + ended("tool_calls")
		w := &wire{answers: []func(net.Conn){write(streamHead, body)}}
		got, err := newTestOpenAI(t, w.client()).Generate(t.Context(), hello(), func(Delta) {})
		if err != nil || len(got.ToolCalls) != 2 {
			t.Fatalf("%s: calls %+v, error %v", piece, got.ToolCalls, err)
		}
		if a, b := got.ToolCalls[0].ID, got.ToolCalls[1].ID; a == "" || b == "" || a == b {
			t.Errorf("%s: ids %q and %q", piece, a, b)
		}
	}
}

// A reader of ours that is slower than the timeout is not the provider's silence.
func TestOpenAISlowReaderIsNoTimeout(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &wire{answers: []func(net.Conn){write(streamHead, said("a"), said("b"), ended("stop"), usageEvent)}}
		var heard spoken
		_, err := newTestOpenAI(t, w.client()).Generate(t.Context(), hello(), func(d Delta) {
			heard.speak(d)
			_ = sleep(t.Context(), 10*DefaultTimeout)
		})
		if err != nil || heard.text.String() != "ab" {
			t.Errorf("said %q, error %v", heard.text.String(), err)
		}
	})
}

func TestOpenAIConcurrently(t *testing.T) {
	t.Parallel()
	w := &wire{answers: []func(net.Conn){write(streamHead, said("a"), said("b"), ended("stop"), usageEvent, doneEvent)}}
	m := newTestOpenAI(t, w.client())
	var callers sync.WaitGroup
	for range 50 {
		callers.Go(func() {
			var heard spoken
			reply, err := m.Generate(t.Context(), hello(), heard.speak)
			if err != nil || reply.Usage != toldUsage || heard.text.String() != "ab" {
				t.Errorf("said %q, reply %+v, error %v", heard.text.String(), reply, err)
			}
		})
	}
	callers.Wait()
}

func TestNewHTTPClientServesManyStreams(t *testing.T) {
	t.Parallel()
	client := NewHTTPClient()
	if client.Timeout != 0 {
		t.Errorf("timeout %v would cut long replies", client.Timeout)
	}
	if transport, ok := client.Transport.(*http.Transport); !ok || transport.MaxIdleConnsPerHost < 100 {
		t.Errorf("transport %+v keeps too few connections", client.Transport)
	}
}
