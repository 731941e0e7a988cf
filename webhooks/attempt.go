package webhooks

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/runwire/runwire/netguard"
	"github.com/runwire/runwire/store"
	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const (
	// tryTimeout bounds a try, with all its redirects.
	tryTimeout = 15 * time.Second
	// maxRedirects is how many are followed in a try.
	maxRedirects = 3
	// maxAnswer is how much of an answer is read, so that its connection can be
	// used again; nobody looks at it.
	maxAnswer = 16 << 10
)

// answer is what came of a try.
type answer struct {
	// code is the HTTP status, 0 for none.
	code int
	// problem is why it did not come through, for whoever owns the task; empty
	// when it did.
	problem string
	// final: there is no use in trying again.
	final bool
	// retryAfter is what the receiver has asked for; 0 for nothing.
	retryAfter time.Duration
	// next is where it sends the request instead; may be nil.
	next *url.URL
}

// newClient returns a client that follows no redirect, has no proxy, and
// connects to public addresses only, or to private ones too.
func newClient(allowPrivate bool, resolver *net.Resolver) *http.Client {
	dialer := &net.Dialer{
		Timeout:  5 * time.Second,
		Resolver: resolver,
		Control:  netguard.DialControl(allowPrivate),
	}
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true,
			TLSHandshakeTimeout:    5 * time.Second,
			MaxIdleConns:           parallel,
			MaxIdleConnsPerHost:    2,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		},
	}
}

// attempt calls a delivery's URL once, and where that leads to.
func (s *Sender) attempt(ctx context.Context, delivery *store.Delivery) answer {
	with := s.signers.of(delivery.Tenant)
	if len(with) == 0 {
		return answer{problem: "no secret is configured to sign it with"}
	}
	target, err := url.Parse(delivery.URL)
	if err != nil {
		return answer{problem: "the URL is not one", final: true}
	}
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	for hop := 0; ; hop++ {
		if err := check(target, s.cfg.AllowPrivate); err != nil {
			return answer{problem: "the URL " + err.Error(), final: true}
		}
		got, err := s.post(ctx, target, delivery, with)
		if err != nil {
			return answer{problem: reason(err), final: errors.Is(err, netguard.ErrRefused)}
		}
		if !isRedirect(got.code) {
			return got
		}
		got.final, got.retryAfter = false, 0
		switch {
		case got.next == nil:
			got.problem = "it redirects to nowhere"
		case hop == maxRedirects:
			got.problem = fmt.Sprintf("it redirects more than %d times", maxRedirects)
		case target.Scheme == "https" && got.next.Scheme == "http":
			got.problem = "it redirects from https to http"
		default:
			target = got.next
			continue
		}
		return got
	}
}

// isRedirect says whether a status sends the same request elsewhere. 303 would
// have it sent as a GET, which tells nobody of anything.
func isRedirect(code int) bool {
	switch code {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	default:
		return false
	}
}

// post sends a delivery to one URL.
func (s *Sender) post(ctx context.Context, target *url.URL, delivery *store.Delivery, with []*standard.Webhook) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(delivery.Payload))
	if err != nil {
		return answer{}, fmt.Errorf("making a request: %w", err)
	}
	now := s.cfg.Now()
	signature, err := sign(with, delivery.ID, now, delivery.Payload)
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "runwire-webhooks")
	request.Header.Set(standard.HeaderWebhookID, delivery.ID)
	request.Header.Set(standard.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	request.Header.Set(standard.HeaderWebhookSignature, signature)
	response, err := s.client.Do(request)
	if err != nil {
		return answer{}, fmt.Errorf("calling a webhook: %w", err)
	}
	defer response.Body.Close()                           //nolint:errcheck // nothing more is wanted of it
	_, _ = io.CopyN(io.Discard, response.Body, maxAnswer) // the status has said it all
	got := answer{code: response.StatusCode, retryAfter: retryAfter(response.Header, now)}
	if got.code < http.StatusOK || got.code >= http.StatusMultipleChoices {
		got.problem = fmt.Sprintf("it answered %d", got.code)
	}
	got.final = got.code == http.StatusGone
	got.next, _ = response.Location() // nil where there is none
	return got, nil
}

// reason is a failure in words for whoever owns the task: they show nothing of
// this side's network.
func reason(err error) string {
	lookup := (*net.DNSError)(nil)
	certificate := (*tls.CertificateVerificationError)(nil)
	timeout := net.Error(nil)
	switch {
	case errors.Is(err, netguard.ErrRefused):
		return "its address is not allowed"
	case errors.Is(err, context.Canceled):
		return "the server was shutting down"
	case errors.As(err, &lookup) && lookup.IsNotFound:
		return "its name does not exist"
	case errors.As(err, &lookup):
		return "its name could not be looked up"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "it did not answer in time"
	case errors.As(err, &certificate):
		return "its certificate is not valid"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "it refused the connection"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return "it closed the connection"
	default:
		return "the connection failed"
	}
}
