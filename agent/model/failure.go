package model

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// failure is a failed try, and whether another may do better.
type failure struct {
	*Error
	retry bool
}

// saidError is what a provider says of a failure, in a body or in an event.
type saidError struct {
	Message string `json:"message"`
	Type    string `json:"type"`
	// Code is a word at OpenAI, an HTTP status at others.
	Code any `json:"code"`
}

// statusError is an answer that is no stream.
type statusError struct {
	saidError
	status     int
	retryAfter time.Duration
}

// failure makes a failed try. Its text has no key: some providers quote it back.
func (r *remote) failure(kind ErrorKind, retry bool, cause error) *failure {
	if text := cause.Error(); r.key != "" && strings.Contains(text, r.key) {
		cause = errors.New(strings.ReplaceAll(text, r.key, "[redacted]"))
	}
	return &failure{&Error{Kind: kind, Model: r.name, Err: cause}, retry}
}

// sort says what kind of failure err is. Once a reply has begun it can only be
// broken; a connection that is lost before may be better the next time.
func (r *remote) sort(err error, begun bool) *failure {
	var refused *statusError
	var said saidError
	switch {
	case begun || errors.Is(err, errShape) || errors.Is(err, bufio.ErrTooLong):
		return r.failure(KindBroken, false, err)
	case errors.Is(err, errUnsent):
		return r.failure(KindRejected, false, err)
	case errors.As(err, &refused):
		kind, retry := sortStatus(refused.status, refused.saidError)
		failure := r.failure(kind, retry, err)
		failure.RetryAfter = refused.retryAfter
		return failure
	case errors.As(err, &said):
		kind, retry := sortEvent(said)
		return r.failure(kind, retry, err)
	default:
		return r.failure(KindUnavailable, true, err)
	}
}

// sortStatus says what kind of failure a status is, and if trying again may help.
func sortStatus(status int, said saidError) (kind ErrorKind, retry bool) {
	switch {
	case status == http.StatusTooManyRequests:
		return KindRateLimited, said.Code != "insufficient_quota" // which only money cures
	case status == http.StatusRequestTimeout, status >= http.StatusInternalServerError:
		return KindUnavailable, true
	default:
		return KindRejected, false
	}
}

// rejections are parts of the types and codes that blame the request.
var rejections = []string{
	"invalid", "context_length", "authentication", "permission", "billing", "not_found", "too_large",
}

// sortEvent does for an error event what sortStatus does for a status.
func sortEvent(said saidError) (kind ErrorKind, retry bool) {
	if status, ok := said.Code.(float64); ok && status >= http.StatusBadRequest {
		return sortStatus(int(status), said)
	}
	code, _ := said.Code.(string)
	switch about := said.Type + " " + code; {
	case strings.Contains(about, "rate_limit"), strings.Contains(about, "insufficient_quota"):
		return sortStatus(http.StatusTooManyRequests, said)
	case slices.ContainsFunc(rejections, func(word string) bool { return strings.Contains(about, word) }):
		return KindRejected, false
	default:
		return KindUnavailable, true
	}
}

// errorIn reads the field of an event or a body that tells of an error, if it does.
func errorIn(field json.RawMessage) (saidError, bool) {
	if len(field) == 0 || string(field) == "null" {
		return saidError{}, false
	}
	var said saidError
	if json.Unmarshal(field, &said) != nil {
		said.Message = string(field) // a bare string at some
	}
	return said, true
}

// refusal reads what a provider said beside its status.
func refusal(res *http.Response) *statusError {
	refused := &statusError{status: res.StatusCode, retryAfter: retryAfter(res.Header)}
	if refused.status == http.StatusTooManyRequests && refused.retryAfter == 0 {
		refused.retryAfter = limitReset(res.Header)
	}
	body, err := io.ReadAll(res.Body) // in memory already: the SDK has read it
	if err != nil {
		body = []byte(err.Error())
	}
	var chunk openAIChunk // whose way of telling is Anthropic's too
	if json.Unmarshal(body, &chunk) == nil {
		refused.saidError, _ = chunk.said()
	}
	if refused.Message == "" {
		refused.Message = string(body)
	}
	return refused
}

func (r *statusError) Error() string {
	return fmt.Sprintf("the provider answered %d: %s", r.status, r.text())
}

func (e saidError) Error() string { return "the provider said in its stream: " + e.text() }

// text is what the provider said, cut to what a log line can carry.
func (e saidError) text() string {
	text := strings.TrimSpace(cmp.Or(e.Message, e.Type, "no reason"))
	const most = 300
	if len(text) > most {
		text = text[:most] + "…"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// retryAfter is when a provider asks to be tried again; 0 if it does not say.
func retryAfter(header http.Header) time.Duration {
	if ms, err := strconv.ParseFloat(header.Get("Retry-After-Ms"), 64); err == nil {
		return after(ms, time.Millisecond)
	}
	value := header.Get("Retry-After")
	if seconds, err := strconv.ParseFloat(value, 64); err == nil {
		return after(seconds, time.Second)
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(time.Until(date), 0)
	}
	return 0
}

// limitReset is when the last of the provider's limits that are used up is
// filled again; 0 if none is said to be.
func limitReset(header http.Header) time.Duration {
	var longest time.Duration
	for _, of := range [...]string{"Requests", "Tokens", "Input-Tokens", "Output-Tokens"} { // Anthropic's, each until a date
		if header.Get("Anthropic-Ratelimit-"+of+"-Remaining") != "0" {
			continue
		}
		if date, err := time.Parse(time.RFC3339, header.Get("Anthropic-Ratelimit-"+of+"-Reset")); err == nil {
			longest = max(longest, after(time.Until(date).Seconds(), time.Second))
		}
	}
	for _, of := range [...]string{"Requests", "Tokens"} { // OpenAI's, each for a while such as 6m0s
		if header.Get("X-Ratelimit-Remaining-"+of) != "0" {
			continue
		}
		if wait, err := time.ParseDuration(header.Get("X-Ratelimit-Reset-" + of)); err == nil {
			longest = max(longest, after(wait.Seconds(), time.Second))
		}
	}
	return longest
}

// after is n units, kept within a day; 0 for what is no time to come.
func after(n float64, unit time.Duration) time.Duration {
	const day = 24 * time.Hour
	switch {
	case !(n > 0):
		return 0
	case n > float64(day/unit):
		return day
	default:
		return time.Duration(n * float64(unit))
	}
}
