package server

import (
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

func TestServesTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	dir := t.TempDir()
	ca.issue(t, dir, "server")
	f := serve(t, func(c *Config) {
		c.TLSCert, c.TLSKey = filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")
	})

	if err := list(t, f, &tls.Config{RootCAs: ca.pool(), MinVersion: tls.VersionTLS12}); err != nil {
		t.Errorf("a client that trusts the server: %v", err)
	}
	if err := list(t, f, &tls.Config{RootCAs: newAuthority(t).pool(), MinVersion: tls.VersionTLS12}); status.Code(err) != codes.Unavailable {
		t.Errorf("a client that does not: %v", err)
	}
	for name, config := range map[string]*tls.Config{
		"TLS 1.1":          {RootCAs: ca.pool(), MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10, NextProtos: []string{"h2"}},
		"another protocol": {RootCAs: ca.pool(), MinVersion: tls.VersionTLS12, NextProtos: []string{"imap"}},
	} {
		conn, err := (&tls.Dialer{Config: config}).DialContext(t.Context(), "tcp", f.Addr().String())
		if err == nil {
			t.Errorf("%s is served: %v", name, conn.Close())
		}
	}
	if _, err := agentv1.NewAgentServiceClient(f.dial(t)).ListAgents(t.Context(), &agentv1.ListAgentsRequest{}); err == nil {
		t.Error("a client without TLS is served")
	}
}

func TestServesMutualTLS(t *testing.T) {
	t.Parallel()
	ca, clients := newAuthority(t), newAuthority(t)
	dir := t.TempDir()
	ca.issue(t, dir, "server")
	clients.issue(t, dir, "client")
	newAuthority(t).issue(t, dir, "stranger")
	write(t, filepath.Join(dir, "clients.crt"), clients.pem)
	f := serve(t, func(c *Config) {
		c.TLSCert, c.TLSKey = filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")
		c.TLSClientCA = filepath.Join(dir, "clients.crt")
	})
	for _, tc := range []struct {
		cert   string
		served bool
	}{{"client", true}, {"stranger", false}, {"", false}} {
		config := &tls.Config{RootCAs: ca.pool(), MinVersion: tls.VersionTLS12}
		if tc.cert != "" {
			config.Certificates = []tls.Certificate{keyPair(t, dir, tc.cert)}
		}
		if err := list(t, f, config); (err == nil) != tc.served {
			t.Errorf("with the certificate %q: %v", tc.cert, err)
		}
	}
}

func TestTLSFilesThatDoNotFitAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	newAuthority(t).issue(t, dir, "one")
	newAuthority(t).issue(t, dir, "two")
	write(t, filepath.Join(dir, "empty"), nil)
	for _, tc := range []struct{ cert, key, ca, want string }{
		{"absent", "one.key", "", "absent"},
		{"one.crt", "absent", "", "absent"},
		{"one.crt", "two.key", "", "private key does not match"},
		{"empty", "one.key", "", "failed to find"},
		{"one.crt", "one.key", "absent", "absent"},
		{"one.crt", "one.key", "empty", "no certificate in it"},
	} {
		cfg := testConfig(t)
		cfg.Listen = "127.0.0.1:0"
		cfg.TLSCert, cfg.TLSKey = filepath.Join(dir, tc.cert), filepath.Join(dir, tc.key)
		if tc.ca != "" {
			cfg.TLSClientCA = filepath.Join(dir, tc.ca)
		}
		if _, err := New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v: got %v", tc, err)
		}
	}
}

func TestCertificatesAreFollowed(t *testing.T) {
	t.Parallel()
	for name, replace := range map[string]func(t *testing.T, dir string, ca *authority){
		"written over": func(t *testing.T, dir string, ca *authority) {
			t.Helper()
			ca.issue(t, dir, "server")
		},
		"renamed over": func(t *testing.T, dir string, ca *authority) {
			t.Helper()
			ca.issue(t, dir, "new")
			for _, end := range []string{".crt", ".key"} {
				rename(t, filepath.Join(dir, "new"+end), filepath.Join(dir, "server"+end))
			}
		},
		"a symbolic link switched over": func(t *testing.T, dir string, ca *authority) {
			t.Helper()
			other := t.TempDir()
			ca.issue(t, other, "server")
			symlink(t, other, dir+".new")
			rename(t, dir+".new", dir)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before, after := newAuthority(t), newAuthority(t)
			first := t.TempDir()
			before.issue(t, first, "server")
			dir := filepath.Join(t.TempDir(), "tls") // as Kubernetes mounts a secret
			symlink(t, first, dir)
			synctest.Test(t, func(t *testing.T) {
				book := &logBook{}
				c, err := openCerts(filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key"), "", slog.New(slog.NewTextHandler(book, nil)))
				if err != nil {
					t.Fatal(err)
				}
				mustShow(t, c, before)
				replace(t, dir, after)
				<-time.After(certCheckInterval)
				mustShow(t, c, after)
				if n := book.count("certificate replaced"); n != 1 {
					t.Errorf("the log says %d times that it was replaced", n)
				}
			})
		})
	}
}

func TestABadCertificateLeavesTheOldOne(t *testing.T) {
	t.Parallel()
	before, after := newAuthority(t), newAuthority(t)
	dir := t.TempDir()
	before.issue(t, dir, "server")
	after.issue(t, dir, "new")
	cert, key := filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")
	synctest.Test(t, func(t *testing.T) {
		book := &logBook{}
		c, err := openCerts(cert, key, "", slog.New(slog.NewTextHandler(book, nil)))
		if err != nil {
			t.Fatal(err)
		}
		mustStay := func(complaints int) {
			t.Helper()
			for range 3 {
				<-time.After(certCheckInterval)
				mustShow(t, c, before)
			}
			if n := book.count("the old one stays"); n != complaints {
				t.Errorf("the log has complained %d times, want %d:\n%s", n, complaints, book.text.String())
			}
		}
		mustStay(0)
		rename(t, filepath.Join(dir, "new.crt"), cert) // the key does not fit yet
		mustStay(1)
		if err := os.Remove(cert); err != nil {
			t.Fatal(err)
		}
		mustStay(2)
		write(t, cert, []byte("garbage"))
		mustStay(3)
		after.issue(t, dir, "server")
		<-time.After(certCheckInterval)
		mustShow(t, c, after)
	})
}

func TestAClientAuthorityIsFollowed(t *testing.T) {
	t.Parallel()
	ca, before, after := newAuthority(t), newAuthority(t), newAuthority(t)
	dir := t.TempDir()
	ca.issue(t, dir, "server")
	before.issue(t, dir, "before")
	after.issue(t, dir, "after")
	file := filepath.Join(dir, "clients.crt")
	write(t, file, before.pem)
	synctest.Test(t, func(t *testing.T) {
		c, err := openCerts(filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key"), file, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		admits := func(name string) bool {
			config := &tls.Config{RootCAs: ca.pool(), ServerName: "localhost", MinVersion: tls.VersionTLS12}
			config.Certificates = []tls.Certificate{keyPair(t, dir, name)}
			_, err := shake(c, config)
			return err == nil
		}
		if !admits("before") || admits("after") {
			t.Error("the first authority is not the one that counts")
		}
		write(t, file, after.pem)
		<-time.After(certCheckInterval)
		if admits("before") || !admits("after") {
			t.Error("the second authority is not the one that counts")
		}
	})
}

// list makes a call over TLS.
func list(t *testing.T, f *fixture, config *tls.Config) error {
	t.Helper()
	conn := f.dial(t, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	_, err := agentv1.NewAgentServiceClient(conn).ListAgents(t.Context(), &agentv1.ListAgentsRequest{})
	return err
}

// mustShow fails the test unless a handshake shows a certificate of ca.
func mustShow(t *testing.T, c *certs, ca *authority) {
	t.Helper()
	state, err := shake(c, &tls.Config{RootCAs: ca.pool(), ServerName: "localhost", MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}})
	if err != nil {
		t.Errorf("handshake: %v", err)
		return
	}
	if state.Version < tls.VersionTLS12 {
		t.Errorf("TLS version %x", state.Version)
	}
}

// shake makes a handshake in memory; its error is either side's.
func shake(c *certs, config *tls.Config) (tls.ConnectionState, error) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	client, server := tls.Client(near, config), tls.Server(far, c.serverConfig())
	served := make(chan error, 1)
	go func() {
		err := server.Handshake()
		_ = far.Close()
		served <- err
	}()
	err := client.Handshake()
	_ = near.Close()
	if err != nil {
		<-served
		return tls.ConnectionState{}, err
	}
	return client.ConnectionState(), <-served
}
