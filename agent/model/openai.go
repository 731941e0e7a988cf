package model

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

// DefaultOpenAIBaseURL is OpenAI's own address.
const DefaultOpenAIBaseURL = "https://api.openai.com/v1"

// OpenAIConfig says which model to ask, and where. None of it is read from the
// environment.
type OpenAIConfig struct {
	// Name is the model's name in Runwire, such as "openai/gpt-4o-mini". Required.
	Name string
	// Model is the provider's name for it, such as "gpt-4o-mini". Required.
	Model string
	// BaseURL is any address that speaks OpenAI's chat completions; empty is
	// DefaultOpenAIBaseURL. There the length of a reply is bounded by
	// max_completion_tokens, elsewhere by max_tokens, which every server knows;
	// and there alone a prompt_cache_key is sent.
	BaseURL string
	// APIKey is sent as a bearer token; empty sends none, for servers that ask for none.
	APIKey string
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

type openAI struct {
	remote

	official bool // the provider is OpenAI itself
	chat     openai.ChatCompletionService
}

// NewOpenAI makes a model that is asked over OpenAI's chat completions. An
// error says which part of cfg is wrong, and never holds the key.
func NewOpenAI(cfg OpenAIConfig) (Model, error) {
	m := &openAI{remote: remote{
		name: cfg.Name, model: cfg.Model, base: cfg.BaseURL, key: cfg.APIKey,
		timeout: cfg.Timeout, retries: cfg.MaxRetries, client: cfg.HTTPClient,
	}}
	host, err := m.complete(DefaultOpenAIBaseURL)
	if err != nil {
		return nil, err
	}
	m.official = host == "api.openai.com" || strings.HasSuffix(host, ".api.openai.com")
	// The service alone, since a whole client would read the environment.
	m.chat = openai.NewChatCompletionService(
		option.WithBaseURL(m.base),
		option.WithAPIKey(m.key),
		option.WithHTTPClient(m.client),
		option.WithMaxRetries(0), // retried here: the SDK's own end with the headers
	)
	return m, nil
}

func (m *openAI) Name() string { return m.name }

// InputTokens needs no tokenizer: two lower-case letters to a token, and one
// for every other byte. See mostTokens for how safe that is.
func (m *openAI) InputTokens(req *Request) int64 { return requestTokens(req, mostTokens) }

// Generate retries what failed before the first token.
func (m *openAI) Generate(ctx context.Context, req *Request, speak func(Delta)) (Reply, error) {
	names := newWireNames(req.Tools)
	params := m.params(req, names)
	send := func(ctx context.Context, x *exchange) error {
		return m.chat.NewStreaming(ctx, params, option.WithResponseInto(&x.res), option.WithMiddleware(x.pass)).Err()
	}
	return m.generate(ctx, func() (Reply, *failure) {
		return m.try(ctx, req, send, &openAIStream{reading: reading{speak: speak, names: names}})
	})
}
