package tool

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/runwire/runwire/netguard"
)

// What every call of http_get is held to.
const (
	httpGetTimeout   = 20 * time.Second
	httpGetRedirects = 5
	// httpGetText is how much of a page is kept, in bytes: with the note of a
	// cut it is an answer that Call does not cut again.
	httpGetText = MaxOutput - noteRoom
	// longestURL is how long a URL may be, in bytes.
	longestURL = 4 << 10
)

// HTTPGetConfig says which hosts http_get may ask.
type HTTPGetConfig struct {
	// Hosts are names (`example.com`), all names below one (`*.example.com`),
	// addresses (`192.0.2.7`), or `*` for any name. At least one.
	Hosts []string
	// AllowPrivate also allows addresses that are not public, but for
	// link-local ones and those where clouds keep credentials.
	AllowPrivate bool
}

// HTTPGet makes the tool http_get{url}, which gets text from the hosts that cfg
// allows. Names are allowed by cfg, and what they lead to is looked at once more
// when it is connected to; redirects are held to the same. It sends no
// credentials and heeds no proxy of the environment.
func HTTPGet(cfg HTTPGetConfig) (*Tool, error) {
	hosts, err := parseHosts(cfg.Hosts)
	if err != nil {
		return nil, fmt.Errorf("tool %q: %w", "http_get", err)
	}
	dialer := &net.Dialer{Timeout: 10 * time.Second, Control: netguard.DialControl(cfg.AllowPrivate)}
	g := &httpGet{hosts: hosts}
	g.client = &http.Client{
		CheckRedirect: g.redirect,
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			ForceAttemptHTTP2:      true,
			DisableKeepAlives:      true, // each call looks at the address anew
			TLSHandshakeTimeout:    10 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		},
	}
	return New(Definition{
		Name: "http_get",
		Description: "Gets a page or a document from the web by its URL and returns its text as it is. " +
			"Only text (HTML, JSON, XML and the like), and only from these hosts: " + strings.Join(cfg.Hosts, ", ") + ".",
		Effect:  Pure,
		Timeout: httpGetTimeout,
		Parameters: json.RawMessage(`{
			"type": "object",
			"properties": {
				"url": {"type": "string", "description": "begins with https:// or http://"}
			},
			"required": ["url"],
			"additionalProperties": false
		}`),
	}, g.call)
}

type httpGet struct {
	hosts  hostList
	client *http.Client
}

func (g *httpGet) call(ctx context.Context, arguments json.RawMessage) (string, error) {
	var args struct {
		URL string `json:"url"`
	}
	if err := json.Unmarshal(arguments, &args); err != nil {
		return "", fmt.Errorf("reading the arguments: %w", err)
	}
	target, err := url.Parse(args.URL)
	if err != nil || len(args.URL) > longestURL {
		return "", errors.New("that is not a URL")
	}
	if err := g.check(target); err != nil {
		return "", err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), http.NoBody)
	if err != nil {
		return "", errors.New("that is not a URL")
	}
	request.Header.Set("User-Agent", "runwire-http-get")
	request.Header.Set("Accept", "text/*, application/json, application/xml;q=0.9, */*;q=0.1")
	response, err := g.client.Do(request)
	if err != nil {
		return "", trouble(err)
	}
	defer response.Body.Close() //nolint:errcheck // only read from
	return read(response)
}

// refusal is what a model is told of a URL that is not allowed.
type refusal string

func (r refusal) Error() string { return string(r) }

func (g *httpGet) check(target *url.URL) error {
	switch {
	case target.Scheme != "https" && target.Scheme != "http":
		return refusal("the URL must begin with https:// or http://")
	case target.User != nil:
		return refusal("the URL must hold no user and no password")
	case !g.hosts.allow(target.Hostname()):
		return refusal(fmt.Sprintf("the host %q is not allowed", target.Hostname()))
	}
	return nil
}

func (g *httpGet) redirect(next *http.Request, via []*http.Request) error {
	if len(via) > httpGetRedirects {
		return refusal(fmt.Sprintf("it redirects more than %d times", httpGetRedirects))
	}
	next.Header.Del("Referer") // it is nobody's business
	if err := g.check(next.URL); err != nil {
		return refusal("it redirects elsewhere: " + err.Error())
	}
	return nil
}

// trouble is a failure in words for a model: they show nothing of this side's
// network.
func trouble(err error) error {
	told := refusal("")
	lookup := (*net.DNSError)(nil)
	certificate := (*tls.CertificateVerificationError)(nil)
	timeout := net.Error(nil)
	switch {
	case errors.As(err, &told):
		return told
	case errors.Is(err, netguard.ErrRefused):
		return errors.New("the host's address is not allowed")
	case errors.As(err, &lookup) && lookup.IsNotFound:
		return errors.New("there is no such host")
	case errors.As(err, &lookup):
		return errors.New("the host's name could not be looked up")
	case errors.As(err, &certificate):
		return errors.New("the host's certificate is not valid")
	case errors.As(err, &timeout) && timeout.Timeout():
		return errors.New("the host did not answer in time")
	default:
		return errors.New("the connection failed")
	}
}

// read is the text of a response, or why there is none.
func read(response *http.Response) (string, error) {
	declared := response.Header.Get("Content-Type")
	kind, params, err := mime.ParseMediaType(declared)
	if declared != "" && err != nil || !isText(kind) && declared != "" {
		return "", fmt.Errorf("it answered %d with %q, which is not text", response.StatusCode, declared)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, httpGetText+1))
	if err != nil {
		return "", trouble(err)
	}
	if declared == "" && len(data) > 0 && !strings.HasPrefix(http.DetectContentType(data), "text/") {
		return "", fmt.Errorf("it answered %d with what is not text", response.StatusCode)
	}
	text, err := decoded(data, params["charset"])
	if err != nil {
		return "", err
	}
	if response.StatusCode < http.StatusOK || response.StatusCode >= http.StatusMultipleChoices {
		return "", fmt.Errorf("it answered %d %s: %s", response.StatusCode, http.StatusText(response.StatusCode), text)
	}
	if len(text) <= httpGetText {
		return text, nil
	}
	text = headOf(text, httpGetText)
	return fmt.Sprintf("%s\n[cut here: there is more, these are the first %d bytes]", text, len(text)), nil
}

func isText(kind string) bool {
	switch kind {
	case "application/json", "application/ld+json", "application/x-ndjson", "application/xml", "application/yaml",
		"application/x-yaml", "application/toml", "application/javascript", "application/graphql":
		return true
	default:
		return strings.HasPrefix(kind, "text/") || strings.HasSuffix(kind, "+json") || strings.HasSuffix(kind, "+xml") ||
			strings.HasSuffix(kind, "+yaml")
	}
}

// decoded is data of that charset as UTF-8.
func decoded(data []byte, charset string) (string, error) {
	switch strings.ToLower(charset) {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
		return strings.ToValidUTF8(string(data), replacement), nil
	case "iso-8859-1", "latin1":
		text := make([]rune, len(data))
		for i, b := range data {
			text[i] = rune(b)
		}
		return string(text), nil
	default:
		return "", fmt.Errorf("its charset %q is not supported", charset)
	}
}
