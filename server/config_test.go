package server

import (
	"strings"
	"testing"

	"github.com/runwire/runwire/config"
)

func TestWithoutKeysOnlyLoopbackIsServed(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, listen string
		change       func(*Config)
		refused      bool
	}{
		{name: "IPv4 loopback", listen: "127.0.0.1:0"},
		{name: "another loopback address", listen: "127.9.9.9:0"},
		{name: "IPv6 loopback", listen: "[::1]:0"},
		{name: "IPv4 loopback written as IPv6", listen: "[::ffff:127.0.0.1]:0"},
		{name: "a name that means loopback", listen: "localhost:0"},
		{name: "every IPv4 address", listen: "0.0.0.0:0", refused: true},
		{name: "every address", listen: ":0", refused: true},
		{name: "every IPv6 address", listen: "[::]:0", refused: true},
		{name: "every IPv4 address written as IPv6", listen: "[::ffff:0.0.0.0]:0", refused: true},
		{name: "a public address", listen: "192.0.2.1:50051", refused: true},
		{name: "a private address", listen: "10.0.0.1:50051", refused: true},
		{name: "every address, with a key in the file", listen: ":0", change: func(c *Config) { c.File.Keys = make([]config.Key, 1) }},
		{name: "every address, with a key", listen: ":0", change: func(c *Config) { c.APIKey = "rw_secret" }},
		{name: "every address, as told", listen: ":0", change: func(c *Config) { c.InsecureNoAuth = true }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cfg := DefaultConfig()
			cfg.Listen, cfg.File = tc.listen, file()
			if tc.change != nil {
				tc.change(&cfg)
			}
			_, err := cfg.resolve()
			switch {
			case !tc.refused && err != nil:
				t.Errorf("refused: %v", err)
			case tc.refused && err == nil:
				t.Error("not refused")
			case tc.refused && (!strings.Contains(err.Error(), "--insecure-no-auth") || !strings.Contains(err.Error(), "keys new")):
				t.Errorf("the refusal does not say what to do: %v", err)
			}
		})
	}
	cfg := DefaultConfig()
	cfg.Listen = "0.0.0.0:0"
	if _, err := New(t.Context(), cfg); err == nil {
		t.Error("New does not refuse")
	}
}

func TestEveryMistakeInAConfigIsReported(t *testing.T) {
	t.Parallel()
	_, err := New(t.Context(), Config{
		Role: "all", Workers: 1, Retention: 1, DataDir: "data", RateLimit: -1, DrainTimeout: -1, TLSKey: "key.pem", TLSClientCA: "ca.pem",
	})
	want := `rate limit: must not be negative; 0 is unlimited
drain timeout: must not be negative
stall timeout: must be positive
tls: a certificate and its key are needed, or neither
tls: a client CA needs a certificate and its key`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if _, err = New(t.Context(), Config{Role: "api", Retention: 1, DatabaseURL: "postgres://x", RateLimit: 1, StallTimeout: 1}); err == nil || err.Error() != "rate window: must be positive" {
		t.Errorf("got %v", err)
	}
}

func TestAnAddressThatIsNoneIsAnError(t *testing.T) {
	t.Parallel()
	for _, listen := range []string{"", "50051", "127.0.0.1", "127.0.0.1:99999", "127.0.0.1:http-no-such"} {
		cfg := DefaultConfig()
		cfg.Listen = listen
		if _, err := New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "listen on") {
			t.Errorf("%q: %v", listen, err)
		}
	}
}
