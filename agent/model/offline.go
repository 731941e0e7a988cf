package model

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// OfflineName is the offline model's name, in a configuration and everywhere else.
const OfflineName = "offline"

// OfflineOptions shape the offline model for tests and load. The zero value
// answers from rules, as fast as its words are taken.
type OfflineOptions struct {
	// Tokens, if positive, is how many words every reply has, whatever was
	// asked: one a delta, each one output token. No tool is called.
	Tokens int
	// TokenInterval is the time from each word to the next, and before a tool call.
	TokenInterval time.Duration
	// FirstTokenDelay is the time before the first word or tool call.
	FirstTokenDelay time.Duration
	// FailRate is the share of calls, from 0 to 1, that fail with
	// KindUnavailable before the first word. Which ones is the same every time.
	FailRate float64
}

type offline struct {
	opts  OfflineOptions
	calls atomic.Uint64
}

// NewOffline makes the model that answers with no provider: a stand-in that
// says so, calls the tools it is given, streams by the word, and gives the same
// reply to the same request. An error says which option is out of range.
func NewOffline(opts OfflineOptions) (Model, error) {
	switch {
	case opts.Tokens < 0:
		return nil, fmt.Errorf("offline model: tokens is %d, must not be negative", opts.Tokens)
	case opts.TokenInterval < 0:
		return nil, fmt.Errorf("offline model: token_interval is %v, must not be negative", opts.TokenInterval)
	case opts.FirstTokenDelay < 0:
		return nil, fmt.Errorf("offline model: first_token_delay is %v, must not be negative", opts.FirstTokenDelay)
	case !(opts.FailRate >= 0 && opts.FailRate <= 1): // so that NaN is refused
		return nil, fmt.Errorf("offline model: fail_rate is %v, must be from 0 to 1", opts.FailRate)
	}
	return &offline{opts: opts}, nil
}

func (o *offline) Name() string { return OfflineName }

// InputTokens is exactly what Generate bills.
func (o *offline) InputTokens(req *Request) int64 { return requestTokens(req, guessTokens) }

func (o *offline) Generate(ctx context.Context, req *Request, speak func(Delta)) (Reply, error) {
	if err := ctx.Err(); err != nil {
		return Reply{}, err
	}
	if o.fails() {
		return Reply{}, &Error{Kind: KindUnavailable, Model: OfflineName, Err: errors.New("fail_rate says so")}
	}
	turn := offlineTurn{
		pace:  newPace(ctx, o.opts),
		most:  req.MaxOutputTokens,
		speak: speak,
		reply: Reply{ResponseModel: OfflineName, Stop: StopEnd, Usage: Usage{InputTokens: o.InputTokens(req)}},
	}
	defer turn.pace.stop()
	var err error
	if o.opts.Tokens > 0 {
		err = turn.count(o.opts.Tokens)
	} else if calls := offlineToolCalls(req); len(calls) > 0 {
		err = turn.call(calls)
	} else if summary, asked := offlineSummary(req); asked {
		err = turn.say(summary)
	} else {
		err = turn.say(offlineAnswer(req))
	}
	return turn.reply, err
}

// fails decides by a hash of the call's number, so that it is the same calls
// in every process and a share of them in any stretch.
func (o *offline) fails() bool {
	if o.opts.FailRate == 0 {
		return false
	}
	x := o.calls.Add(1) * 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return float64((x^x>>31)>>11)/(1<<53) < o.opts.FailRate
}

// offlineTurn is one reply in the making.
type offlineTurn struct {
	pace  pace
	most  int64 // output tokens
	speak func(Delta)
	reply Reply
}

// count says n words of a fixed table.
func (t *offlineTurn) count(n int) error {
	if int64(n) > t.most {
		n, t.reply.Stop = int(t.most), StopLength
	}
	for i := range n {
		if err := t.pace.wait(); err != nil {
			return err
		}
		word := offlineWords[i%len(offlineWords)]
		if i == n-1 {
			word = word[:len(word)-1] // no space after the last
		}
		t.speak(Delta{Text: word})
		t.reply.Usage.OutputTokens++
	}
	return nil
}

// say speaks text by the word, each with the space after it.
func (t *offlineTurn) say(text string) error {
	for text != "" {
		word := firstWord(text)
		tokens := max(guessTokens(word), 1)
		if t.reply.Usage.OutputTokens+tokens > t.most {
			t.reply.Stop = StopLength
			return nil
		}
		if err := t.pace.wait(); err != nil {
			return err
		}
		t.speak(Delta{Text: word})
		t.reply.Usage.OutputTokens += tokens
		text = text[len(word):]
	}
	return nil
}

// call asks for tools, if there is room to.
func (t *offlineTurn) call(calls []ToolCall) error {
	var tokens int64
	for _, call := range calls {
		tokens += toolFraming + guessTokens(call.Name) + guessTokens(call.Arguments)
	}
	if tokens > t.most {
		t.reply.Stop, t.reply.Usage.OutputTokens = StopLength, t.most
		return nil
	}
	if err := t.pace.wait(); err != nil {
		return err
	}
	t.reply.Stop, t.reply.ToolCalls, t.reply.Usage.OutputTokens = StopToolCalls, calls, tokens
	return nil
}

// firstWord is text up to the end of the white space after its first word.
func firstWord(text string) string {
	i := 0
	for i < len(text) && !isSpace(text[i]) {
		i++
	}
	for i < len(text) && isSpace(text[i]) {
		i++
	}
	return text[:i]
}

// offlineWords end in a space, so that a word is said without being built.
var offlineWords = [...]string{
	"the ", "quiet ", "river ", "runs ", "beside ", "an ", "old ", "stone ",
	"bridge ", "where ", "two ", "friends ", "once ", "counted ", "every ", "boat ",
	"and ", "gave ", "each ", "of ", "them ", "a ", "name ", "that ",
	"nobody ", "else ", "would ", "know ", "until ", "spring ", "came ", "again ",
}
