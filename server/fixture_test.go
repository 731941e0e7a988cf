package server

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/config"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// fixture is a server on free ports of loopback, serving.
type fixture struct {
	*Server

	log  *logBook
	stop context.CancelFunc // begins the drain
	// stopped has Run's result once it has returned.
	stopped chan error
}

// testConfig is the default, with its data in a folder of the test's.
func testConfig(t *testing.T) Config {
	t.Helper()
	cfg := DefaultConfig()
	cfg.DataDir = t.TempDir()
	return cfg
}

// serve starts a server whose configuration change may change. It is drained
// when the test ends, if it has not been before.
func serve(t *testing.T, change func(*Config)) *fixture {
	t.Helper()
	book := &logBook{}
	cfg := testConfig(t)
	cfg.Listen, cfg.HTTPListen = "127.0.0.1:0", "127.0.0.1:0"
	cfg.RateLimit = 0
	cfg.DrainTimeout = 10 * time.Second
	cfg.File = file(offlineAgent("default", config.OfflineOptions{}))
	cfg.Log = slog.New(slog.NewJSONHandler(book, nil))
	if change != nil {
		change(&cfg)
	}
	s, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	f := &fixture{Server: s, log: book, stop: stop, stopped: make(chan error, 1)}
	go func() { f.stopped <- s.Run(ctx) }()
	book.wait(t, `"serving"`)
	t.Cleanup(func() {
		stop()
		if err := <-f.stopped; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return f
}

// wait returns once Run has; the cleanup still finds its result.
func (f *fixture) wait() error {
	err := <-f.stopped
	f.stopped <- err
	return err
}

// dial returns a connection of its own to the server.
func (f *fixture) dial(t *testing.T, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	opts = append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, opts...)
	conn, err := grpc.NewClient(f.Addr().String(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// mustAnswer fails the test unless a run on a new connection is answered.
func (f *fixture) mustAnswer(t *testing.T) {
	t.Helper()
	client := agentv1.NewAgentServiceClient(f.dial(t))
	response, err := client.Run(t.Context(), &agentv1.RunRequest{Message: "What is 2+2?", UserId: "alice"})
	if err != nil || !response.GetResult().GetSuccess() {
		t.Fatalf("the server no longer answers: %v, %v", response, err)
	}
}

func file(agents ...config.Agent) *config.File { return &config.File{Agents: agents} }

func offlineAgent(name string, options config.OfflineOptions) config.Agent {
	return config.Agent{
		Name: name, Models: []string{config.Offline}, OfflineOptions: options, Tools: []string{"calculator", "current_time"},
		MaxIterations: 20, MaxOutputTokens: 4096, MaxTokensPerRun: 50000, MaxCostPerRun: model.Dollar, Timeout: time.Minute,
	}
}

// heldModel is a provider whose model says "Hello" and the rest only when
// release is called.
type heldModel struct {
	file    *config.File
	asked   chan struct{} // has one for each time it was asked
	release func()
}

func newHeldModel(t *testing.T) *heldModel {
	t.Helper()
	held := make(chan struct{})
	m := &heldModel{asked: make(chan struct{}, 100), release: sync.OnceFunc(func() { close(held) })}
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, `data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}`, "\n\n")
		_ = http.NewResponseController(w).Flush()
		m.asked <- struct{}{}
		select {
		case <-held:
		case <-r.Context().Done():
			return
		}
		fmt.Fprint(w, `data: {"choices":[{"index":0,"delta":{"content":", Alice."},"finish_reason":"stop"}]}`, "\n\n")
		fmt.Fprint(w, `data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":3}}`, "\n\ndata: [DONE]\n\n")
	}))
	t.Cleanup(provider.Close)
	t.Cleanup(m.release)
	a := offlineAgent("default", config.OfflineOptions{})
	a.Models, a.Tools = []string{"held/model"}, nil
	m.file = file(a)
	m.file.Providers = []config.Provider{{
		Name: "held", Type: config.OpenAI, BaseURL: provider.URL, Timeout: time.Minute,
	}}
	return m
}

// speaking starts a run on conn and returns its stream once the model speaks.
func speaking(t *testing.T, conn *grpc.ClientConn) grpc.ServerStreamingClient[agentv1.StreamRunResponse] {
	t.Helper()
	stream, err := agentv1.NewAgentServiceClient(conn).StreamRun(t.Context(),
		&agentv1.StreamRunRequest{Message: "Hello?", UserId: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	for {
		response, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if response.GetEvent().GetTextDelta() != nil {
			return stream
		}
	}
}

// logBook keeps the log's lines and tells who waits for one.
type logBook struct {
	mu      sync.Mutex
	text    bytes.Buffer
	written chan struct{} // closed at the next line; nil while nobody waits
}

// Write implements io.Writer.
func (b *logBook) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.written != nil {
		close(b.written)
		b.written = nil
	}
	return b.text.Write(line)
}

// count returns how often text is in the log.
func (b *logBook) count(text string) int {
	n, _ := b.look(text)
	return n
}

func (b *logBook) look(text string) (int, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.written == nil {
		b.written = make(chan struct{})
	}
	return bytes.Count(b.text.Bytes(), []byte(text)), b.written
}

// wait returns once text is in the log.
func (b *logBook) wait(t *testing.T, text string) {
	t.Helper()
	for {
		n, written := b.look(text)
		if n > 0 {
			return
		}
		select {
		case <-written:
		case <-t.Context().Done():
			t.Fatalf("the log never said %s", text)
		}
	}
}
