package clients_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The README's addresses, for which the tests put their server's, and a free
// one for the server that the README starts itself.
const (
	readmeAddress = "127.0.0.1:50051"
	readmeOther   = "127.0.0.1:50061"
)

// command is one line after a prompt and the output that is shown with it.
type command struct {
	line   string
	output string
}

// TestReadmeSession runs the README's commands one after another and compares
// what they print with what the README shows.
func TestReadmeSession(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	other := freeAddress(t)
	here := strings.NewReplacer(readmeAddress, s.grpc, readmeOther, other, "bin/runwire", "runwire")
	dir := t.TempDir()
	ran := 0
	for _, c := range session(read(t, "README.md")) {
		ran++
		cmd := exec.Command("sh", "-c", here.Replace(c.line))
		cmd.Env = []string{"PATH=" + binaries(t) + string(filepath.ListSeparator) + os.Getenv("PATH"), raceOptions}
		cmd.Dir = dir
		// A server that it starts is ended with the test.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		out, err := cmd.CombinedOutput()
		t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
		if strings.Contains(c.line, "bin/runwire serve") {
			awaitListening(t, other)
		}
		if shown := strings.HasPrefix(c.output, "ERROR"); shown != (err != nil) {
			t.Errorf("$ %s\nended with %v", c.line, err)
		}
		if !shows(c.output, string(out)) {
			t.Errorf("$ %s\nprinted\n%s\nthe README shows\n%s", c.line, out, c.output)
		}
	}
	if ran < 16 {
		t.Errorf("the README has %d commands, want at least 16", ran)
	}
}

// freeAddress is one that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	return listener.Addr().String()
}

// awaitListening returns once somebody listens there.
func awaitListening(t *testing.T, address string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("nobody listens on %s", address)
		case <-tick.C:
		}
	}
}

// TestReadmeFlags finds each flag and variable of `runwire serve` in the
// README, and no other there.
func TestReadmeFlags(t *testing.T) {
	t.Parallel()
	help, err := exec.Command(filepath.Join(binaries(t), "runwire"), "serve", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`--[a-z][a-z-]+|RUNWIRE_[A-Z_]+`)
	has := name.FindAllString(string(help), -1)
	has = append(has, "RUNWIRE_API_KEY")
	_, section, _ := strings.Cut(read(t, "README.md"), "\n## Serve others\n")
	section, _, _ = strings.Cut(section, "\n## ")
	shown := name.FindAllString(section, -1)
	for _, flag := range has {
		if flag != "--help" && !slices.Contains(shown, flag) {
			t.Errorf("the README does not show %s", flag)
		}
	}
	for _, flag := range shown {
		if !slices.Contains(has, flag) {
			t.Errorf("there is no %s, which the README shows", flag)
		}
	}
}

// TestClientsInDocs finds each piece of code that docs/clients.md shows in the
// client that the tests run.
func TestClientsInDocs(t *testing.T) {
	t.Parallel()
	doc := read(t, "docs/clients.md")
	for language, file := range map[string]string{
		"go": "clients/go/main.go", "js": "clients/node/client.js", "python": "clients/python/client.py",
	} {
		source := read(t, file)
		pieces := regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(doc, -1)
		if len(pieces) == 0 {
			t.Errorf("docs/clients.md shows nothing of %s", file)
		}
		for _, piece := range pieces {
			if !strings.Contains(source, piece[1]) {
				t.Errorf("%s does not have\n%s", file, piece[1])
			}
		}
	}
}

// TestDependenciesAreExplained finds each module that go.mod names, but for
// those that others bring along, in docs/dependencies.md.
func TestDependenciesAreExplained(t *testing.T) {
	t.Parallel()
	doc := read(t, "docs/dependencies.md")
	modules := regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(read(t, "go.mod"), -1)
	if len(modules) == 0 {
		t.Fatal("go.mod names no module")
	}
	for _, module := range modules {
		// Parts of one project may be named by their last element.
		if !strings.Contains(doc, module[1]) && !strings.Contains(doc, "`"+path.Base(module[1])+"`") &&
			!strings.Contains(doc, strings.TrimPrefix(module[1], "go.opentelemetry.io/otel")+"`") {
			t.Errorf("docs/dependencies.md does not say what %s is for", module[1])
		}
	}
}

// session is every command of the console blocks, in order.
func session(markdown string) []command {
	var commands []command
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(markdown, -1) {
		for _, part := range strings.Split("\n"+block[1], "\n$ ")[1:] {
			// A command goes on after a line that ends in a backslash.
			end := regexp.MustCompile(`[^\\](\n|$)`).FindStringIndex(part)[1]
			commands = append(commands, command{line: strings.TrimSpace(part[:end]), output: part[end:]})
		}
	}
	return commands
}

// volatile are the values that differ from run to run.
var volatile = regexp.MustCompile(`("(?:runId|sessionId|createTime|latency)": )"[^"]*"|[0-9.]+ m?s|(?:task|mem)_[0-9a-f-]{36}|\b[0-9]+s +|after event [0-9]+`)

// shows says whether printed is what is shown, where a line of `…` stands for
// any lines and a volatile value for any other.
func shows(shown, printed string) bool {
	pattern := regexp.QuoteMeta(volatile.ReplaceAllString(strings.TrimSpace(shown), "$1*"))
	pattern = strings.ReplaceAll(pattern+"\n", "\n…\n", `\n(.*\n)*?`)
	printed = volatile.ReplaceAllString(strings.TrimSpace(printed), "$1*")
	return regexp.MustCompile(`^` + pattern + `$`).MatchString(printed + "\n")
}

func TestShows(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		shown, printed string
		want           bool
	}{
		{"a\nb\n", "a\nb\n", true},
		{"a\nb\n", "a\nc\n", false},
		{"a\n…\nd\n", "a\nb\nc\nd\n", true},
		{"a\n…\nd\n", "a\nb\nc\n", false},
		{"a\n…\n", "a\nb\nc\n", true},
		{`"runId": "1", "x": "1"`, `"runId": "2", "x": "1"`, true},
		{`"runId": "1", "x": "1"`, `"runId": "2", "x": "2"`, false},
		{"", "a", false},
	} {
		if got := shows(c.shown, c.printed); got != c.want {
			t.Errorf("shows(%q, %q) = %t", c.shown, c.printed, got)
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
