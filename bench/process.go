package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// config is what Runwire serves while it is measured. A key is configured, so
// that every part of the chain works.
const (
	key    = "bench"
	config = `
limits:
  per_user: {requests: 1000000, window: 60s}
  global: {requests: 10000000, window: 60s}
agents:
  default: {model: offline, max_history_tokens: 0, model_options: {tokens: 64}}
  fast: {model: offline, max_history_tokens: 0, model_options: {tokens: 256}}
  slow: {model: offline, max_history_tokens: 0, model_options: {tokens: 4000, token_interval: 1s}}
  nothing: {model: offline, max_history_tokens: 0, model_options: {tokens: 1}}`
)

// process is a server that is measured.
type process struct {
	name    string
	address string
	cmd     *exec.Cmd
	started time.Duration // from exec to the first answered RPC
	conns   []*grpc.ClientConn
}

// build makes programs in dir.
func build(ctx context.Context, dir string, packages ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-o", dir + "/"}, packages...)...)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build %v: %w", packages, err)
	}
	return nil
}

func startBare(ctx context.Context, dir string) (*process, error) {
	return start(ctx, "bare", func(address string) *exec.Cmd {
		return exec.CommandContext(ctx, filepath.Join(dir, "bare"), address)
	})
}

// startRunwire starts Runwire with the whole chain on: access log (to a file),
// metrics, auth, validation, limits.
func startRunwire(ctx context.Context, dir string) (*process, error) {
	log, err := os.Create(filepath.Join(dir, "runwire.log"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	return start(ctx, "runwire", func(address string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, filepath.Join(dir, "runwire"), "serve",
			"--config", filepath.Join(dir, "bench.yaml"), "--listen", address, "--http-listen", "127.0.0.1:0",
			"--data-dir", filepath.Join(dir, "data"), "--workers", "64")
		cmd.Env = append(os.Environ(), "RUNWIRE_API_KEY="+key)
		cmd.Stderr, cmd.Stdout = log, log
		return cmd
	})
}

func start(ctx context.Context, name string, command func(address string) *exec.Cmd) (*process, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	p := &process{name: name, address: address, cmd: command(address)}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	begin := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	if err := p.awaitAnswer(ctx); err != nil {
		p.stop()
		return nil, err
	}
	p.started = time.Since(begin)
	return p, p.dial(4)
}

// awaitAnswer knocks until the server answers an RPC.
func (p *process) awaitAnswer(ctx context.Context) error {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.address)
		if err != nil {
			continue
		}
		_ = raw.Close()
		conn, err := connect(p.address)
		if err != nil {
			return err
		}
		_, err = agentv1.NewAgentServiceClient(conn).Run(authorized(ctx), request())
		_ = conn.Close()
		if err == nil {
			return nil
		}
		return fmt.Errorf("first call of %s: %w", p.name, err)
	}
	return fmt.Errorf("%s has not answered within 10 s", p.name)
}

func (p *process) dial(n int) error {
	for range n {
		conn, err := connect(p.address)
		if err != nil {
			return err
		}
		p.conns = append(p.conns, conn)
	}
	return nil
}

// client returns the i-th caller's client; callers share the connections.
func (p *process) client(i int) agentv1.AgentServiceClient {
	return agentv1.NewAgentServiceClient(p.conns[i%len(p.conns)])
}

func (p *process) stop() {
	for _, conn := range p.conns {
		_ = conn.Close()
	}
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// cpu is the processor time the server has used so far. The scheduler's own
// figure is exact; that in /proc/PID/stat counts ticks, and is wrong by a
// quarter for threads that run for less than one.
func (p *process) cpu() (time.Duration, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.cmd.Process.Pid))
	if err != nil || len(threads) == 0 {
		return 0, errors.Join(errors.New("the kernel does not tell a thread's processor time (Linux only)"), err)
	}
	var total time.Duration
	for _, thread := range threads {
		stat, err := os.ReadFile(thread)
		if err != nil {
			return 0, fmt.Errorf("read a thread's processor time: %w", err)
		}
		first, _, _ := strings.Cut(string(stat), " ")
		used, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read a thread's processor time: %w", err)
		}
		total += time.Duration(used)
	}
	return total, nil
}

// memory is the server's resident memory in bytes.
func (p *process) memory() (int64, error) {
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read the server's memory (Linux only): %w", err)
	}
	fields := strings.Fields(string(statm))
	if len(fields) < 2 {
		return 0, errors.New("/proc/PID/statm is shorter than its manual says")
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

func connect(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
}

func freeAddress(ctx context.Context) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}
