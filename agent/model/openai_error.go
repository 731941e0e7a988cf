package model

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// openAIFailure is a failed try, and whether another may do better.
type openAIFailure struct {
	*Error
	retry bool
}

// openAIError is what a provider says of a failure, in a body or in an event.
type openAIError struct {
	Message string `json:"message"`
	Type    string `json:"type"`
	// Code is a word at OpenAI, an HTTP status at others.
	Code any `json:"code"`
}

// openAIStatusError is an answer that is no stream.
type openAIStatusError struct {
	openAIError
	status     int
	retryAfter time.Duration
}

// failure makes a failed try. Its text has no key: some providers quote it back.
func (m *openAI) failure(kind ErrorKind, retry bool, cause error) *openAIFailure {
	if text := cause.Error(); m.cfg.APIKey != "" && strings.Contains(text, m.cfg.APIKey) {
		cause = errors.New(strings.ReplaceAll(text, m.cfg.APIKey, "[redacted]"))
	}
	return &openAIFailure{&Error{Kind: kind, Model: m.cfg.Name, Err: cause}, retry}
}

// sort says what kind of failure err is. Once a reply has begun it can only be
// broken; a connection that is lost before may be better the next time.
func (m *openAI) sort(err error, begun bool) *openAIFailure {
	var refused *openAIStatusError
	var said openAIError
	switch {
	case begun || errors.Is(err, errShape) || errors.Is(err, bufio.ErrTooLong):
		return m.failure(KindBroken, false, err)
	case errors.Is(err, errUnsent):
		return m.failure(KindRejected, false, err)
	case errors.As(err, &refused):
		kind, retry := sortStatus(refused.status, refused.openAIError)
		failure := m.failure(kind, retry, err)
		failure.RetryAfter = refused.retryAfter
		return failure
	case errors.As(err, &said):
		kind, retry := sortEvent(said)
		return m.failure(kind, retry, err)
	default:
		return m.failure(KindUnavailable, true, err)
	}
}

// sortStatus says what kind of failure a status is, and if trying again may help.
func sortStatus(status int, said openAIError) (kind ErrorKind, retry bool) {
	switch {
	case status == http.StatusTooManyRequests:
		return KindRateLimited, said.Code != "insufficient_quota" // which only money cures
	case status == http.StatusRequestTimeout, status >= http.StatusInternalServerError:
		return KindUnavailable, true
	default:
		return KindRejected, false
	}
}

// sortEvent does for an error event what sortStatus does for a status.
func sortEvent(said openAIError) (kind ErrorKind, retry bool) {
	if status, ok := said.Code.(float64); ok && status >= http.StatusBadRequest {
		return sortStatus(int(status), said)
	}
	code, _ := said.Code.(string)
	switch about := said.Type + " " + code; {
	case strings.Contains(about, "rate_limit"), strings.Contains(about, "insufficient_quota"):
		return sortStatus(http.StatusTooManyRequests, said)
	case strings.Contains(about, "invalid"), strings.Contains(about, "context_length"):
		return KindRejected, false
	default:
		return KindUnavailable, true
	}
}

// refusal reads what a provider said beside its status.
func refusal(res *http.Response) *openAIStatusError {
	refused := &openAIStatusError{status: res.StatusCode, retryAfter: retryAfter(res.Header)}
	body, err := io.ReadAll(res.Body) // in memory already: the SDK has read it
	if err != nil {
		body = []byte(err.Error())
	}
	var chunk openAIChunk
	if json.Unmarshal(body, &chunk) == nil {
		refused.openAIError, _ = chunk.said()
	}
	if refused.Message == "" {
		refused.Message = string(body)
	}
	return refused
}

func (r *openAIStatusError) Error() string {
	return fmt.Sprintf("the provider answered %d: %s", r.status, r.text())
}

func (e openAIError) Error() string { return "the provider said in its stream: " + e.text() }

// text is what the provider said, cut to what a log line can carry.
func (e openAIError) text() string {
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
