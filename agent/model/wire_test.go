package model

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// wire is a provider that writes its answers byte by byte as it is told to.
type wire struct {
	// answers are given one a request; the last one again and again.
	answers []func(net.Conn)

	mu       sync.Mutex
	requests []sent
}

// sent is a request as it arrived.
type sent struct {
	path   string
	header http.Header
	body   string
}

// handle answers one request and hangs up.
func (w *wire) handle(c net.Conn) {
	defer func() { _ = c.Close() }()
	req, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	w.mu.Lock()
	n := min(len(w.requests), len(w.answers)-1)
	w.requests = append(w.requests, sent{req.URL.Path, req.Header, string(body)})
	w.mu.Unlock()
	w.answers[n](c)
}

func (w *wire) sent() []sent {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.requests
}

// client reaches w through memory, so that time can be a test's own.
func (w *wire) client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go w.handle(theirs)
			return ours, nil
		},
	}}
}

// write sends what is given, each piece by itself.
func write(pieces ...string) func(net.Conn) {
	return func(c net.Conn) {
		for _, piece := range pieces {
			if _, err := io.WriteString(c, piece); err != nil {
				return
			}
		}
	}
}

// hang sends pieces and then nothing, until the other side hangs up.
func hang(pieces ...string) func(net.Conn) {
	return func(c net.Conn) {
		write(pieces...)(c)
		_, _ = io.Copy(io.Discard, c)
	}
}

const streamHead = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"

// status is an answer that is no stream.
func status(line, body string, headers ...string) func(net.Conn) {
	return write("HTTP/1.1 " + line + "\r\nConnection: close\r\nContent-Type: application/json\r\n" +
		strings.Join(append(headers, ""), "\r\n") + "\r\n" + body)
}

// event is one server-sent event.
func event(data string) string { return "data: " + data + "\n\n" }

// said is an event with a piece of the answer.
func said(text string) string {
	return event(`{"id":"r1","model":"m-2","choices":[{"index":0,"delta":{"content":"` + text + `"},"finish_reason":null}],"usage":null}`)
}

// ended is an event that says why the answer ended.
func ended(reason string) string {
	return event(`{"id":"r1","choices":[{"index":0,"delta":{},"finish_reason":"` + reason + `"}]}`)
}

const (
	usageEvent = "data: " + `{"id":"r1","choices":[],"usage":{"prompt_tokens":20,"completion_tokens":7,"total_tokens":27,` +
		`"prompt_tokens_details":{"cached_tokens":16,"cache_write_tokens":3},"completion_tokens_details":{"reasoning_tokens":5}}}` + "\n\n"
	doneEvent = "data: [DONE]\n\n"
)

// spoken collects what a model says.
type spoken struct {
	text, reasoning strings.Builder
	deltas          []Delta
}

func (s *spoken) speak(d Delta) {
	s.text.WriteString(d.Text)
	s.reasoning.WriteString(d.Reasoning)
	s.deltas = append(s.deltas, d)
}

const testKey = "sk-test-1234567890"

// newTestOpenAI is a model behind client, at an address that is not OpenAI's.
func newTestOpenAI(t testing.TB, client *http.Client, change ...func(*OpenAIConfig)) Model {
	t.Helper()
	cfg := OpenAIConfig{
		Name: "local/m", Model: "m", BaseURL: "http://provider.test/v1", APIKey: testKey, HTTPClient: client,
	}
	for _, f := range change {
		f(&cfg)
	}
	m, err := NewOpenAI(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func hello() *Request {
	return &Request{
		System:          "Be brief.",
		Messages:        []Message{{Role: RoleUser, Text: "Hello?"}},
		MaxOutputTokens: 100,
	}
}

// kindOf is err's kind; empty if it is no *Error.
func kindOf(err error) ErrorKind {
	if failed, ok := errors.AsType[*Error](err); ok {
		return failed.Kind
	}
	return ""
}
