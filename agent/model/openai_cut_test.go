package model

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// When the caller goes, so does the request: at once, with what it may have cost.
func TestOpenAICancel(t *testing.T) {
	t.Parallel()
	type answers = []func(net.Conn)
	tests := []struct {
		name   string
		answer answers
		usage  Usage
	}{
		{"while it waits for headers", answers{hang()}, estimated(0)},
		{"within an answer", answers{hang(streamHead, said("half"))}, estimated(1)},
		{"while it waits to retry", answers{status("503 Unavailable", ``, "Retry-After: 50")}, Usage{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &wire{answers: tt.answer}
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				start := time.Now()
				reply, err := newTestOpenAI(t, w.client()).Generate(ctx, hello(), func(Delta) {})
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
	t.Run("before it starts", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		w := &wire{answers: []func(net.Conn){hang()}}
		reply, err := newTestOpenAI(t, w.client()).Generate(ctx, hello(), func(Delta) {})
		if !errors.Is(err, context.Canceled) || reply.Usage != (Usage{}) || len(w.sent()) != 0 {
			t.Errorf("reply %+v, error %v, %d requests", reply, err, len(w.sent()))
		}
	})
}

// Real connections, cut in the two ways that TCP has.
func TestOpenAIConnectionCut(t *testing.T) {
	t.Parallel()
	const head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
	for name, cut := range map[string]func(c net.Conn){
		"FIN": func(net.Conn) {},
		"RST": func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			heardIt := make(chan struct{})
			w := &wire{answers: []func(net.Conn){func(c net.Conn) {
				write(head + fmt.Sprintf("%x\r\n%s\r\n", len(said("half")), said("half")))(c)
				<-heardIt // a reset may overtake what was sent
				write("40\r\ndata: {")(c)
				cut(c)
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
			m := newTestOpenAI(t, client, func(cfg *OpenAIConfig) { cfg.BaseURL = "http://" + listener.Addr().String() })
			reply, err := m.Generate(t.Context(), hello(), func(Delta) { close(heardIt) })
			if kindOf(err) != KindBroken || reply.Usage != estimated(1) {
				t.Errorf("error %v, usage %+v", err, reply.Usage)
			}
			_ = listener.Close()
			<-served
		})
	}
}

func TestOpenAIUnreachable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		client := &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
			tries++
			return nil, &net.OpError{Op: "dial", Err: errors.New("connection refused")}
		})}
		m := newTestOpenAI(t, client, func(cfg *OpenAIConfig) { cfg.MaxRetries = -1 })
		if _, err := m.Generate(t.Context(), hello(), func(Delta) {}); kindOf(err) != KindUnavailable || tries != 1 {
			t.Errorf("error %v after %d tries, want 1 without retries", err, tries)
		}
	})
}

// What never ends is cut off, in bounded memory.
func TestOpenAIEndlessReply(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status int
		line   string
		kind   ErrorKind
	}{
		"one line":        {200, strings.Repeat("x", 1<<16), KindBroken},
		"comments":        {200, ":" + strings.Repeat("x", 1<<16) + "\n", KindBroken},
		"an error's body": {400, strings.Repeat("x", 1<<16), KindRejected},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := &endless{line: tt.line}
			client := &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: tt.status, Header: http.Header{}, Body: io.NopCloser(body), Request: r}, nil
			})}
			_, err := newTestOpenAI(t, client).Generate(t.Context(), hello(), func(Delta) {})
			if kindOf(err) != tt.kind {
				t.Errorf("error %v, want %s", err, tt.kind)
			}
			if body.read > maxReplyBytes+1<<20 {
				t.Errorf("read %d bytes", body.read)
			}
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// endless repeats a line.
type endless struct {
	line string
	read int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.line[e.read%len(e.line):])
	e.read += n
	return n, nil
}
