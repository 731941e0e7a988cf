package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/runwire/runwire/server"
	"go.uber.org/goleak"
)

// asBinary makes the test's binary be runwire.
const asBinary = "TEST_AS_RUNWIRE"

func TestMain(m *testing.M) {
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, "RUNWIRE_") && os.Getenv(asBinary) == "" || strings.HasPrefix(name, "OPENAI_") {
			_ = os.Unsetenv(name)
		}
	}
	if os.Getenv(asBinary) != "" {
		main()
	}
	goleak.VerifyTestMain(m)
}

func TestFlagsHaveTheServersDefaults(t *testing.T) {
	t.Parallel()
	var commands cli
	if _, err := parserOf(t, &commands).Parse([]string{"serve"}); err != nil {
		t.Fatal(err)
	}
	got, err := commands.Serve.config()
	if err != nil {
		t.Fatal(err)
	}
	if got.File == nil || got.File.Agents[0].Name != "default" {
		t.Errorf("the built-in configuration is %v", got.File)
	}
	got.File = nil
	if want := server.DefaultConfig(); got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestEveryFlagIsExplainedAndHasAVariable(t *testing.T) {
	t.Parallel()
	model := parserOf(t, &cli{}).Model
	leaves := model.Leaves(false)
	if len(leaves) == 0 {
		t.Fatal("there are no commands")
	}
	for _, command := range leaves {
		if command.Help == "" {
			t.Errorf("%s: no help", command.FullPath())
		}
		for _, flag := range command.Flags {
			if flag.Help == "" {
				t.Errorf("%s --%s: no help", command.FullPath(), flag.Name)
			}
			want := "RUNWIRE_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_"))
			if len(flag.Envs) != 1 || flag.Envs[0] != want {
				t.Errorf("%s --%s: reads %v, want %s", command.FullPath(), flag.Name, flag.Envs, want)
			}
		}
	}
}

func TestMistakesOnTheCommandLine(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ args, want string }{
		{"", "expected one of"},
		{"sevre", "unexpected argument sevre"},
		{"serve --lisen :1", "unknown flag --lisen"},
		{"serve --rate-limit many", "--rate-limit"},
		{"serve --rate-limit=-1", "rate limit: must not be negative"},
		{"serve --drain-timeout 30", "--drain-timeout"},
		{"serve --log-level loud", "--log-level must be one of"},
		{"serve --listen 0.0.0.0:0", "--insecure-no-auth"},
		{"serve --config /no/such/file.yaml", "/no/such/file.yaml"},
		{"serve --tls-cert cert.pem", "a certificate and its key are needed"},
		{"run", "expected \"<message>\""},
		{"run hello --config /no/such/file.yaml", "/no/such/file.yaml"},
		{"run hello --server 127.0.0.1:1 --tls-ca /no/such/ca.pem", "--tls-ca"},
		{"run hello --server 127.0.0.1:1 --client-cert /no/such/cert.pem", "--client-cert"},
		{"task", "expected one of"},
		{"task submit hello --priority urgent", "--priority must be one of"},
		{"task submit hello --run-after soon", `"soon" is no time such as`},
		{"task submit hello --run-after=-5m", `"-5m" is no time such as`},
		{"task submit hello --label team", "--label"},
		{"task submit hello --tls-ca /no/such/ca.pem", "--tls-ca"},
		{"task get", "expected \"<id>\""},
		{"task list --status waiting", "--status must be one of"},
		{"task list --limit=-1", "--limit"},
		{"schedule create hello", "--cron"},
		{"session messages", "expected \"<id>\""},
		{"usage --by month", "--by must be one of"},
		{"usage --since yesterday", `"yesterday" is no time such as`},
		{"keys", "expected \"new\""},
		{"keys new --scopes all", "--scopes"},
	} {
		t.Run(tc.args, func(t *testing.T) {
			t.Parallel()
			code, out, said := runwire(t, "", strings.Fields(tc.args)...)
			if code != exitMistake || out != "" || !strings.Contains(said, tc.want) {
				t.Errorf("exit code %d, out %q, err %q; want %d and %q", code, out, said, exitMistake, tc.want)
			}
		})
	}
}

func TestEveryMistakeInTheFileIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	path := configFile(t, `agents:
  default:
    modle: offline
    model: offline
    max_iterations: twenty
    tools: [calcualtor]
`)
	for _, command := range [][]string{{"serve", "--config", path}, {"run", "--config", path, "hello"}} {
		code, _, said := runwire(t, "", command...)
		if code != exitMistake {
			t.Errorf("exit code %d", code)
		}
		for _, want := range []string{path + ":3:", path + ":5:", path + ":6:", `"model"`, `"calculator"`} {
			if !strings.Contains(said, want) {
				t.Errorf("%s is not in\n%s", want, said)
			}
		}
	}
}

func TestHelpIsNoMistake(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--help"}, {"serve", "--help"}, {"run", "-h"}, {"keys", "new", "--help"}} {
		code, out, said := runwire(t, "", args...)
		if code != exitOK || said != "" || !strings.Contains(out, "Usage: runwire") {
			t.Errorf("%v: exit code %d, out %q, err %q", args, code, out, said)
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	code, out, said := runwire(t, "", "version")
	if code != exitOK || !strings.HasPrefix(out, "runwire ") || !strings.Contains(out, "go1.") || said != "" {
		t.Errorf("exit code %d, out %q, err %q", code, out, said)
	}
}

func parserOf(t *testing.T, commands *cli) *kong.Kong {
	t.Helper()
	parser, err := newParser(commands, terminal{out: &bytes.Buffer{}, err: &bytes.Buffer{}}, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	return parser
}

// runwire executes a command in this process, with in as standard input.
func runwire(t *testing.T, in string, args ...string) (code int, out, said string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = execute(t.Context(), args, terminal{in: strings.NewReader(in), out: &stdout, err: &stderr})
	return code, stdout.String(), stderr.String()
}

func configFile(t *testing.T, text string) string {
	t.Helper()
	path := t.TempDir() + "/runwire.yaml"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
