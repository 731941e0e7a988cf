package mcp

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/runwire/runwire/agent/tool"
)

// site is a server over HTTP whose answers can be spoiled.
type site struct {
	*httptest.Server

	servers []*mcp.Server // the last one, and those that have forgotten all
	handler atomic.Pointer[mcp.StreamableHTTPHandler]
	spoil   atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
}

func newSite(t *testing.T, options *mcp.StreamableHTTPOptions) *site {
	t.Helper()
	s := &site{}
	s.restart(options)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if spoil := s.spoil.Load(); spoil != nil && (*spoil)(w, r) {
			return
		}
		s.handler.Load().ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		s.Close()
		for _, server := range s.servers { // whose sessions were broken off
			for session := range server.Sessions() {
				_ = session.Close()
			}
		}
	})
	return s
}

// restart forgets all sessions.
func (s *site) restart(options *mcp.StreamableHTTPOptions) {
	server := mcp.NewServer(&mcp.Implementation{Name: "site"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "echo"}, func(_ context.Context, _ *mcp.CallToolRequest, in said) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: in.Text}}}, nil, nil
	})
	mcp.AddTool(server, &mcp.Tool{Name: "key"}, func(_ context.Context, request *mcp.CallToolRequest, _ said) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: request.Extra.Header.Get("X-Key")}}}, nil, nil
	})
	mcp.AddTool(server, &mcp.Tool{Name: "hang"}, func(ctx context.Context, _ *mcp.CallToolRequest, _ said) (*mcp.CallToolResult, any, error) {
		<-ctx.Done()
		return nil, nil, ctx.Err()
	})
	s.servers = append(s.servers, server)
	s.handler.Store(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, options))
}

// once spoils the next request that has text in its body.
func (s *site) once(text string, spoil func(http.ResponseWriter)) {
	var spent atomic.Bool
	s.spoil.Store(new(func(w http.ResponseWriter, r *http.Request) bool {
		data, err := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(data)))
		if err != nil || !strings.Contains(string(data), text) || spent.Swap(true) {
			return false
		}
		spoil(w)
		return true
	}))
}

var styles = map[string]*mcp.StreamableHTTPOptions{
	"events":           {},
	"JSON":             {JSONResponse: true},
	"without sessions": {Stateless: true},
}

func TestToolsOverHTTP(t *testing.T) {
	t.Parallel()
	for name, options := range styles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			site := newSite(t, options)
			s, _ := start(t, Config{URL: site.URL, Headers: map[string]string{"X-Key": "s3cret"}})
			if got := mustCall(t, s, "fake.echo", `{"text": "hello"}`); got != "hello" {
				t.Errorf("it says %q", got)
			}
			if got := mustCall(t, s, "fake.key", `{"text": ""}`); got != "s3cret" {
				t.Errorf("its header is %q", got)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				_, err := named(t, s, "fake.hang").Call(ctx, `{"text": ""}`)
				done <- err
			}()
			cancel()
			if failed := failure(t, <-done); failed.Type != tool.Cancelled {
				t.Errorf("got %v, want it cancelled", failed)
			}
		})
	}
}

// Whatever comes in place of an answer, the call fails and the next one works.
func TestASpoiledAnswer(t *testing.T) {
	t.Parallel()
	answer := func(code int, kind, text string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(code)
			_, _ = io.WriteString(w, text)
		}
	}
	huge := hugeAnswer()
	for name, spoil := range map[string]func(http.ResponseWriter){
		"JSON that is none":         answer(http.StatusOK, "application/json", "{"),
		"JSON that is no message":   answer(http.StatusOK, "application/json", `{"jsonrpc": "2.0"}`),
		"an event that is none":     answer(http.StatusOK, "text/event-stream", "data: {\n\n"),
		"an event too many":         answer(http.StatusOK, "text/event-stream", "data: 5\n\n"),
		"no event":                  answer(http.StatusOK, "text/event-stream", ""),
		"a page":                    answer(http.StatusOK, "text/html", "<p>Hello</p>"),
		"a gateway's error":         answer(http.StatusBadGateway, "text/html", "<p>Sorry</p>"),
		"an error":                  answer(http.StatusInternalServerError, "text/plain", ""),
		"a refusal":                 answer(http.StatusUnauthorized, "text/plain", ""),
		"an endless answer":         answer(http.StatusOK, "application/json", `{"jsonrpc": "2.0", "id": 7, `+huge+"}"),
		"an endless event":          answer(http.StatusOK, "text/event-stream", `data: {"jsonrpc": "2.0", "id": 7, `+huge+"}\n\n"),
		"an answer to another call": answer(http.StatusOK, "application/json", `{"jsonrpc": "2.0", "id": 5`),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			site := newSite(t, nil)
			s, log := start(t, Config{URL: site.URL})
			site.once(`"spoil"`, spoil)
			_, err := named(t, s, "fake.echo").Call(t.Context(), `{"text": "spoil"}`)
			failed := failure(t, err)
			if failed.Type != tool.Failed || !strings.Contains(failed.Message, "no usable answer") && !strings.Contains(failed.Message, "its answer is") {
				t.Errorf("got %v", failed)
			}
			if got, err := named(t, s, "fake.echo").Call(t.Context(), `{"text": "again"}`); err != nil || got != "again" {
				t.Errorf("after that: %q, %v\n%s", got, err, log)
			}
		})
	}
}

func TestAServerThatHasForgottenItsSessions(t *testing.T) {
	t.Parallel()
	for name, options := range styles {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			site := newSite(t, options)
			s, log := start(t, Config{URL: site.URL})
			echo := named(t, s, "fake.echo")
			site.restart(options)
			if got, err := echo.Call(t.Context(), `{"text": "again"}`); err != nil || got != "again" {
				t.Errorf("after that: %q, %v\n%s", got, err, log)
			}
		})
	}
}

func TestAServerThatComesUpLater(t *testing.T) {
	t.Parallel()
	site := newSite(t, nil)
	site.spoil.Store(new(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}))
	s, log := start(t, Config{URL: site.URL})
	from := log.await(t, 0, "mcp server is down", "Service Unavailable")
	if tools := s.Tools(); len(tools) > 0 {
		t.Errorf("there are tools: %q", names(tools))
	}
	site.spoil.Store(nil)
	log.await(t, from, "mcp server connected")
	mustCall(t, s, "fake.echo", `{"text": ""}`)
}

func TestAServerThatNeverAnswersOverHTTP(t *testing.T) {
	t.Parallel()
	site := newSite(t, nil)
	site.spoil.Store(new(func(_ http.ResponseWriter, r *http.Request) bool {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
		return true
	}))
	_, log := start(t, Config{URL: site.URL, ConnectTimeout: 1})
	log.await(t, 0, "mcp server is down", "deadline exceeded")
}

// A header is a secret between two: no redirect takes it elsewhere.
func TestHeadersStayWithTheirHost(t *testing.T) {
	t.Parallel()
	var told atomic.Bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { told.Store(true) }))
	defer elsewhere.Close()
	site := newSite(t, nil)
	site.spoil.Store(new(func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		return true
	}))
	_, log := start(t, Config{URL: site.URL, Headers: map[string]string{"Authorization": "s3cret"}})
	log.await(t, 0, "mcp server is down", "redirects to another host")
	if told.Load() {
		t.Error("another host was asked")
	}
}

func TestRedirectsWithinAHost(t *testing.T) {
	t.Parallel()
	site := newSite(t, nil)
	site.spoil.Store(new(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/mcp/" {
			return false
		}
		http.Redirect(w, r, "/mcp/", http.StatusTemporaryRedirect)
		return true
	}))
	s, _ := start(t, Config{URL: site.URL + "/mcp"})
	mustCall(t, s, "fake.echo", `{"text": ""}`)
}

// A call that is under way when another finds the session gone may have been
// carried out, so it is not made again.
func TestOnlyTheRefusedCallIsMadeAgain(t *testing.T) {
	t.Parallel()
	site := newSite(t, nil)
	s, _ := start(t, Config{URL: site.URL})
	var calls atomic.Int32
	under := make(chan struct{})
	site.spoil.Store(new(func(_ http.ResponseWriter, r *http.Request) bool {
		data, err := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(data)))
		if err != nil || !strings.Contains(string(data), `"under way"`) {
			return false
		}
		if calls.Add(1) == 1 {
			close(under)
		}
		<-r.Context().Done()
		return true
	}))
	echo := named(t, s, "fake.echo")
	done := make(chan error, 1)
	go func() {
		_, err := echo.Call(t.Context(), `{"text": "under way"}`)
		done <- err
	}()
	<-under
	site.restart(nil)
	if got, err := echo.Call(t.Context(), `{"text": "again"}`); err != nil || got != "again" {
		t.Errorf("the refused call: %q, %v", got, err)
	}
	if failed := failure(t, <-done); !strings.Contains(failed.Message, "is not known") || calls.Load() != 1 {
		t.Errorf("the other, made %d times: %v", calls.Load(), failed)
	}
}
