package clients_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// client is how the client in one language is started.
type client struct {
	command []string
	env     []string
}

// conversation is one call and what every client prints of it.
type conversation struct {
	name   string
	server string
	env    []string
	args   []string
	want   string // a regular expression
	fails  bool
}

var conversations = []conversation{
	{
		name: "lists the agents", server: "open", args: []string{"list"},
		want: `default offline\S* calculator,current_time\n`,
	},
	{
		name: "gets an answer", server: "open", args: []string{"run", "What is 17 * 23?"},
		want: `(?s).*391.*\nSTOP_REASON_COMPLETED tools=calculator tokens=[1-9]\d*\n`,
	},
	{
		name: "reads a stream to its end", server: "open", args: []string{"stream", "What is 17 * 23?"},
		want: `(?s).*391.*\nSTOP_REASON_COMPLETED tools=calculator tokens=[1-9]\d*\n`,
	},
	{
		name: "sends and gets every script", server: "open", args: []string{"stream", "Grüße, 世界 🌍!"},
		want: `(?s).*Grüße, 世界 🌍!.*\nSTOP_REASON_COMPLETED tools= tokens=[1-9]\d*\n`,
	},
	{
		name: "has a long stream whole", server: "long", args: []string{"stream", "Go on."},
		want: `(?s).+\nSTOP_REASON_COMPLETED tools= tokens=[4-9]\d{3}\n`,
	},
	{
		name: "gets what was said by its deadline", server: "slow", args: []string{"stream", "Go on."},
		env:  []string{"DEADLINE=5"},
		want: `(?s).+\nSTOP_REASON_TIMEOUT tools= tokens=[1-9]\d*\n`,
	},
	{
		name: "submits a task and watches it", server: "open", args: []string{"task", "What is 17 * 23?"},
		want: `(?s).*391.*\nSTOP_REASON_COMPLETED tools=calculator tokens=[1-9]\d*\n`,
	},
	{
		name: "goes on with a watch that broke off", server: "slow", args: []string{"task", "Go on."},
		env:  []string{"DEADLINE=5"},
		want: `(\S+ ){399}\S+\nSTOP_REASON_COMPLETED tools= tokens=[1-9]\d*\n`,
	},
	{
		name: "is told which field is wrong", server: "open", args: []string{"run", ""},
		want: `error INVALID_ARGUMENT\nfield message\n`, fails: true,
	},
	{
		name: "is told so on a stream", server: "open", args: []string{"stream", ""},
		want: `error INVALID_ARGUMENT\nfield message\n`, fails: true,
	},
	{
		name: "is told that a key is missing", server: "keyed", args: []string{"run", "Hello"},
		want: `error UNAUTHENTICATED\nreason API_KEY_MISSING\n`, fails: true,
	},
	{
		name: "is told that a key is wrong", server: "keyed", args: []string{"stream", "Hello"},
		env:  []string{"RUNWIRE_API_KEY=rw_other"},
		want: `error UNAUTHENTICATED\nreason API_KEY_INVALID\n`, fails: true,
	},
	{
		name: "is served with its key", server: "keyed", args: []string{"run", "Hello"},
		env:  []string{"RUNWIRE_API_KEY=rw_key"},
		want: `(?s).+\nSTOP_REASON_COMPLETED tools= tokens=[1-9]\d*\n`,
	},
	{
		name: "is told when to come back", server: "full", args: []string{"stream", "Hello"},
		want: `error RESOURCE_EXHAUSTED\nretry after ([1-9]|[1-5]\d|60)s\n`, fails: true,
	},
}

// servers are what the conversations need, by name.
func servers(t *testing.T) map[string]server {
	t.Helper()
	offline := func(options string) string {
		path := filepath.Join(t.TempDir(), "runwire.yaml")
		config := "agents:\n  default: {model: offline, model_options: {" + options + "}}\n"
		if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return map[string]server{
		"open":  serve(t, nil, "--rate-limit", "0"),
		"long":  serve(t, nil, "--rate-limit", "0", "--config", offline("tokens: 4000")),
		"slow":  serve(t, nil, "--rate-limit", "0", "--workers", "16", "--config", offline("tokens: 400, token_interval: 50ms")),
		"keyed": serve(t, []string{"RUNWIRE_API_KEY=rw_key"}),
		"full":  serve(t, nil, "--rate-limit", "1"),
	}
}

func TestEveryLanguage(t *testing.T) {
	t.Parallel()
	running := servers(t)
	reflected, sets := protos(t, running["open"])
	repository := []string{filepath.Join(root, "proto"), filepath.Join(root, ".cache", "proto"), reflected}
	for _, language := range []struct {
		name   string
		open   func(*testing.T, []string) client
		protos []string
	}{
		{"Go", goClient, nil},
		{"Node, protos of the repository", nodeClient, repository},
		{"Node, descriptors of the server", nodeClient, sets},
		{"Python, protos of the repository", pythonClient, repository},
		{"Python, protos of the server", pythonClient, []string{reflected}},
	} {
		t.Run(language.name, func(t *testing.T) {
			t.Parallel()
			c := language.open(t, language.protos)
			for _, conv := range conversations {
				t.Run(conv.name, func(t *testing.T) {
					t.Parallel()
					converse(t, c, running[conv.server], conv)
				})
			}
		})
	}
}

// converse has the conversation under a user of its own; on a server that
// takes one request a user, it makes that one first.
func converse(t *testing.T, c client, s server, conv conversation) {
	t.Helper()
	if conv.server == "full" {
		if out, err := say(c, s, conv, t.Name()); err != nil {
			t.Fatalf("the first call: %v\n%s", err, out)
		}
	}
	out, err := say(c, s, conv, t.Name())
	if failed := errors.As(err, new(*exec.ExitError)); failed != conv.fails || err != nil && !failed {
		t.Errorf("ended with %v", err)
	}
	if !regexp.MustCompile(`^` + conv.want + `$`).MatchString(out) {
		t.Errorf("printed\n%s\nwant\n%s", out, conv.want)
	}
}

func say(c client, s server, conv conversation, user string) (string, error) {
	args := slices.Concat(c.command[1:], []string{s.grpc}, conv.args)
	if len(conv.args) > 1 {
		args = append(args, user)
	}
	cmd := exec.Command(c.command[0], args...)
	cmd.Env = slices.Concat([]string{"PATH=" + os.Getenv("PATH"), raceOptions}, c.env, conv.env)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func goClient(t *testing.T, _ []string) client {
	t.Helper()
	return client{command: []string{filepath.Join(binaries(t), "go")}}
}

func nodeClient(t *testing.T, protos []string) client {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("there is no node")
	}
	modules, err := filepath.Abs(filepath.Join(root, ".cache", "node", "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(modules); err != nil {
		t.Skip("the Node client has no packages: `make node-client` installs them")
	}
	return client{
		command: []string{node, filepath.Join("node", "client.js")},
		env:     []string{"NODE_PATH=" + modules, "PROTOS=" + strings.Join(protos, string(filepath.ListSeparator))},
	}
}

func pythonClient(t *testing.T, dirs []string) client {
	t.Helper()
	python := ""
	for _, candidate := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(candidate, "-c", "import grpc, google.protobuf").Run() == nil {
			python = candidate
			break
		}
	}
	if python == "" {
		t.Skip("there is no Python with grpcio")
	}
	if _, err := exec.LookPath("protoc"); err != nil {
		t.Skip("there is no protoc")
	}
	out := t.TempDir()
	args := []string{"--python_out=" + out}
	for _, dir := range dirs {
		args = append(args, "-I"+dir)
	}
	args = append(args, "agent/v1/agent_service.proto", "agent/v1/run.proto", "agent/v1/task.proto", "buf/validate/validate.proto",
		"google/rpc/status.proto", "google/rpc/error_details.proto")
	if said, err := exec.Command("protoc", args...).CombinedOutput(); err != nil {
		t.Fatalf("protoc: %v\n%s", err, said)
	}
	return client{command: []string{python, filepath.Join("python", "client.py")}, env: []string{"PYTHONPATH=" + out, "PYTHONDONTWRITEBYTECODE=1"}}
}
