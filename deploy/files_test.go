//go:build unix

package deploy_test

import (
	"bytes"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/runwire/runwire/agent/tool"
	"github.com/runwire/runwire/config"
	"go.yaml.in/yaml/v3"
)

// service is what the tests read of one in compose.yaml.
type service struct {
	Command         []string
	Environment     map[string]string
	EnvFile         []string `yaml:"env_file"`
	Volumes         []string
	Secrets         []string
	ExtraHosts      []string                     `yaml:"extra_hosts"`
	DependsOn       map[string]map[string]string `yaml:"depends_on"`
	StopGracePeriod time.Duration                `yaml:"stop_grace_period"`
	Networks        yaml.Node
	Healthcheck     struct{ Test []string }
	Deploy          struct{ Replicas int }
	ReadOnly        bool     `yaml:"read_only"`
	CapDrop         []string `yaml:"cap_drop"`
}

type composition struct {
	Services map[string]service
	Secrets  map[string]struct{ File string }
	Volumes  map[string]any
}

func compose(t *testing.T) composition {
	t.Helper()
	var all composition
	if err := yaml.Unmarshal(contents(t, "compose.yaml"), &all); err != nil {
		t.Fatal(err)
	}
	return all
}

func contents(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestComposeServices(t *testing.T) {
	t.Parallel()
	all := compose(t)
	roles := map[string]int{}
	for name, s := range all.Services {
		if len(s.Healthcheck.Test) == 0 {
			t.Errorf("%s has no health check", name)
		}
		for other := range s.DependsOn {
			if _, ok := all.Services[other]; !ok {
				t.Errorf("%s depends on %s, which is not there", name, other)
			}
		}
		if len(s.Command) == 0 || s.Command[0] != "serve" {
			continue
		}
		flags := flagsOf(s.Command)
		roles[flags["--role"]] += max(s.Deploy.Replicas, 1)
		if workers := flags["--workers"]; flags["--role"] == "worker" && workers != "2" {
			t.Errorf("%s runs %s tasks at once", name, workers)
		}
		drain, err := time.ParseDuration(flags["--drain-timeout"])
		// Calls and handlers have some seconds more, and so has telemetry.
		if err != nil || s.StopGracePeriod < drain+15*time.Second {
			t.Errorf("%s has %v to stop, and drains for %s", name, s.StopGracePeriod, flags["--drain-timeout"])
		}
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) {
			t.Errorf("%s may do more than it needs", name)
		}
	}
	if roles["api"] != 2 || roles["worker"] != 4 {
		t.Errorf("processes by role: %v", roles)
	}
	for _, name := range []string{"nginx", "postgres", "nats-1", "nats-2", "nats-3"} {
		if _, ok := all.Services[name]; !ok {
			t.Errorf("there is no %s", name)
		}
	}
}

// flagsOf are the flags of a command, which all have a value.
func flagsOf(command []string) map[string]string {
	flags := map[string]string{}
	for i := 1; i+1 < len(command); i += 2 {
		flags[command[i]] = command[i+1]
	}
	return flags
}

// TestComposeIsUnderstood finds each flag and variable in `serve --help`.
func TestComposeIsUnderstood(t *testing.T) {
	t.Parallel()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	help, err := exec.Command(filepath.Join(bin, "runwire"), "serve", "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	known := regexp.MustCompile(`--[a-z][a-z-]+|RUNWIRE_[A-Z_]+`).FindAllString(string(help), -1)
	checked := 0
	for name, s := range compose(t).Services {
		if len(s.Command) == 0 || s.Command[0] != "serve" {
			continue
		}
		for flag := range flagsOf(s.Command) {
			checked++
			if !slices.Contains(known, flag) {
				t.Errorf("%s: there is no flag %s", name, flag)
			}
		}
		for variable := range s.Environment {
			checked++
			if !slices.Contains(known, variable) {
				t.Errorf("%s: there is no variable %s", name, variable)
			}
		}
	}
	if checked < 15 {
		t.Errorf("%d flags and variables were found", checked)
	}
}

// secrets makes what secrets.sh makes, and returns where.
func secrets(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed")
	}
	dir := filepath.Join(t.TempDir(), "secrets")
	if out, err := exec.Command("./secrets.sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("secrets.sh: %v\n%s", err, out)
	}
	return dir
}

// TestComposeFiles finds each file that is mounted here, or made by secrets.sh.
func TestComposeFiles(t *testing.T) {
	t.Parallel()
	dir := secrets(t)
	all := compose(t)
	exists := func(file string) {
		t.Helper()
		path := file
		if made, ok := strings.CutPrefix(file, "secrets/"); ok {
			path = filepath.Join(dir, made)
		}
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			t.Errorf("there is no file %s: %v", file, err)
		}
	}
	for name, s := range all.Services {
		for _, volume := range s.Volumes {
			source, _, _ := strings.Cut(volume, ":")
			if _, named := all.Volumes[source]; !named {
				exists(source)
			}
		}
		for _, file := range s.EnvFile {
			exists(file)
		}
		for _, secret := range s.Secrets {
			if all.Secrets[secret].File == "" {
				t.Errorf("%s: no secret %s", name, secret)
			}
		}
	}
	for _, secret := range all.Secrets {
		exists(secret.File)
	}
}

// TestSecretsFit: what one part is told of a password, the other is told too.
func TestSecretsFit(t *testing.T) {
	t.Parallel()
	dir := secrets(t)
	all := compose(t)
	first := readSecrets(t, dir)
	address := strings.Replace(all.Services["worker"].Environment["RUNWIRE_DATABASE_URL"], "/run/secrets", dir, 1)
	database, err := pgx.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.TrimSpace(first["postgres-password"]); want == "" || database.Password != want || database.Host != "postgres" {
		t.Errorf("the database is asked with %q at %s, and wants %q", database.Password, database.Host, want)
	}
	servers := strings.Split(variable(first["runwire-nats.env"], "RUNWIRE_NATS_URL"), ",")
	for i, server := range servers {
		at, err := url.Parse(server)
		if err != nil {
			t.Fatal(err)
		}
		password, _ := at.User.Password()
		if _, ok := all.Services[at.Hostname()]; !ok || password == "" || password != variable(first["nats.env"], "NATS_PASSWORD") {
			t.Errorf("server %d is %s", i+1, server)
		}
	}
	if len(servers) != 3 {
		t.Errorf("there are %d servers", len(servers))
	}
	// Run again, it leaves all as it is.
	if out, err := exec.Command("./secrets.sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("secrets.sh: %v\n%s", err, out)
	}
	for name, text := range readSecrets(t, dir) {
		if text != first[name] {
			t.Errorf("%s has changed", name)
		}
	}
}

func readSecrets(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	texts := map[string]string{}
	for _, file := range files {
		texts[file.Name()] = string(contents(t, filepath.Join(dir, file.Name())))
	}
	return texts
}

func variable(file, name string) string {
	for line := range strings.Lines(file) {
		if value, ok := strings.CutPrefix(line, name+"="); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// The file is right, and nginx waits for longer than any of its agents runs.
func TestConfiguration(t *testing.T) {
	t.Parallel()
	variables := secrets(t)
	set := string(contents(t, filepath.Join(variables, "runwire.env")))
	file, err := config.Load("runwire.yaml", func(name string) (string, bool) {
		value := variable(set, name)
		return value, value != ""
	}, config.Known{Tools: tool.BuiltinNames()})
	if err != nil {
		t.Fatal(err)
	}
	if len(file.Keys) == 0 || len(file.Agents) == 0 {
		t.Errorf("there are %d keys and %d agents", len(file.Keys), len(file.Agents))
	}
	found := regexp.MustCompile(`grpc_read_timeout (\w+);`).FindSubmatch(contents(t, "nginx.conf"))
	if found == nil {
		t.Fatal("nginx.conf does not say how long it waits")
	}
	wait, err := time.ParseDuration(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range file.Agents {
		if a.Timeout >= wait {
			t.Errorf("agent %s runs for %v, and nginx waits for %v", a.Name, a.Timeout, wait)
		}
	}
}

// TestReplicasAreFound: nginx.conf, roll.sh and compose.yaml name the same
// replicas, each by the address that it has.
func TestReplicasAreFound(t *testing.T) {
	t.Parallel()
	all := compose(t)
	upstream := regexp.MustCompile(`(?m)^\s*server ([a-z0-9-]+):50051 `).FindAllStringSubmatch(string(contents(t, "nginx.conf")), -1)
	rolled := regexp.MustCompile(`for replica in (.*); do`).FindSubmatch(contents(t, "roll.sh"))
	if len(upstream) != 2 || rolled == nil {
		t.Fatalf("nginx.conf has %q, roll.sh %q", upstream, rolled)
	}
	for i, name := range strings.Fields(string(rolled[1])) {
		if upstream[i][1] != name {
			t.Errorf("nginx.conf has %s for %s", upstream[i][1], name)
		}
		var networks struct {
			Inside struct {
				Address net.IP `yaml:"ipv4_address"`
			}
		}
		of := all.Services[name].Networks
		if err := of.Decode(&networks); err != nil || !slices.Contains(all.Services["nginx"].ExtraHosts, name+":"+networks.Inside.Address.String()) {
			t.Errorf("nginx does not know %s at %v: %v", name, networks.Inside.Address, err)
		}
	}
}

func TestDockerfile(t *testing.T) {
	t.Parallel()
	text := bytes.ReplaceAll(contents(t, "Dockerfile"), []byte("\\\n"), nil)
	var user, last string
	copied := 0
	for line := range strings.Lines(string(text)) {
		instruction, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		words := strings.Fields(rest)
		switch instruction {
		case "FROM":
			last, user = words[0], ""
		case "USER":
			user = rest
		case "ADD":
			t.Errorf("ADD, where COPY does only what it says: %s", line)
		case "COPY":
			if strings.HasPrefix(words[0], "--from=") {
				continue
			}
			for _, source := range words[:len(words)-1] {
				copied++
				if _, err := os.Stat(filepath.Join(root, source)); err != nil {
					t.Errorf("COPY: %v", err)
				}
			}
		}
	}
	if last != "scratch" || copied == 0 {
		t.Errorf("the image is from %s, with %d files copied", last, copied)
	}
	if id, _, _ := strings.Cut(user, ":"); id == "" || id == "0" || id == "root" {
		t.Errorf("it runs as %q", user)
	}
	version := regexp.MustCompile(`(?m)^FROM golang:(\S+) `).FindSubmatch(text)
	module := contents(t, filepath.Join(root, "go.mod"))
	if version == nil || !bytes.Contains(module, append([]byte("\ngo "), version[1]...)) {
		t.Errorf("it is built with Go %s, which go.mod does not ask for", version)
	}
}
