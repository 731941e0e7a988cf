package model

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
)

// DefaultAnthropicBaseURL is Anthropic's own address.
const DefaultAnthropicBaseURL = "https://api.anthropic.com"

// Thinking that is no number of tokens.
const (
	// ThinkingDefault says nothing of it: newer models think, older ones do not.
	ThinkingDefault = 0
	// ThinkingAdaptive leaves it to the model how much it thinks.
	ThinkingAdaptive = -1
	// LeastThinking is the smallest budget that Anthropic accepts, in tokens.
	LeastThinking = 1024
)

// AnthropicConfig says which model to ask, and where. None of it is read from
// the environment.
type AnthropicConfig struct {
	// Name is the model's name in Runwire, such as "anthropic/claude-haiku-5-5". Required.
	Name string
	// Model is the provider's name for it, such as "claude-haiku-5-5". Required.
	Model string
	// BaseURL is any address that speaks Anthropic's Messages, with or without
	// its "/v1"; empty is DefaultAnthropicBaseURL.
	BaseURL string
	// APIKey is sent as x-api-key; empty sends none.
	APIKey string
	// Thinking is how many tokens the model may think before it answers, from
	// LeastThinking, or one of ThinkingDefault and ThinkingAdaptive. They are part
	// of a reply's MaxOutputTokens, which is left at least LeastThinking tokens to
	// answer with. Models after Claude 4.6 refuse a number.
	Thinking int64
	// Timeout is the longest silence: until the headers come, and between any
	// two bytes of a reply. 0 is DefaultTimeout.
	Timeout time.Duration
	// MaxRetries is how often a call that failed before its first token is
	// tried again. 0 is DefaultRetries, negative is never.
	MaxRetries int
	// HTTPClient is best shared by all models of a provider; its Timeout should
	// be 0, since replies stream for minutes. nil is a new NewHTTPClient.
	HTTPClient *http.Client
}

type anthropicModel struct {
	remote

	thinking int64
	messages anthropic.MessageService
}

// NewAnthropic makes a model that is asked over Anthropic's Messages. An error
// says which part of cfg is wrong, and never holds the key.
func NewAnthropic(cfg AnthropicConfig) (Model, error) {
	m := &anthropicModel{thinking: cfg.Thinking, remote: remote{
		name: cfg.Name, model: cfg.Model, base: strings.TrimSuffix(strings.TrimRight(cfg.BaseURL, "/"), "/v1"), key: cfg.APIKey,
		timeout: cfg.Timeout, retries: cfg.MaxRetries, client: cfg.HTTPClient,
	}}
	if _, err := m.complete(DefaultAnthropicBaseURL); err != nil {
		return nil, err
	}
	if t := m.thinking; t < LeastThinking && t != ThinkingDefault && t != ThinkingAdaptive {
		return nil, fmt.Errorf("model %s: thinking takes at least %d tokens, not %d", m.name, LeastThinking, t)
	}
	options := []option.RequestOption{
		option.WithBaseURL(m.base),
		option.WithHTTPClient(m.client),
		option.WithMaxRetries(0),      // retried here: the SDK's own end with the headers
		option.WithoutOpenTelemetry(), // the loop has a span of its own, from no global provider
	}
	if m.key != "" {
		options = append(options, option.WithAPIKey(m.key))
	}
	// The service alone, since a whole client would read the environment.
	m.messages = anthropic.NewMessageService(options...)
	return m, nil
}

func (m *anthropicModel) Name() string { return m.name }

// toolPrompt is room for what Anthropic adds to a request that has tools: 159
// to 530 tokens by the lists that it has published.
const toolPrompt = 1_000

// InputTokens counts as an OpenAI model's do, and reasoning that is sent back.
func (m *anthropicModel) InputTokens(req *Request) int64 {
	sum := requestTokens(req, mostTokens)
	if len(req.Tools) > 0 {
		sum += toolPrompt
	}
	for i := lastUser(req.Messages) + 1; i < len(req.Messages); i++ {
		sum += mostTokens(string(req.Messages[i].Opaque))
	}
	return sum
}

// Generate retries what failed before the first token.
func (m *anthropicModel) Generate(ctx context.Context, req *Request, speak func(Delta)) (Reply, error) {
	w := &anthropicWriter{state: anthropicState{Model: m.name, Prefix: cacheKey(req)}, names: newWireNames(req.Tools)}
	params := m.params(req, w)
	send := func(ctx context.Context, x *exchange) error {
		return m.messages.NewStreaming(ctx, params, option.WithResponseInto(&x.res), option.WithMiddleware(x.pass)).Err()
	}
	return m.generate(ctx, func() (Reply, *failure) {
		return m.try(ctx, req, send, &anthropicStream{reading: reading{speak: speak, names: w.names}, state: w.state})
	})
}
