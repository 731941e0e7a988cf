package webhooks

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/runwire/runwire/store"
	"golang.org/x/net/dns/dnsmessage"
)

func TestRedirectsAreFollowed(t *testing.T) {
	t.Parallel()
	end := receiver(t, status(200)).URL
	for _, code := range []int{301, 302, 307, 308} {
		f := newFixture(t, nil)
		f.run(t)
		f.add(t, receiver(t, func(w http.ResponseWriter, r *http.Request) {
			if n := len(r.URL.Path); n < 3 { // "/", "/x" and "/xx" lead on
				http.Redirect(w, r, r.URL.Path+"x", code)
				return
			}
			http.Redirect(w, r, end, code)
		}).URL+"/")
		f.wantOutcome(t, store.DeliveryDelivered, 200, "")
	}
}

func TestRedirectsThatAreNotFollowed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		location, says string
		code           int
	}{
		"in circles": {"/", "more than 3 times", 307},
		"nowhere":    {"", "redirects to nowhere", 307},
		"as a GET":   {"/", "answered 303", 303},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, nil)
			f.run(t)
			f.add(t, receiver(t, func(w http.ResponseWriter, _ *http.Request) {
				if test.location != "" {
					w.Header().Set("Location", test.location)
				}
				w.WriteHeader(test.code)
			}).URL)
			f.wantOutcome(t, store.DeliveryPending, test.code, test.says)
		})
	}
}

// resolverOf answers every name with one address.
func resolverOf(t *testing.T, address [4]byte) *net.Resolver {
	t.Helper()
	server, err := (&net.ListenConfig{}).ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
	go func() {
		defer close(ended)
		answerNames(server, address)
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
}

// answerNames answers every question for an IPv4 address with the same.
func answerNames(server net.PacketConn, address [4]byte) {
	packet := make([]byte, 1500)
	for {
		n, from, err := server.ReadFrom(packet)
		if err != nil {
			return
		}
		var message dnsmessage.Message
		if err := message.Unpack(packet[:n]); err != nil {
			continue
		}
		message.Response, message.Authoritative, message.Additionals = true, true, nil
		if question := message.Questions[0]; question.Type == dnsmessage.TypeA {
			message.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: question.Class, TTL: 1},
				Body:   &dnsmessage.AResource{A: address},
			}}
		}
		if packed, err := message.Pack(); err == nil {
			_, _ = server.WriteTo(packed, from)
		}
	}
}

func TestANameThatIsPrivateIsRefused(t *testing.T) {
	t.Parallel()
	for _, address := range [][4]byte{{127, 0, 0, 1}, {10, 0, 0, 7}, {169, 254, 169, 254}} {
		f := newFixture(t, func(cfg *Config) {
			cfg.AllowPrivate, cfg.resolver = false, resolverOf(t, address)
		})
		f.run(t)
		server := receiver(t, func(http.ResponseWriter, *http.Request) { t.Error("a private address was called") })
		_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
		f.add(t, "http://rebound.example.com:"+port+"/")
		f.wantOutcome(t, store.DeliveryFailed, 0, "its address is not allowed")
	}
}

// Where private networks are allowed, what keeps a machine's credentials is not.
func TestMetadataIsNeverCalled(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(cfg *Config) { cfg.resolver = resolverOf(t, [4]byte{169, 254, 169, 254}) })
	f.run(t)
	f.add(t, "http://169.254.169.254/latest/meta-data")
	f.wantOutcome(t, store.DeliveryFailed, 0, "not link-local or cloud metadata")
	f.add(t, "http://rebound.example.com/latest/meta-data")
	f.wantOutcome(t, store.DeliveryFailed, 0, "its address is not allowed")
}

// Where a redirect leads is looked at as the URL was.
func TestARedirectToAPrivateAddressIsRefused(t *testing.T) {
	t.Parallel()
	for _, target := range []string{
		"http://169.254.169.254/latest/meta-data", "http://localhost:1/", "http://[::1]/", "http://0x7f000001/",
		"http://user:pw@example.com/", "ftp://example.com/", "file:///etc/passwd", "http://metadata.google.internal/",
	} {
		f := newFixture(t, func(cfg *Config) { cfg.AllowPrivate = false })
		// The first hop is this machine's, which a public one stands for.
		server := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", target)
			w.WriteHeader(http.StatusTemporaryRedirect)
		})
		transport := f.sender.client.Transport
		f.sender.client.Transport = firstHop(func(r *http.Request) (*http.Response, error) {
			if r.URL.Host == "hooks.example.com" {
				r.URL.Host = server.Listener.Addr().String()
				return http.DefaultTransport.RoundTrip(r)
			}
			return transport.RoundTrip(r)
		})
		f.run(t)
		f.add(t, "http://hooks.example.com/")
		got := <-f.kept.outcomes
		if got.Status != store.DeliveryFailed || got.Code != 0 || !strings.HasPrefix(got.Error, "the URL must") {
			t.Errorf("%s: %+v", target, got)
		}
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	}
}

// firstHop stands before a transport.
type firstHop func(*http.Request) (*http.Response, error)

func (f firstHop) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestHTTPSIsNotLeft(t *testing.T) {
	t.Parallel()
	f := newFixture(t, nil)
	server := httptest.NewTLSServer(http.RedirectHandler("http://example.com/", http.StatusTemporaryRedirect))
	defer server.Close()
	f.run(t)
	f.add(t, server.URL)
	f.wantOutcome(t, store.DeliveryPending, 0, "certificate is not valid")
	f.sender.client.Transport.(*http.Transport).TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	f.add(t, server.URL)
	f.wantOutcome(t, store.DeliveryPending, 307, "from https to http")
}
