package webhooks

import (
	"errors"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"https://example.com/hook?a=b", "http://example.com:8080", "https://EXAMPLE.com.", "https://8.8.8.8/",
		"https://[2606:4700::1111]:443/x", "https://my_host.example.com/", "https://bücher.example/", "https://1and1.com/",
		"https://localhost.example.com/", "https://internal.example.com",
	} {
		if err := Check(url, false); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	for _, url := range []string{
		"http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0x7F.1/", "http://0177.0.0.1/",
		"http://017700000001/", "http://127.0.0.1./", "http://[::1]/",
		"http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[fd00::1]/",
		"http://10.1.2.3/", "http://172.16.0.1/", "http://192.168.0.1:9000/", "http://100.64.1.1/", "http://１２７.0.0.1/", "http://127。0。0。1/",
		"http://①②⑦.0.0.1/", "http://localhost/", "http://LOCALHOST:80/", "http://localhost./", "http://api.localhost/",
		"http://api.internal/", "http://printer.local/", "http://postgres:5432/", "http://router.lan/", "http://nas.home.arpa/",
		"http://ｌｏｃａｌｈｏｓｔ/",
	} {
		if err := Check(url, false); err == nil || err.Error() != errNotPublic.Error() {
			t.Errorf("%s: got %v, want %v", url, err, errNotPublic)
		}
		if err := Check(url, true); err != nil {
			t.Errorf("%s, allowed: %v", url, err)
		}
	}
	for _, url := range []string{ // link-local, metadata and other special ones: no network of one's own
		"http://169.254.169.254/latest/meta-data", "http://2852039166/", "http://0xA9FEA9FE/", "http://[64:ff9b::a9fe:a9fe]/",
		"http://[fe80::1]/", "http://[fe80::1%25eth0]/", "http://[fd00:ec2::254]/", "http://100.100.100.200/",
		"http://metadata.google.internal/", "http://METADATA.google.internal./", "http://0/", "http://0.0.0.0/", "http://[::]/",
	} {
		if err := Check(url, false); !errors.Is(err, errNotPublic) {
			t.Errorf("%s: got %v, want %v", url, err, errNotPublic)
		}
		if err := Check(url, true); !errors.Is(err, errNotOurs) {
			t.Errorf("%s, private allowed: got %v, want %v", url, err, errNotOurs)
		}
	}
	for url, says := range map[string]string{
		"ftp://example.com/":             "must begin with http",
		"example.com/hook":               "must begin with http",
		"https:example.com":              "must name a host",
		"https:///hook":                  "must name a host",
		"https://user:pw@example.com":    "no password",
		"https://token@example.com":      "no password",
		"https://example.com:0/":         "port from 1",
		"https://example.com:99999/":     "port from 1",
		"https://exa mple.com/":          "not a URL",
		"http://256.256.256.256/":        "must name a host",
		"http://1.2.3.4.5/":              "must name a host",
		"http://99999999999999999999999": "must name a host",
		"http://example.0x/":             "must name a host",
		"http://09.0.0.1/":               "must name a host",
	} {
		err := Check(url, false)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v, want … %s", url, err, says)
		}
	}
}

// No URL makes it panic, and no error shows what may be a secret.
func FuzzCheck(f *testing.F) {
	for _, url := range []string{"https://a:b@c.example/", "http://0x7f.1", "http://[::1%25z]/", "http://xn--/", "//", "http://…"} {
		f.Add(url)
	}
	f.Fuzz(func(t *testing.T, url string) {
		err := Check(url, false)
		if len(url) > 30 && err != nil && strings.Contains(err.Error(), url) {
			t.Errorf("%q is shown: %v", url, err)
		}
		if err == nil && Check(url, true) != nil {
			t.Errorf("%q is right only when less is allowed", url)
		}
	})
}
