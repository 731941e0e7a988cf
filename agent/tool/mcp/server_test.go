package mcp

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runwire/runwire/agent/tool"
)

// patience bounds what a test waits for.
const patience = 2 * time.Minute

// journal is a log whose lines can be waited for.
type journal struct {
	slog.Handler

	mu    *sync.Mutex
	lines *[]string
	more  chan struct{}
}

func newJournal() *journal {
	j := &journal{mu: &sync.Mutex{}, lines: new([]string), more: make(chan struct{}, 1)}
	return j
}

func (j *journal) Enabled(context.Context, slog.Level) bool { return true }
func (j *journal) WithAttrs([]slog.Attr) slog.Handler       { return j }
func (j *journal) WithGroup(string) slog.Handler            { return j }

func (j *journal) Handle(_ context.Context, record slog.Record) error {
	line := record.Message
	record.Attrs(func(attr slog.Attr) bool {
		line += " " + attr.String()
		return true
	})
	j.mu.Lock()
	*j.lines = append(*j.lines, line)
	j.mu.Unlock()
	signal(j.more)
	return nil
}

// await returns once a line has each of the texts, from the given one on, and
// says which line comes after it.
func (j *journal) await(t *testing.T, from int, texts ...string) int {
	t.Helper()
	limit := time.After(patience)
	for {
		j.mu.Lock()
		lines := slices.Clone(*j.lines)
		j.mu.Unlock()
		for i := from; i < len(lines); i++ {
			if !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(lines[i], text) }) {
				return i + 1
			}
		}
		select {
		case <-j.more:
		case <-limit:
			t.Fatalf("the log never says %q:\n%s", texts, strings.Join(lines, "\n"))
		}
	}
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(*j.lines, "\n")
}

// start runs a server until the test's end.
func start(t *testing.T, cfg Config) (*Server, *journal) {
	t.Helper()
	log := newJournal()
	if cfg.Name == "" {
		cfg.Name = "fake"
	}
	cfg.Log = slog.New(log)
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run ends with %v", err)
			}
		case <-time.After(patience):
			t.Errorf("Run goes on:\n%s", log)
		}
		if len(s.Tools()) > 0 {
			t.Error("there are tools after the end")
		}
	})
	select {
	case <-s.Settled():
	case <-time.After(patience):
		t.Fatalf("the first attempt goes on:\n%s", log)
	}
	return s, log
}

// startFake runs a fake server of that role.
func startFake(t *testing.T, role string, cfg Config) (*Server, *journal) {
	t.Helper()
	cfg.Command = []string{os.Args[0]}
	cfg.Env = map[string]string{"FAKE_MCP_SERVER": role}
	return start(t, cfg)
}

func names(tools []*tool.Tool) []string {
	var names []string
	for _, t := range tools {
		names = append(names, t.Definition().Name)
	}
	return names
}

func named(t *testing.T, s tool.Source, name string) *tool.Tool {
	t.Helper()
	for _, made := range s.Tools() {
		if made.Definition().Name == name {
			return made
		}
	}
	t.Fatalf("there is no tool %q, only %q", name, names(s.Tools()))
	return nil
}

func mustCall(t *testing.T, s tool.Source, name, arguments string) string {
	t.Helper()
	output, err := named(t, s, name).Call(t.Context(), arguments)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return output
}

func failure(t *testing.T, err error) *tool.Error {
	t.Helper()
	failed, ok := errors.AsType[*tool.Error](err)
	if !ok {
		t.Fatalf("got %v, want a *tool.Error", err)
	}
	return failed
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	command := []string{"true"}
	for name, cfg := range map[string]Config{
		"no name":              {Command: command},
		"a name with a dot":    {Name: "a.b", Command: command},
		"a long name":          {Name: strings.Repeat("a", 33), Command: command},
		"nowhere to be":        {Name: "a"},
		"two places":           {Name: "a", Command: command, URL: "http://127.0.0.1"},
		"a negative timeout":   {Name: "a", Command: command, Timeout: -1},
		"a pattern of no kind": {Name: "a", Command: command, Rules: []Rule{{Pattern: "[", Effect: tool.Pure}}},
		"a negative bound":     {Name: "a", Command: command, Rules: []Rule{{Pattern: "*", Timeout: -1}}},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: it is accepted", name)
		}
	}
}

func TestToolsOfAServer(t *testing.T) {
	t.Parallel()
	s, _ := startFake(t, "tools", Config{})
	want := []string{
		"fake.die", "fake.echo", "fake.environment", "fake.fail", "fake.garbage", "fake.grow", "fake.hang",
		"fake.key", "fake.large", "fake.pid", "fake.wait",
	}
	if got := names(s.Tools()); !slices.Equal(got, want) {
		t.Errorf("there are %q, want %q", got, want)
	}
	if got := mustCall(t, s, "fake.echo", `{"text": "Grüße, 世界"}`); got != "Grüße, 世界" {
		t.Errorf("it says %q", got)
	}
	if got := named(t, s, "fake.echo").Definition().Description; got != "does echo" {
		t.Errorf("it is described as %q", got)
	}
	_, err := named(t, s, "fake.echo").Call(t.Context(), `{"text": 5}`)
	if failure(t, err).Type != tool.InvalidArguments {
		t.Errorf("arguments of the wrong type: %v", err)
	}
	_, err = named(t, s, "fake.fail").Call(t.Context(), `{"text": "the disk is full"}`)
	if failed := failure(t, err); failed.Type != tool.Failed || failed.Message != "the disk is full" {
		t.Errorf("a failure: %v", failed)
	}
}

func TestEffects(t *testing.T) {
	t.Parallel()
	s, _ := startFake(t, "tools", Config{
		Timeout: 7 * time.Second,
		Rules: []Rule{
			{Pattern: "d*", Effect: tool.Idempotent, RequiresApproval: true},
			{Pattern: "die", Effect: tool.Pure},
			{Pattern: "echo", Timeout: time.Second},
			{Pattern: "pid", Effect: tool.Once},
		},
	})
	for name, want := range map[string]tool.Definition{
		"fake.die":  {Effect: tool.Idempotent, RequiresApproval: true, Timeout: 7 * time.Second},
		"fake.echo": {Effect: tool.Pure, Timeout: time.Second},
		"fake.pid":  {Effect: tool.Once, Timeout: 7 * time.Second},
		"fake.hang": {Effect: tool.Once, Timeout: 7 * time.Second},
	} {
		got := named(t, s, name).Definition()
		if got.Effect != want.Effect || got.RequiresApproval != want.RequiresApproval || got.Timeout != want.Timeout {
			t.Errorf("%s: %s, approval %t, %s; want %+v", name, got.Effect, got.RequiresApproval, got.Timeout, want)
		}
	}
}

func TestWhatAServerIsTold(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "s3cret")
	s, _ := startFake(t, "tools", Config{})
	output := mustCall(t, s, "fake.environment", `{"text": ""}`)
	if strings.Contains(output, "s3cret") || !strings.Contains(output, "FAKE_MCP_SERVER=tools") || !strings.Contains(output, "PATH=") {
		t.Errorf("its environment is:\n%s", output)
	}
	keyed, err := named(t, s, "fake.key").Call(tool.WithCallKey(t.Context(), "run/call"), `{"text": ""}`)
	if err != nil || keyed != "run/call" {
		t.Errorf("the call's key is %q, %v", keyed, err)
	}
}

func TestServersThatSayOddThings(t *testing.T) {
	t.Parallel()
	s, log := startFake(t, "odd", Config{Name: "odd"})
	if got, want := names(s.Tools()), []string{"odd.fine", "odd.no-schema", "odd.titled"}; !slices.Equal(got, want) {
		t.Errorf("there are %q, want %q", got, want)
	}
	if got := named(t, s, "odd.titled").Definition().Description; got != "A title" {
		t.Errorf("it is described as %q", got)
	}
	for _, why := range []string{
		`"odd.no.object": parameters: the JSON Schema must be of "type": "object"`,
		`"odd.circle": parameters: the JSON Schema refers to itself`,
		`neither draft-07 nor 2020-12`,
		`"odd.with space": a name has`, `"odd.a/b": a name has`, `a tool has no name`, `nnn": a name has 1 to 64`,
		`"heavy": its schema has`, `"fine" is listed twice`,
	} {
		log.await(t, 0, "mcp tool is left out", why)
	}
	mixed := "one\n[an image, image/png, 5 bytes]\n[audio, audio/wav, 5 bytes]\n[a link to a report: file:///report]\n" +
		"[the resource file:///note]\nof a note\n[the resource file:///blob, application/pdf, 5 bytes]\ntwo"
	for text, want := range map[string]string{"mixed": mixed, "structured": `{"sum":3}`, "nothing": ""} {
		if got := mustCall(t, s, "odd.fine", `{"text": "`+text+`"}`); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"silent failure": "the tool failed and did not say why",
		"refused":        "the server refused the call: not today",
	} {
		_, err := named(t, s, "odd.fine").Call(t.Context(), `{"text": "`+text+`"}`)
		if failed := failure(t, err); failed.Type != tool.Failed || failed.Message != want {
			t.Errorf("%s: %v, want %q", text, failed, want)
		}
	}
}

func TestTheListOfToolsChanges(t *testing.T) {
	t.Parallel()
	s, log := startFake(t, "tools", Config{})
	chosen := Select([]string{"fake.gr*", "fake.echo"}, s)
	before := chosen.Tools()
	if got, want := names(before), []string{"fake.echo", "fake.grow"}; !slices.Equal(got, want) {
		t.Fatalf("chosen are %q, want %q", got, want)
	}
	if again := chosen.Tools(); &again[0] != &before[0] {
		t.Error("the choice is made anew while nothing has changed")
	}
	from := log.await(t, 0, "mcp tools listed")
	mustCall(t, s, "fake.grow", `{"text": ""}`)
	for !slices.Contains(names(s.Tools()), "fake.grown") || slices.Contains(names(s.Tools()), "fake.grow") {
		from = log.await(t, from, "mcp tools listed")
	}
	if got, want := names(chosen.Tools()), []string{"fake.echo", "fake.grown"}; !slices.Equal(got, want) {
		t.Errorf("chosen are %q, want %q", got, want)
	}
	if got := mustCall(t, chosen, "fake.grown", `{"text": ""}`); got != "it has grown" {
		t.Errorf("it says %q", got)
	}
	// A run that has begun before keeps what it had, and is told.
	_, err := before[1].Call(t.Context(), `{"text": ""}`)
	if failed := failure(t, err); failed.Type != tool.Failed || !strings.Contains(failed.Message, "refused the call") {
		t.Errorf("a tool that is gone: %v", failed)
	}
}
