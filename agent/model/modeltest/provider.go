// Package modeltest has a provider of models that others wrote, for tests.
package modeltest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"sync"
	"testing"
)

// Key is the one that a Provider asks for.
const Key = "sk-test-of-the-provider"

// Provider starts a program out of the npm registry that speaks as OpenAI and
// Anthropic do, and returns its address, to which OpenAI's adds a "/v1". It
// answers with the fixtures, which are JSON in that program's own terms, and it
// ends with the test. Where it is not installed, the test is skipped.
func Provider(t *testing.T, fixtures string) string {
	t.Helper()
	program, err := exec.LookPath("node")
	if err != nil {
		t.Skip("there is no node")
	}
	_, here, _, _ := runtime.Caller(0) //nolint:dogsled // the file is all that is asked
	script := filepath.Join(filepath.Dir(here), "..", "..", "..", ".cache", "providers", "node_modules", "@copilotkit", "aimock", "dist", "cli.js")
	if _, err := os.Stat(script); err != nil {
		t.Skip("there is no provider: `make model-providers` installs it")
	}
	file := filepath.Join(t.TempDir(), "fixtures.json")
	if err := os.WriteFile(file, []byte(fixtures), 0o600); err != nil {
		t.Fatal(err)
	}
	out := &output{announced: make(chan string, 1)}
	cmd := exec.CommandContext(t.Context(), program, script, "--port", "0", "--strict", "--validate-on-load", "--fixtures", file) //nolint:gosec // a test's own
	cmd.Env = append(os.Environ(), "AIMOCK_API_KEYS="+Key)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	select {
	case address := <-out.announced:
		return address
	case <-ended:
		t.Fatalf("the provider ended:\n%s", out.text.String())
	}
	return ""
}

var listening = regexp.MustCompile(`listening on (http://\S+)\n`)

// output is what a program says until it says where it listens.
type output struct {
	mu        sync.Mutex
	text      bytes.Buffer
	heard     bool
	announced chan string
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.heard {
		return len(p), nil
	}
	o.text.Write(p)
	if found := listening.FindSubmatch(o.text.Bytes()); found != nil {
		o.heard = true
		o.announced <- string(found[1])
	}
	return len(p), nil
}
