package model

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

// What an OpenAIConfig's zero values stand for.
const (
	DefaultOpenAIBaseURL = "https://api.openai.com/v1"
	DefaultOpenAITimeout = time.Minute
	DefaultOpenAIRetries = 2
)

// OpenAIConfig says which model to ask, and where. None of it is read from the
// environment.
type OpenAIConfig struct {
	// Name is the model's name in Runwire, such as "openai/gpt-4o-mini". Required.
	Name string
	// Model is the provider's name for it, such as "gpt-4o-mini". Required.
	Model string
	// BaseURL is any address that speaks OpenAI's chat completions; empty is
	// DefaultOpenAIBaseURL. There the length of a reply is bounded by
	// max_completion_tokens, elsewhere by max_tokens, which every server knows.
	BaseURL string
	// APIKey is sent as a bearer token; empty sends none, for servers that ask for none.
	APIKey string
	// Timeout is the longest silence: until the headers come, and between any
	// two bytes of a reply. 0 is DefaultOpenAITimeout.
	Timeout time.Duration
	// MaxRetries is how often a call that failed before its first token is
	// tried again. 0 is DefaultOpenAIRetries, negative is never.
	MaxRetries int
	// HTTPClient is best shared by all models of a provider; its Timeout should
	// be 0, since replies stream for minutes. nil is a new NewHTTPClient.
	HTTPClient *http.Client
}

// NewHTTPClient makes a client fit for many streams at once to few hosts. It
// takes the proxy from the environment, and notices dead HTTP/2 connections.
func NewHTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		ForceAttemptHTTP2:   true,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 15 * time.Second},
		MaxIdleConnsPerHost: 256,
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second,
	}}
}

type openAI struct {
	cfg      OpenAIConfig
	official bool // the provider is OpenAI itself
	chat     openai.ChatCompletionService
}

// NewOpenAI makes a model that is asked over OpenAI's chat completions. An
// error says which part of cfg is wrong, and never holds the key.
func NewOpenAI(cfg OpenAIConfig) (Model, error) {
	if cfg.Name == "" || cfg.Model == "" {
		return nil, errors.New("openai model: name and model are required")
	}
	if strings.ContainsFunc(cfg.APIKey, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return nil, fmt.Errorf("model %s: the API key has spaces or characters that no key has", cfg.Name)
	}
	if cfg.BaseURL == "" {
		cfg.BaseURL = DefaultOpenAIBaseURL
	}
	base, err := url.Parse(cfg.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("model %s: parsing the base URL: %w", cfg.Name, err)
	}
	if base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, fmt.Errorf("model %s: the base URL %q is no http or https address", cfg.Name, base.Redacted())
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = DefaultOpenAITimeout
	}
	if cfg.MaxRetries == 0 {
		cfg.MaxRetries = DefaultOpenAIRetries
	}
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = NewHTTPClient()
	}
	host := base.Hostname()
	return &openAI{
		cfg:      cfg,
		official: host == "api.openai.com" || strings.HasSuffix(host, ".api.openai.com"),
		// The service alone, since a whole client would read the environment.
		chat: openai.NewChatCompletionService(
			option.WithBaseURL(cfg.BaseURL),
			option.WithAPIKey(cfg.APIKey),
			option.WithHTTPClient(cfg.HTTPClient),
			option.WithMaxRetries(0), // retried here: the SDK's own end with the headers
		),
	}, nil
}

func (m *openAI) Name() string { return m.cfg.Name }

// InputTokens needs no tokenizer: two lower-case letters to a token, and one
// for every other byte. See mostTokens for how safe that is.
func (m *openAI) InputTokens(req *Request) int64 { return requestTokens(req, mostTokens) }

// Generate retries what failed before the first token. Such a try has
// delivered nothing, so only the last one's usage is returned.
func (m *openAI) Generate(ctx context.Context, req *Request, speak func(Delta)) (Reply, error) {
	if err := ctx.Err(); err != nil {
		return Reply{}, err
	}
	params := m.params(req)
	for retries := 0; ; retries++ {
		reply, failure := m.try(ctx, req, params, speak)
		if failure == nil {
			return reply, nil
		}
		if err := ctx.Err(); err != nil {
			return reply, err
		}
		wait := retryDelay(retries, failure.RetryAfter)
		if !failure.retry || retries >= m.cfg.MaxRetries || wait > maxRetryDelay || outlasts(ctx, wait) {
			return reply, failure.Error
		}
		if err := sleep(ctx, wait); err != nil {
			return reply, err
		}
	}
}

// maxRetryDelay is as long as a call waits for a provider; one that asks for
// more is reported at once, so that another model can answer.
const maxRetryDelay = time.Minute

// retryDelay is what the provider asked for, else 0.5 s, 1 s, 2 s, … up to 8 s,
// less up to a half by chance so that callers do not come back together.
func retryDelay(retries int, asked time.Duration) time.Duration {
	if asked > 0 {
		return asked
	}
	delay := min(500*time.Millisecond<<min(retries, 4), 8*time.Second)
	return delay - rand.N(delay/2)
}

func outlasts(ctx context.Context, wait time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) <= wait
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
