package clients_test

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// root is the repository, seen from this folder.
const root = ".."

// raceOptions spare programs under the race detector their second of sleep at the end.
const raceOptions = "GORACE=atexit_sleep_ms=0"

// server is a running `runwire serve`.
type server struct {
	grpc, http string // its addresses
}

// serve starts Runwire on ports of its own, with env beside the PATH only, and
// stops it with the test. It must stop without an error.
func serve(t *testing.T, env []string, flags ...string) server {
	t.Helper()
	args := append([]string{"serve", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--data-dir", t.TempDir()}, flags...)
	cmd := exec.Command(filepath.Join(binaries(t), "runwire"), args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), raceOptions}, env...)
	cmd.Stdout = os.Stderr
	logs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(logs)
	s, said := waitServing(lines)
	var rest sync.WaitGroup
	rest.Go(func() {
		for lines.Scan() {
			said = append(said, lines.Text())
		}
	})
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("stop the server: %v", err)
		}
		rest.Wait()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the server ended with %v", err)
		}
		if t.Failed() {
			t.Logf("the server's log:\n%s", strings.Join(said, "\n"))
		}
	})
	if s.grpc == "" {
		t.Fatal("the server did not start")
	}
	return s
}

// waitServing reads the log until it says where the server listens.
func waitServing(lines *bufio.Scanner) (server, []string) {
	var said []string
	for lines.Scan() {
		said = append(said, lines.Text())
		var line struct{ Message, GRPC, HTTP string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Message == "serving" {
			return server{grpc: line.GRPC, http: line.HTTP}, said
		}
	}
	return server{}, said
}

// binaries is the folder with the binary under test and the tools that talk to it.
func binaries(t *testing.T) string {
	t.Helper()
	dir, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

var build = sync.OnceValues(func() (string, error) {
	dir, err := filepath.Abs(filepath.Join(root, ".cache", "bin"))
	if err != nil {
		return "", err
	}
	product := []string{"./cmd/runwire", "./clients/go"}
	if underRace() {
		product = slices.Insert(product, 0, "-race")
	}
	tools := []string{
		"-modfile=tools/go.mod",
		"github.com/fullstorydev/grpcurl/cmd/grpcurl",
		"github.com/grpc-ecosystem/grpc-health-probe",
	}
	ghz := []string{"-modfile=tools/ghz/go.mod", "github.com/bojand/ghz/cmd/ghz"}
	for _, args := range [][]string{product, tools, ghz} {
		cmd := exec.Command("go", append([]string{"build", "-o", dir + "/"}, args...)...)
		cmd.Dir, cmd.Stderr = root, os.Stderr
		if err := cmd.Run(); err != nil {
			return "", err
		}
	}
	return dir, nil
})

// underRace says whether the test runs under the race detector: the server then does too.
func underRace() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// protos is a folder with all of a server's protos and a descriptor set of
// each, as its reflection gives them.
func protos(t *testing.T, s server) (dir string, sets []string) {
	t.Helper()
	dir = t.TempDir()
	for _, symbol := range []string{"agent.v1.AgentService", "google.rpc.Status", "google.rpc.ErrorInfo"} {
		set := filepath.Join(dir, symbol+".protoset")
		sets = append(sets, set)
		grpcurl := exec.Command(filepath.Join(binaries(t), "grpcurl"), "-plaintext",
			"-proto-out-dir", dir, "-protoset-out", set, s.grpc, "describe", symbol)
		if out, err := grpcurl.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", symbol, err, out)
		}
	}
	return dir, sets
}
