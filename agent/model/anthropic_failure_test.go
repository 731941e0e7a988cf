package model

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// errorEvent is how Anthropic breaks a stream off.
func errorEvent(kind string) string {
	return typed("error", `,"error":{"type":"`+kind+`","message":"No luck."},"request_id":"req_1"`)
}

// errorBody is how it refuses a request.
func errorBody(kind string) string {
	return `{"type":"error","error":{"type":"` + kind + `","message":"No luck."},"request_id":"req_1"}`
}

func TestAnthropicFailure(t *testing.T) {
	t.Parallel()
	type answers = []func(net.Conn)
	half := started() + opened("0", emptyText) + spokenText("half")
	good := write(streamHead, started(), opened("0", emptyText), spokenText("ok"), closed("0"), stopped("end_turn"))
	const once, twice = 250 * time.Millisecond, 750 * time.Millisecond // the shortest waits
	limits := func(remaining, reset string) []string {
		return []string{
			"anthropic-ratelimit-requests-remaining: " + remaining, "anthropic-ratelimit-requests-reset: " + reset,
			"anthropic-ratelimit-input-tokens-remaining: 4000", "anthropic-ratelimit-input-tokens-reset: 2000-01-01T00:00:40Z",
		}
	}
	tests := []struct {
		name     string
		answers  answers
		kind     ErrorKind // empty: it succeeds in the end
		text     string
		usage    Usage
		requests int
		// The clock stands between these two at the end.
		least, most time.Duration
	}{
		{
			"529, then an answer",
			answers{status("529 Overloaded", errorBody("overloaded_error")), good},
			"", "ok", toldByAnthropic, 2, once, 2 * once,
		},
		{
			"529 without end",
			answers{status("529 Overloaded", errorBody("overloaded_error"))},
			KindUnavailable, "",
			Usage{},
			3, twice, 2 * twice,
		},
		{
			"429 that says when",
			answers{status("429 Too Many", errorBody("rate_limit_error"), append(limits("0", "2000-01-01T00:00:30Z"), "retry-after: 7")...), good},
			"", "ok", toldByAnthropic, 2, 7 * time.Second, 7 * time.Second,
		},
		{
			"429 with only the limits' headers",
			answers{status("429 Too Many", errorBody("rate_limit_error"), limits("0", "2000-01-01T00:00:30Z")...), good},
			"", "ok", toldByAnthropic, 2, 30 * time.Second, 30 * time.Second,
		},
		{
			"429 for longer than anyone waits",
			answers{status("429 Too Many", errorBody("rate_limit_error"), limits("0", "2000-01-01T01:00:00Z")...), good},
			KindRateLimited, "",
			Usage{},
			1, 0, 0,
		},
		{
			"429 whose limits are not used up",
			answers{status("429 Too Many", errorBody("rate_limit_error"), limits("3", "2000-01-01T01:00:00Z")...), good},
			"", "ok", toldByAnthropic, 2, once, 2 * once,
		},
		{"500, then an answer", answers{status("500 Internal Server Error", errorBody("api_error")), good}, "", "ok", toldByAnthropic, 2, once, 2 * once},
		{"504, then an answer", answers{status("504 Timeout", errorBody("timeout_error")), good}, "", "ok", toldByAnthropic, 2, once, 2 * once},
		{"400", answers{status("400 Bad Request", errorBody("invalid_request_error"))}, KindRejected, "", Usage{}, 1, 0, 0},
		{"401", answers{status("401 Unauthorized", errorBody("authentication_error"))}, KindRejected, "", Usage{}, 1, 0, 0},
		{"402", answers{status("402 Payment Required", errorBody("billing_error"))}, KindRejected, "", Usage{}, 1, 0, 0},
		{"404", answers{status("404 Not Found", errorBody("not_found_error"))}, KindRejected, "", Usage{}, 1, 0, 0},
		{"413 of something before Anthropic", answers{status("413 Too Large", `<html>`)}, KindRejected, "", Usage{}, 1, 0, 0},
		{"hung up before headers, then an answer", answers{write(), good}, "", "ok", toldByAnthropic, 2, once, 2 * once},

		{
			"overloaded before the reply starts, then an answer",
			answers{write(streamHead, errorEvent("overloaded_error")), good},
			"", "ok", toldByAnthropic, 2, once, 2 * once,
		},
		{
			"overloaded once it has started: both tries are paid",
			answers{write(streamHead, started(), ping, errorEvent("overloaded_error")), good},
			"", "ok",
			Usage{InputTokens: 42, CachedInputTokens: 32, CacheWriteTokens: 6, OutputTokens: 8, Estimated: true},
			2, once, 2 * once,
		},
		{
			"overloaded again and again: all tries are paid",
			answers{write(streamHead, started(), errorEvent("overloaded_error"))},
			KindUnavailable, "",
			Usage{InputTokens: 63, CachedInputTokens: 48, CacheWriteTokens: 9, OutputTokens: 3, Estimated: true},
			3, twice, 2 * twice,
		},
		{"a rate limit in the stream", answers{write(streamHead, errorEvent("rate_limit_error")), good}, "", "ok", toldByAnthropic, 2, once, 2 * once},
		{"a bad request in the stream", answers{write(streamHead, errorEvent("invalid_request_error"))}, KindRejected, "", Usage{}, 1, 0, 0},
		{"no permission in the stream", answers{write(streamHead, errorEvent("permission_error"))}, KindRejected, "", Usage{}, 1, 0, 0},
		{"a request too large in the stream", answers{write(streamHead, errorEvent("request_too_large"))}, KindRejected, "", Usage{}, 1, 0, 0},
		{"an error without a word", answers{write(streamHead, typed("error", ""))}, KindUnavailable, "", Usage{}, 3, twice, 2 * twice},

		{"overloaded after the first token", answers{write(streamHead, half, errorEvent("overloaded_error")), good}, KindBroken, "half", begunAtAnthropic(1), 1, 0, 0},
		{"an end without an end", answers{write(streamHead, half)}, KindBroken, "half", begunAtAnthropic(1), 1, 0, 0},
		{"an end within an event", answers{write(streamHead, half, stopped("end_turn")[:80])}, KindBroken, "half", begunAtAnthropic(1), 1, 0, 0},
		{
			"cut within a tool call",
			answers{write(streamHead, started(), opened("0", `{"type":"tool_use","id":"a","name":"f","input":{}}`),
				grown("0", `{"type":"input_json_delta","partial_json":"{\"a"}`))},
			KindBroken, "", begunAtAnthropic(toolFraming + guessTokens("f") + guessTokens(`{"a`)), 1, 0, 0,
		},
		{"garbage after the first token", answers{write(streamHead, half, event(`{"type":`))}, KindBroken, "half", begunAtAnthropic(1), 1, 0, 0},
		{"garbage before it", answers{write(streamHead, event(`<html>`))}, KindBroken, "", Usage{}, 1, 0, 0},
		{"content of no block", answers{write(streamHead, started(), spokenText("x"))}, KindBroken, "", begunAtAnthropic(1), 1, 0, 0},
		{"an end of nothing", answers{write(streamHead, typed("message_stop", ""))}, KindBroken, "", Usage{}, 1, 0, 0},
		{"no stream but an answer in one piece", answers{status("200 OK", `{"type":"message","content":[]}`)}, KindBroken, "", Usage{}, 1, 0, 0},

		{"silence instead of headers", answers{hang()}, KindTimeout, "", estimated(0), 1, time.Minute, time.Minute},
		{"silence after the start", answers{hang(streamHead, started())}, KindTimeout, "", begunAtAnthropic(1), 1, time.Minute, time.Minute},
		{"silence within an answer", answers{hang(streamHead, half)}, KindTimeout, "half", begunAtAnthropic(1), 1, time.Minute, time.Minute},
		{
			"silence after the reason to stop",
			answers{hang(streamHead, half, strings.TrimSuffix(stopped("end_turn"), typed("message_stop", "")))},
			"", "half", toldByAnthropic, 1, time.Minute, time.Minute,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &wire{answers: tt.answers}
				var heard spoken
				start := time.Now()
				reply, err := newTestAnthropic(t, w.client()).Generate(t.Context(), hello(), heard.speak)
				took := time.Since(start)
				if kindOf(err) != tt.kind || (err == nil) != (tt.kind == "") {
					t.Fatalf("error %v, want kind %q", err, tt.kind)
				}
				if err != nil && (len(reply.ToolCalls) > 0 || reply.Stop != "") {
					t.Errorf("with an error, a reply: %+v", reply)
				}
				if reply.Usage != tt.usage {
					t.Errorf("usage %+v, want %+v", reply.Usage, tt.usage)
				}
				if got := heard.text.String(); got != tt.text {
					t.Errorf("said %q, want %q", got, tt.text)
				}
				if n := len(w.sent()); n != tt.requests {
					t.Errorf("%d requests, want %d", n, tt.requests)
				}
				if took < tt.least || took > tt.most {
					t.Errorf("took %v, want %v to %v", took, tt.least, tt.most)
				}
			})
		})
	}
}

// When the caller goes, so does the request: at once, with what it may have cost.
func TestAnthropicCancel(t *testing.T) {
	t.Parallel()
	type answers = []func(net.Conn)
	tests := []struct {
		name   string
		answer answers
		usage  Usage
	}{
		{"while it waits for headers", answers{hang()}, estimated(0)},
		{"once it has started", answers{hang(streamHead, started(), ping)}, begunAtAnthropic(1)},
		{"within an answer", answers{hang(streamHead, started(), opened("0", emptyText), spokenText("half an answer"))}, begunAtAnthropic(3)},
		{"while it waits to retry", answers{status("529 Overloaded", ``, "Retry-After: 50")}, Usage{}},
		{
			"on a second try, where the first had started",
			answers{write(streamHead, started(), errorEvent("overloaded_error")), hang()},
			Usage{InputTokens: 21, CachedInputTokens: 16, CacheWriteTokens: 3, OutputTokens: 1, Estimated: true}.plus(estimated(0)),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &wire{answers: tt.answer}
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				start := time.Now()
				reply, err := newTestAnthropic(t, w.client()).Generate(ctx, hello(), func(Delta) {})
				if !errors.Is(err, context.Canceled) || kindOf(err) != "" {
					t.Errorf("error %v, want the context's", err)
				}
				if took := time.Since(start); took != time.Second {
					t.Errorf("returned %v after the start, want 1s", took)
				}
				if reply.Usage != tt.usage {
					t.Errorf("usage %+v, want %+v", reply.Usage, tt.usage)
				}
				synctest.Wait() // the server's goroutine ends only when the connection does
			})
		})
	}
}

// A ping is a sign of life, however long the model thinks.
func TestAnthropicPingsKeepAReplyAlive(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &wire{answers: []func(net.Conn){func(c net.Conn) {
			for _, piece := range []string{streamHead, started(), ping, ping, ping, opened("0", emptyText), spokenText("late"), stopped("end_turn")} {
				_ = sleep(context.Background(), 4*time.Second)
				write(piece)(c)
			}
		}}}
		m := newTestAnthropic(t, w.client(), func(cfg *AnthropicConfig) { cfg.Timeout = 5 * time.Second })
		var heard spoken
		if _, err := m.Generate(t.Context(), hello(), heard.speak); err != nil || heard.text.String() != "late" {
			t.Errorf("said %q, error %v", heard.text.String(), err)
		}
	})
}

// A real connection, cut within an answer.
func TestAnthropicConnectionCut(t *testing.T) {
	t.Parallel()
	half := started() + opened("0", emptyText) + spokenText("half")
	heardIt := make(chan struct{})
	w := &wire{answers: []func(net.Conn){func(c net.Conn) {
		write(fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(half), half))(c)
		<-heardIt // a reset may overtake what was sent
		_ = c.(*net.TCPConn).SetLinger(0)
	}}}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		if c, err := listener.Accept(); err == nil {
			w.handle(c)
		}
	}()
	client := NewHTTPClient()
	defer client.CloseIdleConnections()
	m := newTestAnthropic(t, client, func(cfg *AnthropicConfig) { cfg.BaseURL = "http://" + listener.Addr().String() })
	reply, err := m.Generate(t.Context(), hello(), func(Delta) { close(heardIt) })
	if kindOf(err) != KindBroken || reply.Usage != begunAtAnthropic(1) {
		t.Errorf("error %v, usage %+v", err, reply.Usage)
	}
	_ = listener.Close()
	<-served
}

func TestAnthropicErrorsNeverHoldTheKey(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(net.Conn){
		"in a body":         status("401 Unauthorized", strings.Replace(errorBody("authentication_error"), "No luck", testKey, 1)),
		"in an event":       write(streamHead, strings.Replace(errorEvent("api_error"), "No luck", testKey, 1)),
		"in a broken event": write(streamHead, event(testKey)),
	} {
		w := &wire{answers: []func(net.Conn){answer}}
		m := newTestAnthropic(t, w.client(), func(cfg *AnthropicConfig) { cfg.MaxRetries = -1 })
		if _, err := m.Generate(t.Context(), hello(), func(Delta) {}); err == nil || strings.Contains(err.Error(), testKey) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
