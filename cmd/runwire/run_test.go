package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"
)

func TestRunAnswersInThisProcess(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name string
		in   string
		args []string
		code int
		out  string // patterns
		said string
	}{
		{
			name: "an answer, with what was called and what it took",
			args: []string{"What is 2+2?"},
			out:  `^This is .*4\n$`,
			said: `^→ calculator {"expression":"2\+2"}\n← calculator 4 \([0-9.]+ ms\)\n[0-9]+ tokens \([0-9]+ in, [0-9]+ out\), \$0, [0-9.]+ m?s\n$`,
		},
		{
			name: "a message from standard input",
			in:   "What is 3*4?\n",
			args: []string{"-"},
			out:  `12\n$`,
			said: `calculator`,
		},
		{
			name: "a budget that is used up",
			args: []string{"--max-tokens", "1", "Hello"},
			code: exitFailed,
			out:  `^$`,
			said: `^stopped \(token_budget\): .+; 0 tokens`,
		},
		{
			name: "an agent that there is not",
			args: []string{"--agent", "nobody", "Hello"},
			code: exitFailed,
			out:  `^$`,
			said: `^runwire: not found: no such agent "nobody"\n$`,
		},
		{
			name: "nothing to say",
			args: []string{"-"},
			code: exitMistake,
			out:  `^$`,
			said: `^runwire: invalid argument: .*message`,
		},
		{
			name: "too much to say",
			in:   strings.Repeat("x", 1<<20),
			args: []string{"-"},
			code: exitMistake,
			out:  `^$`,
			said: `^runwire: invalid argument: .*message`,
		},
		{
			name: "too much to say, cut within a character",
			in:   "x" + strings.Repeat("ä", 1<<20),
			args: []string{"-"},
			code: exitMistake,
			out:  `^$`,
			said: `^runwire: invalid argument: .*message`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			code, out, said := runwire(t, tc.in, append([]string{"run"}, tc.args...)...)
			if code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			if !regexp.MustCompile(tc.out).MatchString(out) {
				t.Errorf("out is\n%s\nwant %s", out, tc.out)
			}
			if !regexp.MustCompile(tc.said).MatchString(said) {
				t.Errorf("err is\n%s\nwant %s", said, tc.said)
			}
		})
	}
}

func TestAMessageThatIsNoTextIsAMistake(t *testing.T) {
	t.Parallel()
	for _, command := range []string{"run -", "task submit -", "schedule create - --cron @daily", "memory save -"} {
		code, out, said := runwire(t, "he\xff\xfello", strings.Fields(command)...)
		if code != exitMistake || out != "" || said != "runwire: message: is not UTF-8\n" {
			t.Errorf("%s: exit code %d, out %q, err %q", command, code, out, said)
		}
	}
}

func TestHowLongToWaitIsSaidOnce(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		"limit reached; retry in 9.9s": "resource exhausted: limit reached; retry in 9.9s",
		"the tenant's queue is full":   "resource exhausted: the tenant's queue is full; retry in 9.9s",
	} {
		refusal, err := status.New(codes.ResourceExhausted, message).WithDetails(
			&errdetails.RetryInfo{RetryDelay: durationpb.New(9900 * time.Millisecond)})
		if err != nil {
			t.Fatal(err)
		}
		if got := describe(refusal); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// The session in docs/tools.md is what its example does, but for times.
func TestRunAsksAgentsAsDocumented(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../docs/tools.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "## Agents\n")
	_, example, _ := strings.Cut(rest, "```yaml\n")
	example, rest, _ = strings.Cut(example, "```")
	_, session, _ := strings.Cut(rest, "$ runwire run \"")
	session, _, _ = strings.Cut(session, "```")
	message, shown, found := strings.Cut(session, "\"\n")
	if !found {
		t.Fatal("there is no session")
	}
	file := filepath.Join(t.TempDir(), "runwire.yaml")
	if err := os.WriteFile(file, []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, said := runwire(t, "", "run", "--config", file, message)
	lines := strings.SplitAfter(said, "\n")
	took := regexp.MustCompile(`[0-9.]+ m?s`)
	last := max(len(lines)-2, 0) // of what is said, what the run took
	got := took.ReplaceAllString(strings.Join(lines[:last], "")+out+strings.Join(lines[last:], ""), "…")
	if want := took.ReplaceAllString(shown, "…"); code != exitOK || got != want {
		t.Errorf("exit code %d, got\n%s\nwant\n%s", code, got, want)
	}
}

func TestRunPrintsEventsAsJSON(t *testing.T) {
	t.Parallel()
	code, out, said := runwire(t, "", "run", "--json", "What is 2+2?")
	if code != exitOK || said != "" {
		t.Fatalf("exit code %d, err %q", code, said)
	}
	var events []*agentv1.RunEvent
	for line := range strings.Lines(out) {
		event := &agentv1.RunEvent{}
		if err := protojson.Unmarshal([]byte(line), event); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		events = append(events, event)
	}
	if len(events) < 2 || events[0].GetStarted() == nil || !events[len(events)-1].GetFinished().GetResult().GetSuccess() {
		t.Errorf("got\n%s", out)
	}
}

func TestRunIsCancelled(t *testing.T) {
	t.Parallel()
	path := configFile(t, `agents: {default: {model: offline, model_options: {tokens: 1000, token_interval: 1h}}}`)
	ctx, interrupt := context.WithCancel(t.Context())
	answer, out := io.Pipe()
	var said strings.Builder
	code := make(chan int, 1)
	go func() {
		code <- execute(ctx, []string{"run", "--config", path, "Hello"}, terminal{out: out, err: &said})
		_ = out.Close()
	}()
	reader := bufio.NewReader(answer)
	if _, err := reader.ReadByte(); err != nil { // the model has begun to speak
		t.Fatal(err)
	}
	interrupt()
	if _, err := io.Copy(io.Discard, reader); err != nil {
		t.Error(err)
	}
	if got := <-code; got != exitInterrupted || said.String() != "runwire: cancelled\n" {
		t.Errorf("exit code %d, err %q", got, said.String())
	}
}
