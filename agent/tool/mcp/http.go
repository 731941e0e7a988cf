package mcp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// maxRedirects is how many a request follows, all to the same host.
const maxRedirects = 5

// httpWire is a server over HTTP: the SDK's transport, on a client that keeps
// secrets to their host, bounds what is read, and can be ended.
type httpWire struct {
	mcp.StreamableClientTransport

	headers map[string]string
	next    *http.Transport
	ctx     context.Context // of every request
	cancel  context.CancelFunc
}

var _ wire = (*httpWire)(nil)

func newHTTPWire(url string, headers map[string]string) *httpWire {
	ctx, cancel := context.WithCancel(context.Background())
	w := &httpWire{
		headers: headers,
		next: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
			ForceAttemptHTTP2:      true,
			TLSHandshakeTimeout:    10 * time.Second,
			IdleConnTimeout:        90 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		},
		ctx:    ctx,
		cancel: cancel,
	}
	w.Endpoint = url
	w.MaxEventSize = maxMessage
	w.HTTPClient = &http.Client{Transport: w, CheckRedirect: sameHost}
	return w
}

// sameHost refuses to follow a server to where its headers must not go.
func sameHost(request *http.Request, via []*http.Request) error {
	first := via[0].URL
	switch {
	case request.URL.Host != first.Host || request.URL.Scheme != first.Scheme:
		return errors.New("it redirects to another host")
	case len(via) > maxRedirects:
		return fmt.Errorf("it redirects more than %d times", maxRedirects)
	}
	return nil
}

// RoundTrip sends a request with the server's headers. It ends with the wire.
func (w *httpWire) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(request.Context())
	release := context.AfterFunc(w.ctx, cancel) //nolint:contextcheck // the request ends with the wire too
	request = request.Clone(ctx)
	for name, value := range w.headers {
		request.Header.Set(name, value)
	}
	response, err := w.next.RoundTrip(request)
	if err != nil {
		release()
		cancel()
		return nil, err //nolint:wrapcheck // a transport's error is told by the client
	}
	if slip, ok := request.Context().Value(receiptKey{}).(*receipt); ok && response.StatusCode == http.StatusNotFound {
		slip.refused.Store(true)
	}
	response.Body = &body{ReadCloser: response.Body, release: func() { release(); cancel() }}
	kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if kind != "text/event-stream" {
		return bounded(request, response)
	}
	return response, nil
}

// bounded reads a response that is one message. In place of one that is too
// long or none, which would break the whole session, the call gets an error.
func bounded(request *http.Request, response *http.Response) (*http.Response, error) {
	data, err := io.ReadAll(io.LimitReader(response.Body, maxMessage+1))
	_ = response.Body.Close() // all that is wanted has been read
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if id, ok := called(request); ok && response.StatusCode == http.StatusOK {
		data, err = replaced(id, data)
	} else if len(data) > maxMessage {
		data, err = nil, errors.New("the answer is too long")
	}
	response.Body, response.ContentLength = io.NopCloser(bytes.NewReader(data)), int64(len(data))
	return response, err
}

func replaced(id jsonrpc.ID, data []byte) ([]byte, error) {
	if len(data) > maxMessage {
		return jsonrpc.EncodeMessage(tooLong(id)) //nolint:wrapcheck // its own message can be written
	}
	if _, err := jsonrpc.DecodeMessage(data); err != nil {
		return jsonrpc.EncodeMessage(&jsonrpc.Response{ID: id, Error: &jsonrpc.Error{ //nolint:wrapcheck // see above
			Code: jsonrpc.CodeParseError, Message: "its answer is no message of the protocol",
		}})
	}
	return data, nil
}

// called is the id of the call that a request makes.
func called(request *http.Request) (jsonrpc.ID, bool) {
	if request.GetBody == nil {
		return jsonrpc.ID{}, false
	}
	sent, err := request.GetBody()
	if err != nil {
		return jsonrpc.ID{}, false
	}
	data, err := io.ReadAll(sent)
	if err != nil {
		return jsonrpc.ID{}, false
	}
	message, err := jsonrpc.DecodeMessage(data)
	call, ok := message.(*jsonrpc.Request)
	if err != nil || !ok || !call.IsCall() {
		return jsonrpc.ID{}, false
	}
	return call.ID, true
}

func (w *httpWire) stop() {
	w.cancel()
	w.next.CloseIdleConnections()
}

func (w *httpWire) kill() { w.cancel() }

// body is a response's, which lets go of the request's context at its end.
type body struct {
	io.ReadCloser

	release func()
}

func (b *body) Close() error {
	defer b.release()
	return b.ReadCloser.Close() //nolint:wrapcheck // passed on
}
