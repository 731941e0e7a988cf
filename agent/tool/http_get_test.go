package tool

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func httpGetTool(t testing.TB, cfg HTTPGetConfig) *Tool {
	t.Helper()
	made, err := HTTPGet(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func get(t testing.TB, from *Tool, address string) (string, error) {
	t.Helper()
	arguments, err := json.Marshal(map[string]string{"url": address})
	if err != nil {
		t.Fatal(err)
	}
	return from.Call(t.Context(), string(arguments))
}

// pages is a site of pages of every kind.
func pages(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	page := func(path, kind, text string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = []string{kind}
			if kind == "" {
				w.Header()["Content-Type"] = nil
			}
			_, _ = io.WriteString(w, text)
		})
	}
	page("/html", "text/html; charset=UTF-8", "<p>Grüße</p>")
	page("/json", "application/json", `{"a": 1}`)
	page("/problem", "application/problem+json", `{"a": 2}`)
	page("/latin", "text/plain; charset=ISO-8859-1", "Gr\xfc\xdfe")
	page("/broken", "text/plain", "a\xffb")
	page("/untyped", "", "just text")
	page("/empty", "", "")
	page("/long", "text/plain", strings.Repeat("ü", MaxOutput))
	page("/png", "image/png", "\x89PNG\r\n\x1a\n")
	page("/binary", "", "\x00\x01\x02\x03")
	page("/mistyped", ";;;", "text")
	page("/japanese", "text/html; charset=Shift_JIS", "text")
	mux.HandleFunc("/missing", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "there is no such page", http.StatusNotFound)
	})
	mux.HandleFunc("/zip", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Encoding", "gzip")
		packed := gzip.NewWriter(w)
		for range 100 {
			_, _ = packed.Write(make([]byte, 1<<20))
		}
		_ = packed.Close()
	})
	mux.HandleFunc("/to", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("url"), http.StatusFound)
	})
	mux.HandleFunc("/round", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/round", http.StatusFound)
	})
	mux.HandleFunc("/headers", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s|%s|%s", r.Header.Get("Authorization"), r.Header.Get("Cookie"), r.Header.Get("Referer"))
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	site := httptest.NewServer(mux)
	t.Cleanup(site.Close)
	return site.URL
}

func TestHTTPGet(t *testing.T) {
	t.Parallel()
	site := pages(t)
	from := httpGetTool(t, HTTPGetConfig{Hosts: []string{"127.0.0.1"}, AllowPrivate: true})
	to := func(target string) string { return "/to?url=" + url.QueryEscape(target) }
	for path, want := range map[string]string{
		"/html": "<p>Grüße</p>", "/json": `{"a": 1}`, "/problem": `{"a": 2}`, "/latin": "Grüße",
		"/broken": "a\uFFFDb", "/untyped": "just text", "/empty": "", to("/json"): `{"a": 1}`,
		to(site + "/headers"): "||", "/html#part": "<p>Grüße</p>",
	} {
		if got, err := get(t, from, site+path); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", path, got, err, want)
		}
	}
	for path, says := range map[string]string{
		"/png":                            `it answered 200 with "image/png", which is not text`,
		"/binary":                         "what is not text",
		"/mistyped":                       "which is not text",
		"/japanese":                       `its charset "Shift_JIS" is not supported`,
		"/missing":                        "it answered 404 Not Found: there is no such page",
		"/round":                          "it redirects more than 5 times",
		to("http://example.com/"):         `it redirects elsewhere: the host "example.com" is not allowed`,
		to("http://a:b@127.0.0.1/"):       "no user and no password",
		to("file:///etc/passwd"):          "must begin with https:// or http://",
		to("http://169.254.169.254/meta"): `the host "169.254.169.254" is not allowed`,
	} {
		_, err := get(t, from, site+path)
		if failed := asError(t, err); failed.Type != Failed || !strings.Contains(failed.Message, says) {
			t.Errorf("%s: %v, want it to say %q", path, err, says)
		}
	}
}

func TestHTTPGetIsBounded(t *testing.T) {
	t.Parallel()
	site := pages(t)
	from := httpGetTool(t, HTTPGetConfig{Hosts: []string{"127.0.0.1"}, AllowPrivate: true})
	for _, path := range []string{"/long", "/zip"} {
		got, err := get(t, from, site+path)
		if err != nil || len(got) > MaxOutput || strings.Count(got, "[cut here: there is more, these are the first") != 1 ||
			strings.Contains(got, "the output has") {
			t.Errorf("%s: %d bytes, %v", path, len(got), err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := from.Call(ctx, `{"url": "`+site+`/slow"}`)
	if asError(t, err).Type != Cancelled {
		t.Errorf("a page that never ends: %v", err)
	}
	if got := from.Definition().Timeout; got != httpGetTimeout {
		t.Errorf("a call may take %s", got)
	}
}

// Whatever a name is allowed for, it leads to no address of this network.
func TestHTTPGetRefusesAddresses(t *testing.T) {
	t.Parallel()
	var reached atomic.Bool
	site := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	defer site.Close()
	port := site.URL[strings.LastIndexByte(site.URL, ':'):]
	closed := httpGetTool(t, HTTPGetConfig{Hosts: []string{"*", "127.0.0.1", "::1", "169.254.169.254", "0.0.0.0"}})
	for _, host := range []string{"localhost", "LOCALHOST", "127.0.0.1", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0"} {
		_, err := get(t, closed, "http://"+host+port)
		if failed := asError(t, err); failed.Message != "the host's address is not allowed" {
			t.Errorf("%s: %v", host, failed)
		}
	}
	open := httpGetTool(t, HTTPGetConfig{Hosts: []string{"169.254.169.254", "100.100.100.200"}, AllowPrivate: true})
	for _, host := range []string{"169.254.169.254", "100.100.100.200"} {
		_, err := get(t, open, "http://"+host)
		if failed := asError(t, err); failed.Message != "the host's address is not allowed" {
			t.Errorf("%s: %v", host, failed)
		}
	}
	if reached.Load() {
		t.Error("one has led to a server")
	}
}

func TestHTTPGetHeedsNoProxy(t *testing.T) {
	var reached atomic.Bool
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", proxy.URL)
	from := httpGetTool(t, HTTPGetConfig{Hosts: []string{"no-such-host.invalid"}})
	_, err := get(t, from, "http://no-such-host.invalid/")
	if failed := asError(t, err); reached.Load() || failed.Type != Failed || !strings.Contains(failed.Message, "host") {
		t.Errorf("got %v, proxy asked: %t", err, reached.Load())
	}
}

func TestHTTPGetRefusesURLs(t *testing.T) {
	t.Parallel()
	from := httpGetTool(t, HTTPGetConfig{Hosts: []string{"example.com", "*.internal.example"}})
	for address, says := range map[string]string{
		"":                                   "must begin with",
		"example.com":                        "must begin with",
		"ftp://example.com":                  "must begin with",
		"gopher://example.com:70/_":          "must begin with",
		"http://":                            "is not allowed",
		"http://user@example.com":            "no user",
		"http://example.com@evil.com":        "no user",
		"http://www.example.com":             "is not allowed",
		"http://internal.example":            "is not allowed",
		"http://evilinternal.example":        "is not allowed",
		"http://example.com.evil.com":        "is not allowed",
		"http://[::1%25eth0]/":               "is not allowed",
		"http://exa mple.com":                "not a URL",
		"http://example.com:port":            "not a URL",
		"http://example.com/%zz":             "not a URL",
		"https://example.com/" + long(5_000): "not a URL",
	} {
		_, err := get(t, from, address)
		if failed := asError(t, err); failed.Type != Failed || !strings.Contains(failed.Message, says) {
			t.Errorf("%q: %v, want it to say %q", address, err, says)
		}
	}
}

func long(n int) string { return strings.Repeat("x", n) }

func TestHosts(t *testing.T) {
	t.Parallel()
	for pattern, hosts := range map[string]struct{ allowed, refused []string }{
		"example.com":   {[]string{"example.com", "EXAMPLE.com", "example.com."}, []string{"www.example.com", "example.org", "", "."}},
		"*.example.com": {[]string{"www.example.com", "a.b.Example.com."}, []string{"example.com", "badexample.com", "www.example.com.evil"}},
		"Bücher.example": {
			[]string{"bücher.example", "xn--bcher-kva.example", "BÜCHER.example"},
			[]string{"bucher.example"},
		},
		"*": {
			[]string{"example.com", "localhost", "my_host.lan", "7.example", "0x7.example", "a1"},
			[]string{"127.0.0.1", "::1", "2130706433", "0x7f000001", "0x7f.1", "127.1", "0177.0.0.1", "1.2.3.4.5", "127.0.0.1.", "a..b", "example.0x10", "127。0。0。1"},
		},
		"192.0.2.7":   {[]string{"192.0.2.7", "::ffff:192.0.2.7"}, []string{"192.0.2.8", "0300.0.2.7"}},
		"2001:db8::7": {[]string{"2001:db8:0::7"}, []string{"2001:db8::8", "2001:db8::7%eth0"}},
	} {
		list, err := parseHosts([]string{pattern})
		if err != nil {
			t.Errorf("%s: %v", pattern, err)
		}
		for _, host := range hosts.allowed {
			if !list.allow(host) {
				t.Errorf("%s does not allow %q", pattern, host)
			}
		}
		for _, host := range hosts.refused {
			if list.allow(host) {
				t.Errorf("%s allows %q", pattern, host)
			}
		}
	}
	for _, host := range []string{"", "*.", "*.*.com", "**", "a*.com", "http://example.com", "example.com:80", "example.com/a", "*.127.0.0.1", "127.1", "fe80::1%eth0"} {
		if _, err := parseHosts([]string{host}); err == nil {
			t.Errorf("the host %q is accepted", host)
		}
	}
	if _, err := HTTPGet(HTTPGetConfig{}); err == nil {
		t.Error("no host at all is accepted")
	}
}

func FuzzHosts(f *testing.F) {
	for _, host := range []string{"example.com", "127.1", "0x7f.1", "bücher.example", "a.example.com", "[::1]", "%", "xn--a"} {
		f.Add(host)
	}
	list, err := parseHosts([]string{"*.example.com"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if list.allow(host) && !strings.HasSuffix(strings.TrimSuffix(strings.ToLower(host), "."), "example.com") && isASCII(host) {
			t.Errorf("%q is allowed", host)
		}
	})
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c > '~' })
}
