package model

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// Whatever a provider sends, a call ends in an error or in a reply that keeps
// its contract, and what was said is valid text.
func FuzzOpenAIStream(f *testing.F) {
	for _, seed := range []string{
		"",
		doneEvent,
		said("Good ") + said("day 🌍") + ended("stop") + usageEvent + doneEvent,
		said("half"),
		event(`{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}`),
		event(`{"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":"{"}},{"index":-1}]}}]}`) + doneEvent,
		event(`{"error":{"message":"no","code":429}}`),
		event(`{"object":"error","code":[]}`),
		said(`\ud83d`) + said("\xf0\x9f") + "\r\ndata:\r\n\r\n" + ended("length"),
		event(`{"choices":[{"delta":{"content":"a","reasoning":"b","refusal":"c"}}],"usage":{"prompt_tokens":1e3}}`),
		event(`{"choices":[],"usage":{"prompt_tokens":9223372036854775807,"total_tokens":-9223372036854775808}}`),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			reader := io.NopCloser(iotest.HalfReader(strings.NewReader(body)))
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: reader, Request: r}, nil
		})}
		m := newTestOpenAI(t, client, func(cfg *OpenAIConfig) { cfg.MaxRetries = -1 })
		reply, err := m.Generate(t.Context(), hello(), func(d Delta) {
			if !utf8.ValidString(d.Text) || !utf8.ValidString(d.Reasoning) {
				t.Errorf("delta %+q is no valid text", d)
			}
			if (d.Text == "") == (d.Reasoning == "") {
				t.Errorf("delta %+v has not exactly one of text and reasoning", d)
			}
		})
		checkReply(t, reply, err)
	})
}

// checkReply holds a reply against what Model promises.
func checkReply(t *testing.T, reply Reply, err error) {
	t.Helper()
	u := reply.Usage
	if u.InputTokens < 0 || u.OutputTokens < 0 || u.CachedInputTokens < 0 || u.CacheWriteTokens < 0 ||
		u.CachedInputTokens+u.CacheWriteTokens > u.InputTokens {
		t.Errorf("usage %+v cannot be", u)
	}
	if err != nil {
		if kindOf(err) == "" {
			t.Errorf("error %v is no *Error", err)
		}
		if len(reply.ToolCalls) > 0 || reply.Stop != "" {
			t.Errorf("error %v beside a reply %+v", err, reply)
		}
		return
	}
	if (len(reply.ToolCalls) > 0) != (reply.Stop == StopToolCalls) {
		t.Errorf("stopped for %q with %d calls", reply.Stop, len(reply.ToolCalls))
	}
	ids := map[string]bool{}
	for _, call := range reply.ToolCalls {
		if call.ID == "" || ids[call.ID] {
			t.Errorf("id %q is empty or taken", call.ID)
		}
		ids[call.ID] = true
		if call.Arguments == "" || !utf8.ValidString(call.Name+call.ID+call.Arguments) {
			t.Errorf("call %+q is no valid text", call)
		}
	}
	switch reply.Stop {
	case StopEnd, StopToolCalls, StopLength, StopContentFilter:
	default:
		t.Errorf("stopped for %q", reply.Stop)
	}
}
