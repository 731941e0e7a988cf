package model

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What a failed call leaves, and what it cost to find out: how many requests,
// how long by the clock.
func TestOpenAIFailure(t *testing.T) {
	t.Parallel()
	type answers = []func(net.Conn)
	const chunked = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
	limits := func(requests, requestsReset, tokens, tokensReset string) []string {
		return []string{
			"x-ratelimit-limit-requests: 60", "x-ratelimit-remaining-requests: " + requests, "x-ratelimit-reset-requests: " + requestsReset,
			"x-ratelimit-limit-tokens: 150000", "x-ratelimit-remaining-tokens: " + tokens, "x-ratelimit-reset-tokens: " + tokensReset,
		}
	}
	role := event(`{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}`)
	good := write(streamHead, said("ok"), ended("stop"), usageEvent, doneEvent)
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
			"429, then an answer",
			answers{status("429 Too Many", `{"error":{"message":"slow down"}}`, "Retry-After: 7"), good},
			"", "ok", toldUsage, 2, 7 * time.Second, 7 * time.Second,
		},
		{
			"429 with milliseconds, which are the finer word",
			answers{status("429 Too Many", `{}`, "Retry-After: 7", "Retry-After-Ms: 1250"), good},
			"", "ok", toldUsage, 2, 1250 * time.Millisecond, 1250 * time.Millisecond,
		},
		{
			"429 with a date",
			answers{status("429 Too Many", `{}`, "Retry-After: Sat, 01 Jan 2000 00:00:09 GMT"), good},
			"", "ok", toldUsage, 2, 9 * time.Second, 9 * time.Second,
		},
		{
			"429 for longer than anyone waits",
			answers{status("429 Too Many", `{}`, "Retry-After: 3600"), good},
			KindRateLimited, "",
			Usage{},
			1, 0, 0,
		},
		{
			"429 with only the limits' headers",
			answers{status("429 Too Many", `{}`, limits("0", "1m0s", "3", "6m0s")...), good},
			"", "ok", toldUsage, 2, time.Minute, time.Minute,
		},
		{
			"429 whose limits are both used up",
			answers{status("429 Too Many", `{}`, limits("0", "1.5s", "0", "250ms")...), good},
			"", "ok", toldUsage, 2, 1500 * time.Millisecond, 1500 * time.Millisecond,
		},
		{
			"429 that says when beside its limits' headers",
			answers{status("429 Too Many", `{}`, append(limits("0", "6m0s", "0", "6m0s"), "Retry-After: 2")...), good},
			"", "ok", toldUsage, 2, 2 * time.Second, 2 * time.Second,
		},
		{
			"429 whose limits are filled again tomorrow",
			answers{status("429 Too Many", `{}`, limits("0", "8h24m0s", "100", "0s")...), good},
			KindRateLimited, "",
			Usage{},
			1, 0, 0,
		},
		{
			"429 whose limits are not used up",
			answers{status("429 Too Many", `{}`, limits("7", "6m0s", "100", "6m0s")...), good},
			"", "ok", toldUsage, 2, 250 * time.Millisecond, 500 * time.Millisecond,
		},
		{
			"429 whose limits' headers are in words",
			answers{status("429 Too Many", `{}`, limits("0", "soon", "none", "")...), good},
			"", "ok", toldUsage, 2, 250 * time.Millisecond, 500 * time.Millisecond,
		},
		{
			"529 (overloaded), then an answer",
			answers{status("529 Overloaded", `{"error":{"message":"overloaded"}}`), good},
			"", "ok", toldUsage, 2, 250 * time.Millisecond, 500 * time.Millisecond,
		},
		{
			"429 for want of money",
			answers{status("429 Too Many", `{"error":{"message":"pay","code":"insufficient_quota"}}`), good},
			KindRateLimited, "",
			Usage{},
			1, 0, 0,
		},
		{
			"500s without end",
			answers{status("500 Internal Server Error", `oops`)},
			KindUnavailable, "",
			Usage{},
			3, 750 * time.Millisecond, 1500 * time.Millisecond,
		},
		{
			"503, 408, then an answer",
			answers{status("503 Unavailable", `<html>`), status("408 Timeout", ``), good},
			"", "ok", toldUsage, 3, 750 * time.Millisecond, 1500 * time.Millisecond,
		},
		{"401", answers{status("401 Unauthorized", `{"error":{"message":"bad key"}}`)}, KindRejected, "", Usage{}, 1, 0, 0},
		{"404 of a server without details", answers{status("404 Not Found", `404 page not found`)}, KindRejected, "", Usage{}, 1, 0, 0},
		{"400 whose error is a string", answers{status("400 Bad Request", `{"error":"too long"}`)}, KindRejected, "", Usage{}, 1, 0, 0},

		{"hung up before headers, then an answer", answers{write(), good}, "", "ok", toldUsage, 2, 250 * time.Millisecond, 500 * time.Millisecond},
		{"no HTTP at all", answers{write("SSH-2.0-OpenSSH\r\n")}, KindUnavailable, "", Usage{}, 3, 750 * time.Millisecond, 1500 * time.Millisecond},
		{
			"an error event before the first token, then an answer",
			answers{write(streamHead, event(`{"error":{"message":"overloaded","type":"server_error"}}`)), good},
			"", "ok", toldUsage, 2, 250 * time.Millisecond, 500 * time.Millisecond,
		},
		{
			"an error event with a status",
			answers{write(streamHead, event(`{"error":{"message":"no","code":400}}`))},
			KindRejected, "",
			Usage{},
			1, 0, 0,
		},
		{
			"an error event about the request",
			answers{write(streamHead, event(`{"error":{"message":"no","code":"context_length_exceeded"}}`))},
			KindRejected, "",
			Usage{},
			1, 0, 0,
		},
		{
			"an error event about the rate",
			answers{write(streamHead, event(`{"error":{"message":"no","type":"rate_limit_error"}}`))},
			KindRateLimited, "",
			Usage{},
			3, 750 * time.Millisecond, 1500 * time.Millisecond,
		},
		{
			"an event that is the error itself (vLLM)",
			answers{write(streamHead, event(`{"object":"error","message":"no","type":"BadRequestError","code":400}`))},
			KindRejected, "",
			Usage{},
			1, 0, 0,
		},
		{
			"cut within the headers' chunk, then an answer",
			answers{write(chunked, "40\r\ndata: {"), good},
			"", "ok", toldUsage, 2, 250 * time.Millisecond, 500 * time.Millisecond,
		},

		{
			"an error event after the first token",
			answers{write(streamHead, said("half"), event(`{"error":{"message":"overloaded"}}`)), good},
			KindBroken, "half", estimated(1), 1, 0, 0,
		},
		{
			"an error event after the role",
			answers{write(streamHead, role, event(`{"error":"overloaded"}`)), good},
			KindBroken, "", estimated(0), 1, 0, 0,
		},
		{
			"an end without an end",
			answers{write(streamHead, said("half"), said(" an"))},
			KindBroken, "half an", estimated(2), 1, 0, 0,
		},
		{
			"an end within an event",
			answers{write(streamHead, said("half"), ended("stop")[:40])},
			KindBroken, "half", estimated(1), 1, 0, 0,
		},
		{
			"cut within a tool call",
			answers{write(streamHead,
				event(`{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"{\"a"}}]}}]}`))},
			KindBroken, "", estimated(toolFraming + guessTokens("f") + guessTokens(`{"a`)), 1, 0, 0,
		},
		{
			"cut after usage was told",
			answers{write(streamHead, said("half"), usageEvent)},
			KindBroken, "half", toldUsage, 1, 0, 0,
		},
		{
			"cut after the reason to stop is whole",
			answers{write(chunked, "ffff\r\n", said("all"), ended("stop"), "data: {")},
			"", "all", estimated(1), 1, 0, 0,
		},
		{
			"garbage after the first token",
			answers{write(streamHead, said("half"), event(`{"choices":[{`))},
			KindBroken, "half", estimated(1), 1, 0, 0,
		},
		{"garbage before it", answers{write(streamHead, event(`<html>`))}, KindBroken, "", Usage{}, 1, 0, 0},
		{"another shape", answers{write(streamHead, event(`{"choices":[{"delta":{"content":["a"]}}]}`))}, KindBroken, "", Usage{}, 1, 0, 0},
		{
			"no stream but an answer in one piece",
			answers{status("200 OK", `{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}`)},
			KindBroken, "",
			Usage{},
			1, 0, 0,
		},
		{
			"chunks without a choice",
			answers{write(streamHead, event(`{"id":"r1","choices":[]}`), event(`{"id":"r1","choices":[]}`), doneEvent)},
			KindBroken, "",
			Usage{},
			1, 0, 0,
		},
		{
			"no choice but usage: what was billed is booked",
			answers{write(streamHead, event(`{"id":"r1","choices":[]}`), usageEvent, doneEvent)},
			KindBroken, "", toldUsage, 1, 0, 0,
		},
		{"nothing but [DONE]", answers{write(streamHead, doneEvent)}, KindBroken, "", Usage{}, 1, 0, 0},
		{"nothing", answers{status("204 No Content", ``)}, KindBroken, "", Usage{}, 1, 0, 0},

		{"silence instead of headers", answers{hang()}, KindTimeout, "", estimated(0), 1, time.Minute, time.Minute},
		{"silence after headers", answers{hang(streamHead)}, KindTimeout, "", estimated(0), 1, time.Minute, time.Minute},
		{"silence within an answer", answers{hang(streamHead, said("half"))}, KindTimeout, "half", estimated(1), 1, time.Minute, time.Minute},
		{"silence after the reason to stop", answers{hang(streamHead, said("all"), ended("stop"))}, "", "all", estimated(1), 1, time.Minute, time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &wire{answers: tt.answers}
				var heard spoken
				start := time.Now()
				reply, err := newTestOpenAI(t, w.client()).Generate(t.Context(), hello(), heard.speak)
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

// Bytes keep a reply alive, whatever they are and however long it takes.
func TestOpenAITimeoutIsBetweenBytes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &wire{answers: []func(net.Conn){func(c net.Conn) {
			for _, piece := range []string{streamHead, ": wait\n", ": wait\n", said("late"), ended("stop"), doneEvent} {
				_ = sleep(context.Background(), 4*time.Second)
				write(piece)(c)
			}
		}}}
		m := newTestOpenAI(t, w.client(), func(cfg *OpenAIConfig) { cfg.Timeout = 5 * time.Second })
		var heard spoken
		if _, err := m.Generate(t.Context(), hello(), heard.speak); err != nil || heard.text.String() != "late" {
			t.Errorf("said %q, error %v", heard.text.String(), err)
		}
	})
}

// A wait that the caller's deadline would cut short is not begun.
func TestOpenAIGivesUpBeforeAHopelessWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		w := &wire{answers: []func(net.Conn){status("429 Too Many", `{}`, "Retry-After: 5")}}
		start := time.Now()
		_, err := newTestOpenAI(t, w.client()).Generate(ctx, hello(), func(Delta) {})
		var failed *Error
		if !errors.As(err, &failed) || failed.Kind != KindRateLimited || failed.RetryAfter != 5*time.Second {
			t.Errorf("error %v, want rate_limited with 5s", err)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("took %v", took)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // the clock stands at 2000-01-01
		for _, tt := range []struct {
			name, value string
			want        time.Duration
		}{
			{"Retry-After", "", 0},
			{"Retry-After", "soon", 0},
			{"Retry-After", "0", 0},
			{"Retry-After", "-5", 0},
			{"Retry-After", "NaN", 0},
			{"Retry-After", "1.5", 1500 * time.Millisecond},
			{"Retry-After", "1e300", 24 * time.Hour},
			{"Retry-After", "+Inf", 24 * time.Hour},
			{"Retry-After", "Sat, 01 Jan 2000 00:01:00 GMT", time.Minute},
			{"Retry-After", "Fri, 31 Dec 1999 00:00:00 GMT", 0},
			{"Retry-After-Ms", "20", 20 * time.Millisecond},
		} {
			if got := retryAfter(http.Header{tt.name: {tt.value}}); got != tt.want {
				t.Errorf("%s: %s is %v, want %v", tt.name, tt.value, got, tt.want)
			}
		}
	})
}

// A schema that is no JSON is our fault, and never leaves.
func TestOpenAIRequestThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	w := &wire{answers: []func(net.Conn){hang()}}
	req := hello()
	req.Tools = []Tool{{Name: "f", Parameters: []byte(`{"type":`)}}
	_, err := newTestOpenAI(t, w.client()).Generate(t.Context(), req, func(Delta) {})
	if kindOf(err) != KindRejected || len(w.sent()) != 0 {
		t.Errorf("error %v, %d requests", err, len(w.sent()))
	}
}

func TestOpenAIErrorsNeverHoldTheKey(t *testing.T) {
	t.Parallel()
	echo := `{"error":{"message":"Incorrect API key provided: ` + testKey + `. ` + strings.Repeat("See the manual. ", 1000) + `"}}`
	for name, answer := range map[string]func(net.Conn){
		"in a body":             status("401 Unauthorized", echo),
		"in a body of no shape": status("403 Forbidden", "You said "+testKey),
		"in an event":           write(streamHead, event(echo)),
		"in a broken event":     write(streamHead, event(testKey)),
		"in the status line":    write("HTTP/1.1 " + testKey + " what\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &wire{answers: []func(net.Conn){answer}}
			m := newTestOpenAI(t, w.client(), func(cfg *OpenAIConfig) { cfg.MaxRetries = -1 })
			_, err := m.Generate(t.Context(), hello(), func(Delta) {})
			if err == nil || strings.Contains(err.Error(), testKey) {
				t.Fatalf("error %v", err)
			}
			for e := err; e != nil; e = errors.Unwrap(e) {
				if strings.Contains(e.Error(), testKey) {
					t.Errorf("a cause holds it: %v", e)
				}
			}
			if len(err.Error()) > 500 {
				t.Errorf("the error is %d bytes long", len(err.Error()))
			}
		})
	}
}
