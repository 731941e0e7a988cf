package model

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

// Bounds on what a provider may send as one reply, and as one error.
const (
	maxReplyBytes = 128 << 20
	maxErrorBytes = 1 << 20
)

var (
	errSilent   = errors.New("the provider was silent for too long")
	errUnsent   = errors.New("the request cannot be written")
	errTooLarge = fmt.Errorf("larger than any reply: %w", errShape)
)

// try asks once. A failed try's usage is what the provider said, else an
// estimate if it had begun to answer or was left at work; what it refused or
// lost before it began costs nothing.
func (m *openAI) try(
	ctx context.Context, req *Request, params openai.ChatCompletionNewParams, speak func(Delta),
) (Reply, *openAIFailure) {
	call, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(m.cfg.Timeout, func() { cancel(errSilent) })
	defer silence.Stop()

	stream := openAIStream{speak: speak}
	res, err := m.open(call, params, silence)
	if err == nil {
		err = stream.read(res)
		_ = res.Body.Close()
	}
	if stream.finished {
		return stream.whole(req), nil
	}
	var reply Reply
	if stream.begun || call.Err() != nil {
		reply.Usage = stream.used(req)
	}
	if errors.Is(context.Cause(call), errSilent) {
		return reply, m.failure(KindTimeout, false, fmt.Errorf("%w: %v", errSilent, m.cfg.Timeout))
	}
	return reply, m.sort(err, stream.begun)
}

// open returns once the provider has agreed to stream. silence runs until
// then, and from then on while the body is being read.
func (m *openAI) open(ctx context.Context, params openai.ChatCompletionNewParams, silence *time.Timer) (*http.Response, error) {
	var res *http.Response
	var sent bool
	watch := func(r *http.Request, next option.MiddlewareNext) (*http.Response, error) {
		sent = true
		res, err := next(r)
		if err != nil {
			return res, err
		}
		body := &watchedBody{ReadCloser: res.Body, silence: silence, timeout: m.cfg.Timeout, left: maxReplyBytes}
		if res.StatusCode >= http.StatusBadRequest {
			body.left = maxErrorBytes
		}
		res.Body = body
		return res, nil
	}
	events := m.chat.NewStreaming(ctx, params, option.WithResponseInto(&res), option.WithMiddleware(watch))
	switch err := events.Err(); {
	case err == nil:
		return res, nil
	case res != nil:
		return nil, refusal(res)
	case !sent:
		return nil, fmt.Errorf("%w: %w", errUnsent, err)
	default:
		return nil, fmt.Errorf("reaching the provider: %w", err)
	}
}

// watchedBody lets the silence run only while a read waits: a slow reader of
// ours is not the provider's silence.
type watchedBody struct {
	io.ReadCloser
	silence *time.Timer
	timeout time.Duration
	left    int
}

func (b *watchedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLarge
	}
	b.silence.Reset(b.timeout)
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.silence.Stop()
	b.left -= n
	return n, err
}
