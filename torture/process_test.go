//go:build linux

package torture

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// build makes the program as an operator has it; TORTURE_BINARY is one that is
// made already.
func build(t *testing.T) string {
	t.Helper()
	if made := os.Getenv("TORTURE_BINARY"); made != "" {
		return made
	}
	binary := filepath.Join(t.TempDir(), "runwire")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../cmd/runwire")
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, said)
	}
	return binary
}

const (
	// drainTimeout is how long a process that was told to end may go on: less
	// than a slow step takes.
	drainTimeout = slowStep / 8
	// slots are a worker's.
	slots = 8
)

// process is one of Runwire's, which is started again whenever it ends.
type process struct {
	t      *testing.T
	name   string
	binary string
	args   []string
	log    lockedBuffer

	current atomic.Pointer[os.Process]
	// excused: it may end by itself, as it does when it is started while there
	// is no database.
	excused atomic.Bool
	ended   atomic.Pointer[chan struct{}] // closed once what ran has ended
	stop    chan struct{}
	running sync.WaitGroup
}

func startProcess(t *testing.T, name, binary string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, binary: binary, args: args, stop: make(chan struct{})}
	p.running.Go(p.run)
	t.Cleanup(p.end)
	return p
}

// run has the program run until stop.
func (p *process) run() {
	for {
		cmd := exec.Command(p.binary, append([]string{"serve"}, p.args...)...)
		cmd.Stdout, cmd.Stderr = &p.log, &p.log
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			p.t.Errorf("starting %s: %v", p.name, err)
			return
		}
		ended := make(chan struct{})
		p.ended.Store(&ended)
		p.current.Store(cmd.Process)
		go func() {
			_ = cmd.Wait() // strike knows why; otherwise see below
			close(ended)
		}()
		select {
		case <-ended:
		case <-p.stop:
			_ = cmd.Process.Kill()
			<-ended
			return
		}
		if p.current.CompareAndSwap(cmd.Process, nil) && !p.excused.Load() {
			p.t.Errorf("%s has ended by itself: %v\n%s", p.name, cmd.ProcessState, p.log.tail())
		}
		timer := time.NewTimer(100 * time.Millisecond)
		<-timer.C
	}
}

func (p *process) end() {
	close(p.stop)
	p.running.Wait()
	if p.t.Failed() {
		p.t.Logf("the last that %s said:\n%s", p.name, p.log.tail())
	}
}

// strike sends a signal that ends what runs, and returns its process id and a
// channel that is closed once it has ended. It returns 0 when nothing runs.
func (p *process) strike(signal os.Signal) (pid int, ended <-chan struct{}) {
	process := p.current.Swap(nil)
	if process == nil {
		return 0, nil
	}
	done := *p.ended.Load()
	_ = process.Signal(signal) // it may have ended
	return process.Pid, done
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) tail() []byte {
	const length = 4 << 10
	b.mu.Lock()
	defer b.mu.Unlock()
	text := b.text.Bytes()
	return bytes.Clone(text[max(0, len(text)-length):])
}

// number is an environment variable's, or what else is said.
func number(t *testing.T, variable string, otherwise int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%s is not a number from 1", variable, text)
	}
	return n
}

// config is what all processes serve.
func config(t *testing.T, model string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "runwire.yaml")
	text := fmt.Sprintf(`
providers:
  test: {type: openai, base_url: %q, max_retries: 0}
agents:
  default: {model: test/m, tools: [calculator], max_iterations: 10}
limits:
  per_user: {cost_usd_per_day: 1000}
prices:
  test/m: {input: 1, output: 2}
`, model+"/v1")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
