package mcp

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runwire/runwire/agent/tool"
)

// node is the command of a server out of the npm registry, in its own program.
func node(t *testing.T, server string, arguments ...string) []string {
	t.Helper()
	program, err := exec.LookPath("node")
	if err != nil {
		t.Skip("there is no node")
	}
	path, err := filepath.Abs(filepath.Join("..", "..", "..", ".cache", "mcp", "node_modules", "@modelcontextprotocol", server, "dist", "index.js"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Skip("there is no " + server + ": `make mcp-servers` installs it")
	}
	return append([]string{program, path}, arguments...)
}

func TestTheFilesystemServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "note.txt"), []byte("the tea is ready"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, log := start(t, Config{
		Name:    "files",
		Command: node(t, "server-filesystem", dir),
		Rules: []Rule{
			{Pattern: "write_*", Effect: tool.Once, RequiresApproval: true},
			{Pattern: "read_*", Effect: tool.Pure},
		},
	})
	t.Log(log)
	read, write := named(t, s, "files.read_text_file").Definition(), named(t, s, "files.write_file").Definition()
	if read.Effect != tool.Pure || read.RequiresApproval || write.Effect != tool.Once || !write.RequiresApproval {
		t.Errorf("reading is %s, writing is %s and wants approval: %t", read.Effect, write.Effect, write.RequiresApproval)
	}
	if got := mustCall(t, s, "files.read_text_file", fmt.Sprintf(`{"path": %q}`, filepath.Join(dir, "note.txt"))); got != "the tea is ready" {
		t.Errorf("the file says %q", got)
	}
	mustCall(t, s, "files.write_file", fmt.Sprintf(`{"path": %q, "content": "no milk"}`, filepath.Join(dir, "more.txt")))
	if data, err := os.ReadFile(filepath.Join(dir, "more.txt")); err != nil || string(data) != "no milk" {
		t.Errorf("written is %q, %v", data, err)
	}
	_, err := named(t, s, "files.read_text_file").Call(t.Context(), `{"path": "/etc/passwd"}`)
	if failed := failure(t, err); failed.Type != tool.Failed || !strings.Contains(failed.Message, "denied") {
		t.Errorf("a file of others: %v", failed)
	}
}

// What the memory server keeps outlives it, as does our side of it.
func TestTheMemoryServer(t *testing.T) {
	t.Parallel()
	s, log := start(t, Config{
		Name:    "memory",
		Command: node(t, "server-memory"),
		Env:     map[string]string{"MEMORY_FILE_PATH": filepath.Join(t.TempDir(), "memory.jsonl")},
	})
	t.Log(log)
	mustCall(t, s, "memory.create_entities", `{"entities": [{"name": "Ada", "entityType": "person", "observations": ["likes tea"]}]}`)
	s.line.mu.Lock()
	running := s.line.session
	s.line.mu.Unlock()
	running.wire.kill()
	log.await(t, 0, "mcp server lost")
	if got := mustCall(t, s, "memory.search_nodes", `{"query": "tea"}`); !strings.Contains(got, "Ada") {
		t.Errorf("it remembers %q", got)
	}
}

func TestTheEverythingServer(t *testing.T) {
	t.Parallel()
	t.Run("as a program", func(t *testing.T) {
		t.Parallel()
		s, log := start(t, Config{Name: "all", Command: node(t, "server-everything", "stdio")})
		t.Log(log)
		testEverything(t, s)
	})
	t.Run("over HTTP", func(t *testing.T) {
		t.Parallel()
		s, log := start(t, Config{Name: "all", URL: everythingOverHTTP(t)})
		t.Log(log)
		testEverything(t, s)
	})
}

func testEverything(t *testing.T, s *Server) {
	t.Helper()
	if got := mustCall(t, s, "all.echo", `{"message": "hello"}`); got != "Echo: hello" {
		t.Errorf("echo: %q", got)
	}
	if got := mustCall(t, s, "all.get-sum", `{"a": 2, "b": 3}`); !strings.Contains(got, "5") {
		t.Errorf("2 + 3: %q", got)
	}
	if got := mustCall(t, s, "all.get-tiny-image", `{}`); !strings.Contains(got, "[an image, image/png, ") {
		t.Errorf("an image: %q", got)
	}
	if got := mustCall(t, s, "all.get-structured-content", `{"location": "New York"}`); !strings.Contains(got, "temperature") {
		t.Errorf("structured content: %q", got)
	}
	long := named(t, s, "all.trigger-long-running-operation")
	if got, err := long.Call(t.Context(), `{"duration": 0.1, "steps": 2}`); err != nil || !strings.Contains(got, "completed") {
		t.Errorf("a long call: %q, %v", got, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := long.Call(ctx, `{"duration": 60, "steps": 60}`); failure(t, err).Type != tool.Cancelled {
		t.Errorf("a call of a run that ends: %v", err)
	}
	if got := mustCall(t, s, "all.echo", `{"message": "again"}`); got != "Echo: again" {
		t.Errorf("echo after all: %q", got)
	}
	if offered := names(s.Tools()); slices.Contains(offered, "all.trigger-sampling-request") {
		t.Errorf("it believes that there is a model to ask: %q", offered)
	}
}

// everythingOverHTTP starts the server at a port that was free a moment ago,
// and returns where.
func everythingOverHTTP(t *testing.T) string {
	t.Helper()
	command := node(t, "server-everything", "streamableHttp")
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free.Addr().String())
	free.Close()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "PORT="+port)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		if strings.Contains(lines.Text(), "listening on port") {
			return "http://127.0.0.1:" + port + "/mcp"
		}
	}
	t.Fatal("the server does not listen")
	return ""
}
