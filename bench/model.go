package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

// wired are agents whose model answers over HTTP, with words that many.
const wired = `
  words-64: {model: wire/words-64, max_history_tokens: 0}
  words-512: {model: wire/words-512, max_history_tokens: 0}
providers:
  wire: {type: openai, base_url: %q}
`

// model shows what Runwire costs around a model call: beside a server that
// makes the same call with the provider's own client and nothing else.
func model(ctx context.Context, dir string, o options) error {
	if err := build(ctx, dir, "./bench/wire", "./bench/openai"); err != nil {
		return err
	}
	wire, url, err := startWire(ctx, dir)
	if err != nil {
		return err
	}
	defer wire.stop()
	if err := os.WriteFile(filepath.Join(dir, "bench.yaml"), fmt.Appendf(nil, config+wired, url), 0o600); err != nil {
		return err
	}
	plain, err := start(ctx, "openai", func(address string) *exec.Cmd {
		return exec.CommandContext(ctx, filepath.Join(dir, "openai"), address, url)
	})
	if err != nil {
		return err
	}
	defer plain.stop()
	runwire, err := startRunwire(ctx, dir)
	if err != nil {
		return err
	}
	defer runwire.stop()

	fmt.Printf("\n%-34s %14s %14s %10s %8s\n", "a model called over HTTP", "bare, the SDK", "runwire", "overhead", "target")
	short, err := overhead(ctx, plain, runwire, o, 64)
	if err != nil {
		return err
	}
	long, err := overhead(ctx, plain, runwire, o, 512)
	if err != nil {
		return err
	}
	fmt.Printf("%-34s %14s %14s %10v\n", "each token more", "", "", (long-short)/(512-64))
	return nil
}

// overhead is how much more processor time a run of so many tokens takes in
// Runwire than in the plain server, at the medians.
func overhead(ctx context.Context, plain, runwire *process, o options, tokens int) (time.Duration, error) {
	agent := fmt.Sprintf("words-%d", tokens)
	run := func(ctx context.Context, client agentv1.AgentServiceClient) (int64, error) {
		response, err := client.Run(ctx, &agentv1.RunRequest{Message: "Say something.", UserId: "bench", Agent: agent})
		if got := response.GetResult().GetUsage().GetOutputTokens(); err == nil && got != int64(tokens) {
			err = fmt.Errorf("a run of %d tokens, want %d", got, tokens)
		}
		return 1, err
	}
	var theirs, ours []figure
	for range o.rounds {
		their, err := measure(ctx, plain, callers, o.each, run)
		if err != nil {
			return 0, err
		}
		our, err := measure(ctx, runwire, callers, o.each, run)
		if err != nil {
			return 0, err
		}
		theirs, ours = append(theirs, their), append(ours, our)
	}
	their, our := middle(theirs), middle(ours)
	more := our.cpu - their.cpu
	fmt.Printf("%-34s %14v %14v %10v %8s\n", fmt.Sprintf("a run of %d tokens: CPU", tokens), their.cpu, our.cpu, more, "100µs")
	fmt.Printf("%-34s %12.0f/s %12.0f/s\n", "", their.perSecond, our.perSecond)
	return more, nil
}

// startWire starts the provider, and returns where it is.
func startWire(ctx context.Context, dir string) (*process, string, error) {
	p := &process{name: "wire", cmd: exec.CommandContext(ctx, filepath.Join(dir, "wire"))}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, "", fmt.Errorf("start wire: %w", err)
	}
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		p.stop()
		return nil, "", fmt.Errorf("start wire: %w", err)
	}
	return p, strings.TrimSpace(url), nil
}
