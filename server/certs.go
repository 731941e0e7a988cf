package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certCheckInterval is how soon a handshake notices that a file was replaced.
const certCheckInterval = time.Second

// certs serves TLS from files and follows them: when one is replaced, by a
// write, a rename or a switched symbolic link, handshakes from then on use the
// new ones. Files that do not fit together leave the old ones in use.
type certs struct {
	cert, key, clientCA string
	log                 *slog.Logger

	mu      sync.Mutex
	checked time.Time
	config  *tls.Config
	loaded  []fs.FileInfo // what config was made of
	refused []fs.FileInfo // what could not be loaded and was logged
}

var errNoCertificate = errors.New("no certificate in it")

// openCerts loads the files once. clientCA may be empty; else clients must
// show a certificate that it has signed.
func openCerts(cert, key, clientCA string, log *slog.Logger) (*certs, error) {
	c := &certs{cert: cert, key: key, clientCA: clientCA, log: log, checked: time.Now()}
	var err error
	if c.loaded, err = c.stat(); err != nil {
		return nil, err
	}
	if c.config, err = c.load(); err != nil {
		return nil, err
	}
	return c, nil
}

// serverConfig asks c anew at each handshake.
func (c *certs) serverConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return c.current(hello.Context()), nil
		},
	}
}

// current is the newest configuration whose files could be loaded.
func (c *certs) current(ctx context.Context) *tls.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if now.Sub(c.checked) < certCheckInterval {
		return c.config
	}
	c.checked = now
	found, err := c.stat()
	if err == nil && sameFiles(found, c.loaded) {
		return c.config
	}
	var config *tls.Config
	if err == nil {
		config, err = c.load()
	}
	if err != nil {
		c.refuse(ctx, found, err)
		return c.config
	}
	c.config, c.loaded, c.refused = config, found, nil
	c.log.InfoContext(ctx, "certificate replaced", slog.String("file", c.cert))
	return c.config
}

// refuse logs why the files as found are not used, once for each state of them.
func (c *certs) refuse(ctx context.Context, found []fs.FileInfo, err error) {
	if c.refused != nil && sameFiles(found, c.refused) {
		return
	}
	c.refused = append([]fs.FileInfo{}, found...)
	c.log.ErrorContext(ctx, "certificate not replaced, the old one stays", slog.Any("error", err))
}

// stat looks at the files; those before one that cannot be seen are returned with the error.
func (c *certs) stat() ([]fs.FileInfo, error) {
	var infos []fs.FileInfo
	for _, path := range []string{c.cert, c.key, c.clientCA} {
		if path == "" {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return infos, fmt.Errorf("look at the TLS files: %w", err)
		}
		infos = append(infos, info)
	}
	return infos, nil
}

func sameFiles(a, b []fs.FileInfo) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !os.SameFile(a[i], b[i]) || a[i].Size() != b[i].Size() || !a[i].ModTime().Equal(b[i].ModTime()) {
			return false
		}
	}
	return true
}

func (c *certs) load() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return nil, fmt.Errorf("load the TLS certificate and its key: %w", err)
	}
	config := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{pair},
		// A resumed session would outlive the certificates it was made with.
		SessionTicketsDisabled: true,
	}
	if c.clientCA == "" {
		return config, nil
	}
	pem, err := os.ReadFile(c.clientCA)
	if err != nil {
		return nil, fmt.Errorf("load the clients' certificate authority: %w", err)
	}
	config.ClientCAs = x509.NewCertPool()
	if !config.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("load the clients' certificate authority: %w",
			&fs.PathError{Op: "parse", Path: c.clientCA, Err: errNoCertificate})
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	return config, nil
}
