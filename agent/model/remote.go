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
)

// What zero values of an OpenAIConfig or an AnthropicConfig stand for.
const (
	DefaultTimeout = time.Minute
	DefaultRetries = 2
)

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

// remote is what models behind HTTP have in common, whatever they speak.
type remote struct {
	name    string // in Runwire
	model   string // at the provider
	base    string
	key     string
	timeout time.Duration
	retries int
	client  *http.Client
}

// complete checks r and fills in its defaults. An error never holds the key.
func (r *remote) complete(base string) (host string, err error) {
	if r.name == "" || r.model == "" {
		return "", errors.New("a model needs its name, and its name at the provider")
	}
	if strings.ContainsFunc(r.key, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		return "", fmt.Errorf("model %s: the API key has spaces or characters that no key has", r.name)
	}
	if r.base == "" {
		r.base = base
	}
	address, err := url.Parse(r.base)
	if err != nil {
		return "", fmt.Errorf("model %s: parsing the base URL: %w", r.name, err)
	}
	if address.Scheme != "http" && address.Scheme != "https" || address.Host == "" {
		return "", fmt.Errorf("model %s: the base URL %q is no http or https address", r.name, address.Redacted())
	}
	if r.timeout <= 0 {
		r.timeout = DefaultTimeout
	}
	if r.retries == 0 {
		r.retries = DefaultRetries
	}
	if r.client == nil {
		r.client = NewHTTPClient()
	}
	return address.Hostname(), nil
}

// generate asks until a reply is whole, again where a try failed before its
// first token. The usage is that of all tries.
func (r *remote) generate(ctx context.Context, try func() (Reply, *failure)) (Reply, error) {
	if err := ctx.Err(); err != nil {
		return Reply{}, err
	}
	var used Usage
	for retries := 0; ; retries++ {
		reply, failed := try()
		used = used.plus(reply.Usage)
		reply.Usage = used
		if failed == nil {
			return reply, nil
		}
		if err := ctx.Err(); err != nil {
			return reply, err
		}
		wait := retryDelay(retries, failed.RetryAfter)
		if !failed.retry || retries >= r.retries || wait > maxRetryDelay || outlasts(ctx, wait) {
			return reply, failed.Error
		}
		if err := sleep(ctx, wait); err != nil {
			return reply, err
		}
	}
}

// plus is the usage of two tries.
func (u Usage) plus(v Usage) Usage {
	return Usage{
		InputTokens:       u.InputTokens + v.InputTokens,
		CachedInputTokens: u.CachedInputTokens + v.CachedInputTokens,
		CacheWriteTokens:  u.CacheWriteTokens + v.CacheWriteTokens,
		OutputTokens:      u.OutputTokens + v.OutputTokens,
		Estimated:         u.Estimated || v.Estimated,
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
