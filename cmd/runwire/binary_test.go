package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// process is runwire as an operating system runs it.
type process struct {
	*exec.Cmd

	out, err *bufio.Reader
}

func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.CommandContext(t.Context(), binary, args...)}
	p.Env = append(append(os.Environ(), asBinary+"=1"), env...)
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := p.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out, p.err = bufio.NewReader(out), bufio.NewReader(said)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.Process.Kill()
		_ = p.Wait()
	})
	return p
}

// serve starts a server on free ports and returns it with its gRPC address.
func serve(t *testing.T, env []string, args ...string) (p *process, address string) {
	t.Helper()
	p = start(t, env, append([]string{"serve", "--listen=127.0.0.1:0", "--http-listen=127.0.0.1:0", "--data-dir=" + t.TempDir()}, args...)...)
	var line struct{ GRPC string }
	if err := json.Unmarshal([]byte(p.mustSay(t, `"serving"`)), &line); err != nil {
		t.Fatal(err)
	}
	return p, line.GRPC
}

// mustSay reads the log up to a line with text.
func (p *process) mustSay(t *testing.T, text string) string {
	t.Helper()
	var read strings.Builder
	for {
		line, err := p.err.ReadString('\n')
		read.WriteString(line)
		if strings.Contains(line, text) {
			return line
		}
		if err != nil {
			t.Fatalf("it never said %s but\n%s", text, &read)
		}
	}
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// end waits for the process's end.
func (p *process) end(t *testing.T) syscall.WaitStatus {
	t.Helper()
	_, _ = io.Copy(io.Discard, p.out)
	_, _ = io.Copy(io.Discard, p.err)
	exited := (*exec.ExitError)(nil)
	if err := p.Wait(); err != nil && !errors.As(err, &exited) {
		t.Fatal(err)
	}
	status, ok := p.ProcessState.Sys().(syscall.WaitStatus)
	if !ok {
		t.Fatalf("it ended with %v", p.ProcessState)
	}
	return status
}

const slowly = `agents: {default: {model: offline, model_options: {tokens: 1000, token_interval: 1h}}}`

func TestServeAndRun(t *testing.T) {
	t.Parallel()
	server, address := serve(t, []string{"RUNWIRE_API_KEY=rw_secret"})
	for _, tc := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"with the key", []string{"--api-key", "rw_secret"}, exitOK, "4"},
		{"with another key", []string{"--api-key", "rw_guess"}, exitFailed, "unauthenticated: "},
		{"without a key", nil, exitFailed, "unauthenticated: "},
		{"over TLS to a server without", []string{"--tls"}, exitFailed, "unavailable: "},
	} {
		code, out, said := runwire(t, "", append([]string{"run", "--server", address, "What is 2+2?"}, tc.args...)...)
		if code != tc.code || !strings.Contains(out+said, tc.want) {
			t.Errorf("%s: exit code %d, out %q, err %q", tc.name, code, out, said)
		}
	}
	server.signal(t, syscall.SIGTERM)
	server.mustSay(t, `"draining"`)
	if status := server.end(t); status.ExitStatus() != exitOK {
		t.Errorf("it ended with %v", server.ProcessState)
	}
	code, _, said := runwire(t, "", "run", "--server", address, "Hello")
	if code != exitFailed || !strings.Contains(said, "unavailable: ") {
		t.Errorf("without a server: exit code %d, err %q", code, said)
	}
}

func TestServeAndRunOverMutualTLS(t *testing.T) {
	t.Parallel()
	cert, key := testCertificate(t)
	_, address := serve(t, nil, "--tls-cert", cert, "--tls-key", key, "--tls-client-ca", cert)
	code, out, said := runwire(t, "", "run", "--server", address,
		"--tls-ca", cert, "--client-cert", cert, "--client-key", key, "What is 2+2?")
	if code != exitOK || !strings.Contains(out, "4") {
		t.Errorf("exit code %d, out %q, err %q", code, out, said)
	}
	if code, _, said = runwire(t, "", "run", "--server", address, "--tls-ca", cert, "Hello"); code != exitFailed {
		t.Errorf("without a certificate: exit code %d, err %q", code, said)
	}
}

func TestASecondSignalEndsTheServerAtOnce(t *testing.T) {
	t.Parallel()
	server, address := serve(t, nil, "--config", configFile(t, slowly), "--drain-timeout=1h")
	client := start(t, nil, "run", "--server", address, "Hello")
	if _, err := client.out.ReadByte(); err != nil { // the model has begun to speak
		t.Fatal(err)
	}
	server.signal(t, syscall.SIGTERM)
	server.mustSay(t, `"draining"`)
	server.signal(t, syscall.SIGTERM)
	if status := server.end(t); status.ExitStatus() != 128+int(syscall.SIGTERM) {
		t.Errorf("it ended with %v", server.ProcessState)
	}
	if status := client.end(t); status.ExitStatus() != exitFailed {
		t.Errorf("its client ended with %v", client.ProcessState)
	}
}

func TestCtrlCCancelsARun(t *testing.T) {
	t.Parallel()
	client := start(t, nil, "run", "--config", configFile(t, slowly), "Hello")
	if _, err := client.out.ReadByte(); err != nil {
		t.Fatal(err)
	}
	client.signal(t, os.Interrupt)
	client.mustSay(t, "cancelled")
	if status := client.end(t); status.ExitStatus() != exitInterrupted {
		t.Errorf("it ended with %v", client.ProcessState)
	}
}

// testCertificate writes a certificate that signs itself, for servers on
// 127.0.0.1 and for clients, and its key.
func testCertificate(t *testing.T) (cert, key string) {
	t.Helper()
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, &secret.PublicKey, secret)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name string, block *pem.Block) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("cert", &pem.Block{Type: "CERTIFICATE", Bytes: signed}), write("key", &pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
}
