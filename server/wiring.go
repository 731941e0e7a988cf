package server

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/agent/tool"
	"github.com/runwire/runwire/config"
	"github.com/runwire/runwire/interceptors"
	"github.com/runwire/runwire/telemetry"
)

// LoadFile reads a configuration file; with no path it returns the built-in
// configuration. A file that is wrong is config.Mistakes, all of them.
func LoadFile(path string) (*config.File, error) {
	if path == "" {
		return config.Default(os.LookupEnv)
	}
	return config.Load(path, os.LookupEnv, config.Known{Tools: tool.BuiltinNames()})
}

// newRunner makes the agents that cfg writes down.
func newRunner(ctx context.Context, cfg Config, told *telemetry.Telemetry, tools *toolServers) (*agent.Runner, error) {
	prices, err := prices(cfg.File)
	if err != nil {
		return nil, err
	}
	log := cfg.Log.With(slog.String("logger", "runwire.agent"))
	build := newBuilder(cfg.File.Providers)
	build.httpGet, build.tools = cfg.File.HTTPGet, tools
	agents := make([]agent.Agent, len(cfg.File.Agents))
	for i, a := range cfg.File.Agents {
		if agents[i], err = build.agent(a); err != nil {
			return nil, fmt.Errorf("agent %q: %w", a.Name, err)
		}
	}
	var unpriced []string
	for _, name := range slices.Sorted(maps.Keys(build.models)) {
		if _, known := prices.Lookup(name); !known {
			unpriced = append(unpriced, name)
		}
	}
	if len(unpriced) > 0 && cfg.hasSpendLimits() {
		return nil, fmt.Errorf("a spend limit (cost_usd_per_day) needs the price of every model; add under prices: "+
			"%s: {input: 0.15, output: 0.60}, in US dollars a million tokens, or 0 for what is free",
			strings.Join(unpriced, ": {…}, "))
	}
	if len(unpriced) > 0 {
		log.WarnContext(ctx, "models have no known price, so no run of them is bound by cost", slog.Any("models", unpriced))
	}
	return agent.NewRunner(agent.Config{
		Agents:     agents,
		Prices:     prices,
		Meter:      told.MeterProvider,
		Tracer:     told.TracerProvider,
		Log:        log,
		LogContent: cfg.LogContent,
	})
}

// prices are the built-in ones and, instead of them, those that file says.
func prices(file *config.File) (model.Prices, error) {
	prices, err := model.DefaultPrices()
	if err == nil {
		maps.Copy(prices, file.Prices)
	}
	return prices, err
}

// builder makes agents out of what a file says of them. Agents share models,
// and models of one provider its connections.
type builder struct {
	providers map[string]config.Provider
	clients   map[string]*http.Client // by provider
	models    map[string]model.Model  // by name; offline ones are each agent's own
	httpGet   *config.HTTPGet         // nil for none
	tools     *toolServers
}

func newBuilder(providers []config.Provider) *builder {
	b := &builder{
		providers: make(map[string]config.Provider, len(providers)),
		clients:   make(map[string]*http.Client),
		models:    make(map[string]model.Model),
	}
	for _, p := range providers {
		b.providers[p.Name] = p
	}
	return b
}

func (b *builder) agent(a config.Agent) (agent.Agent, error) {
	built := agent.Agent{
		Name:            a.Name,
		Description:     a.Description,
		SystemPrompt:    a.SystemPrompt,
		MaxIterations:   a.MaxIterations,
		MaxOutputTokens: a.MaxOutputTokens,
		MaxTokens:       a.MaxTokensPerRun,
		HistoryTokens:   a.MaxHistoryTokens,
		MemoryTokens:    a.MemoryTokens,
		MaxCost:         a.MaxCostPerRun,
		Timeout:         a.Timeout,
		Sources:         b.tools.chosen(a.ServerTools),
		Agents:          a.Agents,
	}
	var err error
	if built.Models, err = b.all(a.Models, a.OfflineOptions); err != nil {
		return agent.Agent{}, err
	}
	if built.SummaryModels, err = b.all(a.SummaryModels, a.OfflineOptions); err != nil {
		return agent.Agent{}, err
	}
	for _, name := range a.Tools {
		t, err := builtinTool(name, b.httpGet)
		if err != nil {
			return agent.Agent{}, err
		}
		built.Tools = append(built.Tools, t)
	}
	return built, nil
}

func (b *builder) all(names []string, offline config.OfflineOptions) ([]model.Model, error) {
	models := make([]model.Model, len(names))
	for i, name := range names {
		var err error
		if models[i], err = b.model(name, offline); err != nil {
			return nil, err
		}
	}
	return models, nil
}

func (b *builder) model(name string, offline config.OfflineOptions) (model.Model, error) {
	if name == config.Offline {
		return model.NewOffline(model.OfflineOptions(offline))
	}
	if m, ok := b.models[name]; ok {
		return m, nil
	}
	providerName, modelName, _ := strings.Cut(name, "/")
	provider, ok := b.providers[providerName]
	if !ok {
		return nil, fmt.Errorf("model %q: no provider %q", name, providerName)
	}
	if b.clients[provider.Name] == nil {
		b.clients[provider.Name] = model.NewHTTPClient()
	}
	m, err := newModel(name, modelName, provider, b.clients[provider.Name])
	if err != nil {
		return nil, err
	}
	// A breaker each, which all agents that ask the model share: providers limit
	// and lose models one by one, and an agent's next may be of the same provider.
	m = model.WithBreaker(m, model.BreakerConfig{})
	b.models[name] = m
	return m, nil
}

// newModel makes a model of provider, in the provider's wire format.
func newModel(name, modelName string, provider config.Provider, client *http.Client) (model.Model, error) {
	if provider.Type == config.Anthropic {
		return model.NewAnthropic(model.AnthropicConfig{
			Name:       name,
			Model:      modelName,
			BaseURL:    provider.BaseURL,
			APIKey:     string(provider.APIKey),
			Thinking:   provider.Thinking,
			Timeout:    provider.Timeout,
			MaxRetries: retries(provider),
			HTTPClient: client,
		})
	}
	return model.NewOpenAI(openAIConfig(name, modelName, provider, client))
}

func openAIConfig(name, modelName string, provider config.Provider, client *http.Client) model.OpenAIConfig {
	return model.OpenAIConfig{
		Name:       name,
		Model:      modelName,
		BaseURL:    provider.BaseURL,
		APIKey:     string(provider.APIKey),
		Timeout:    provider.Timeout,
		MaxRetries: retries(provider),
		HTTPClient: client,
	}
}

// retries are a provider's as models have them.
func retries(provider config.Provider) int {
	if provider.MaxRetries == 0 {
		return -1 // never, where 0 is the model's default
	}
	return provider.MaxRetries
}

// keys are the API keys that may call.
func keys(cfg Config) []interceptors.Key {
	var keys []interceptors.Key
	if cfg.APIKey != "" {
		keys = append(keys, interceptors.Key{
			Name:   "RUNWIRE_API_KEY",
			SHA256: sha256.Sum256([]byte(cfg.APIKey)),
			Scopes: []interceptors.Scope{interceptors.ScopeRun, interceptors.ScopeTasks, interceptors.ScopeAdmin},
		})
	}
	for _, k := range cfg.File.Keys {
		key := interceptors.Key{Name: k.Name, Tenant: k.Tenant, SHA256: k.SHA256}
		for _, scope := range k.Scopes {
			key.Scopes = append(key.Scopes, interceptors.Scope(scope))
		}
		keys = append(keys, key)
	}
	return keys
}

// limits are the file's, and the flags' where the file leaves it to them.
func limits(cfg Config) interceptors.Limits {
	file := cfg.File.Limits
	return interceptors.Limits{
		PerUser: interceptors.Window{
			Requests: or(file.PerUser.Requests, cfg.RateLimit),
			Length:   or(file.PerUser.Window, cfg.RateWindow),
		},
		Service:        interceptors.Window{Requests: file.Global.Requests, Length: file.Global.Window},
		ConcurrentRuns: file.PerUser.ConcurrentRuns,
	}
}

func or[T int | time.Duration](said *T, otherwise T) T {
	if said != nil {
		return *said
	}
	return otherwise
}
