package server

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/config"
	"github.com/runwire/runwire/interceptors"
)

func TestAModelWithoutAPriceIsWarnedOf(t *testing.T) {
	t.Parallel()
	free := offlineAgent("free", config.OfflineOptions{})
	paid, unknown := free, free
	paid.Name, paid.Models = "paid", []string{"local/priced"}
	unknown.Name, unknown.Models = "unknown", []string{"local/unpriced"}
	f := serve(t, func(c *Config) {
		c.File = file(free, paid, unknown)
		c.File.Providers = []config.Provider{{Name: "local", Type: config.OpenAI, BaseURL: "http://127.0.0.1:1/v1"}}
		c.File.Prices = map[string]model.Price{"local/priced": {}}
	})
	if n := f.log.count("no known price"); n != 1 || f.log.count(`"models":["local/unpriced"]`) != 1 {
		t.Errorf("%d warnings", n)
	}
}

func TestAgentsShareAModelAndItsConnections(t *testing.T) {
	t.Parallel()
	b := newBuilder([]config.Provider{{Name: "local", Type: config.OpenAI, BaseURL: "http://127.0.0.1:1/v1"}})
	a := offlineAgent("a", config.OfflineOptions{})
	a.Models = []string{"local/one", "local/family/two", config.Offline}
	for range 2 {
		built, err := b.agent(a)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, m := range built.Models {
			names = append(names, m.Name())
		}
		if got := strings.Join(names, " "); got != "local/one local/family/two offline" {
			t.Errorf("the models are %s", got)
		}
	}
	if len(b.models) != 2 || len(b.clients) != 1 {
		t.Errorf("%d models and %d HTTP clients", len(b.models), len(b.clients))
	}
}

// Each provider is asked in its own wire format, and a model that is down is
// left alone while others of its provider are still asked.
func TestModelsAreOfTheirProvidersTypeAndHaveABreakerEach(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 16)
	down := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer down.Close()
	b := newBuilder([]config.Provider{
		{Name: "claude", Type: config.Anthropic, BaseURL: down.URL, Thinking: model.ThinkingAdaptive},
		{Name: "local", Type: config.OpenAI, BaseURL: down.URL + "/v1"},
	})
	ask := func(name string) (path string, err error) {
		m, err := b.model(name, config.OfflineOptions{})
		if err != nil {
			t.Fatal(err)
		}
		req := &model.Request{Messages: []model.Message{{Role: model.RoleUser, Text: "Hello?"}}, MaxOutputTokens: 10}
		_, err = m.Generate(t.Context(), req, func(model.Delta) {})
		select {
		case path = <-asked:
		default:
		}
		return path, err
	}
	for _, tc := range []struct{ name, path string }{
		{"claude/one", "/v1/messages"}, {"claude/two", "/v1/messages"}, {"local/one", "/v1/chat/completions"},
	} {
		for n := range model.DefaultBreakerFailures + 1 {
			want := tc.path
			if n == model.DefaultBreakerFailures {
				want = ""
			}
			path, err := ask(tc.name)
			failed, ok := errors.AsType[*model.Error](err)
			if path != want || !ok || failed.Kind != model.KindUnavailable || (failed.RetryAfter > 0) != (want == "") {
				t.Errorf("%s, call %d: asked at %q, error %v; want %q", tc.name, n, path, err, want)
			}
		}
	}
	for _, client := range b.clients {
		client.CloseIdleConnections()
	}
}

func TestAgentsThatCannotBeMade(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*config.Agent)
		want   string
	}{
		"of a provider that there is not":  {func(a *config.Agent) { a.Models = []string{"nobody/model"} }, `no provider "nobody"`},
		"with a tool that there is not":    {func(a *config.Agent) { a.Tools = []string{"teleport"} }, `no tool "teleport"`},
		"with options that cannot be kept": {func(a *config.Agent) { a.OfflineOptions.FailRate = 2 }, "fail_rate"},
		"without limits":                   {func(a *config.Agent) { a.MaxIterations = 0 }, "limit"},
	} {
		cfg := testConfig(t)
		cfg.Listen, cfg.HTTPListen = "127.0.0.1:0", "127.0.0.1:0"
		a := offlineAgent("default", config.OfflineOptions{})
		tc.change(&a)
		cfg.File = file(a)
		if _, err := New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "default") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeysOfTheFileAndTheEnvironment(t *testing.T) {
	t.Parallel()
	cfg := Config{APIKey: "rw_secret", File: &config.File{Keys: []config.Key{
		{Name: "chat", Tenant: "acme", SHA256: [32]byte{1}, Scopes: []config.Scope{config.ScopeRun, config.ScopeTasks}},
	}}}
	got := keys(cfg)
	if len(got) != 2 || got[0].Name != "RUNWIRE_API_KEY" || len(got[0].Scopes) != 3 {
		t.Errorf("got %v", got)
	}
	chat := got[1]
	if chat.Name != "chat" || chat.Tenant != "acme" || chat.SHA256 != [32]byte{1} ||
		len(chat.Scopes) != 2 || chat.Scopes[0] != interceptors.ScopeRun || chat.Scopes[1] != interceptors.ScopeTasks {
		t.Errorf("got %v", chat)
	}
}
