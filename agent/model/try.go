package model

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Bounds on what a provider may send as one reply, and as one error.
const (
	maxReplyBytes = 128 << 20
	maxErrorBytes = 1 << 20
)

var (
	// errShape: what came is not what is published.
	errShape    = errors.New("not of the published shape")
	errSilent   = errors.New("the provider was silent for too long")
	errUnsent   = errors.New("the request cannot be written")
	errTooLarge = fmt.Errorf("larger than any reply: %w", errShape)
)

// answer is a reply of one wire format while it is being read.
type answer interface {
	// read speaks the reply to its end. An error after the reply is whole costs
	// nothing but the provider's count of tokens.
	read(res *http.Response) error
	// progress is how far it has come.
	progress() *reading
	// whole is the reply after its end.
	whole(req *Request) Reply
	// used is what the provider said, else an estimate.
	used(req *Request) Usage
}

// reading is what all wire formats' answers share.
type reading struct {
	speak    func(Delta)
	names    *wireNames
	reply    Reply
	calls    toolCalls
	billed   bool  // the provider has begun to work
	begun    bool  // and to answer
	finished bool  // it said that the reply is whole
	spoken   int64 // tokens, by our count
}

func (r *reading) progress() *reading { return r }

func (r *reading) say(delta Delta) {
	text := delta.Text + delta.Reasoning
	if text == "" {
		return
	}
	r.spoken += max(guessTokens(text), 1)
	r.speak(delta)
}

// end is the reply after its end. Tool calls count unless the reply was cut,
// whatever reason is given for its end: servers differ.
func (r *reading) end(usage Usage) Reply {
	reply := r.reply
	reply.Usage = usage
	switch {
	case reply.Stop == StopLength || reply.Stop == StopContentFilter:
	case len(r.calls.begun) > 0:
		reply.Stop, reply.ToolCalls = StopToolCalls, r.calls.whole(r.names)
	default:
		reply.Stop = StopEnd
	}
	return reply
}

// try asks once. A failed try's usage is what the provider said, else an
// estimate if it had begun to work or was left at it; what it refused or
// lost before it began costs nothing.
func (r *remote) try(
	ctx context.Context, req *Request, send func(context.Context, *exchange) error, reply answer,
) (Reply, *failure) {
	call, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(r.timeout, func() { cancel(errSilent) })
	defer silence.Stop()

	x := exchange{silence: silence, timeout: r.timeout}
	err := x.open(call, send)
	if err == nil {
		err = reply.read(x.res)
		_ = x.res.Body.Close()
	}
	come := reply.progress()
	if come.finished {
		return reply.whole(req), nil
	}
	var nothing Reply
	if come.billed || call.Err() != nil {
		nothing.Usage = reply.used(req)
	}
	if errors.Is(context.Cause(call), errSilent) {
		return nothing, r.failure(KindTimeout, false, fmt.Errorf("%w: %v", errSilent, r.timeout))
	}
	return nothing, r.sort(err, come.begun)
}

// exchange is one request and its response.
type exchange struct {
	silence *time.Timer
	timeout time.Duration
	sent    bool
	res     *http.Response
}

// open returns once the provider has agreed to stream. The silence runs until
// then, and from then on while the body is being read.
func (x *exchange) open(ctx context.Context, send func(context.Context, *exchange) error) error {
	switch err := send(ctx, x); {
	case err == nil:
		return nil
	case x.res != nil:
		return refusal(x.res)
	case !x.sent:
		return fmt.Errorf("%w: %w", errUnsent, err)
	default:
		return fmt.Errorf("reaching the provider: %w", err)
	}
}

// pass is the SDKs' middleware.
func (x *exchange) pass(r *http.Request, next func(*http.Request) (*http.Response, error)) (*http.Response, error) {
	x.sent = true
	res, err := next(r)
	if err != nil {
		return res, err
	}
	body := &watchedBody{ReadCloser: res.Body, silence: x.silence, timeout: x.timeout, left: maxReplyBytes}
	if res.StatusCode >= http.StatusBadRequest {
		body.left = maxErrorBytes
	}
	res.Body = body
	return res, nil
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
