// Command bench measures Runwire beside its peers in one run, so that the
// ratios hold on a noisy machine: bare grpc-go servers that answer the same
// contract, one of them with a model's answer, and asynq. Its figures are the
// server's processor time and memory, read from /proc (Linux).
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// options are how much is measured.
type options struct {
	rounds   int
	each     time.Duration
	streams  int
	watchers int
	many     int
}

// part is something to measure.
type part struct {
	name    string
	measure func(ctx context.Context, dir string, o options) error
	// long: it is measured only when it is asked for by its name.
	long bool
}

func parts() []part {
	return []part{
		{name: "startup", measure: startup},
		{name: "speed", measure: speed},
		{name: "model", measure: model},
		{name: "memory", measure: memory},
		{name: "tasks", measure: tasks},
		{name: "watchers", measure: watchers},
		{name: "million", measure: million, long: true},
	}
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of each load; the medians are shown")
	flag.DurationVar(&o.each, "each", 3*time.Second, "how long a round takes")
	flag.IntVar(&o.streams, "streams", 10000, "how many streams the memory is measured with")
	flag.IntVar(&o.watchers, "watchers", 10000, "how many watch tasks at once")
	flag.IntVar(&o.many, "many", 1_000_000, "how many tasks `million` submits, and runs a tenth of")
	only := flag.String("only", "", "what to measure, of "+names()+"; all but the last by default")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, o, *only)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func names() string {
	all := make([]string, len(parts()))
	for i, p := range parts() {
		all[i] = p.name
	}
	return strings.Join(all, ",")
}

func run(ctx context.Context, o options, only string) error {
	dir, err := os.MkdirTemp("", "runwire-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := build(ctx, dir, "./cmd/runwire", "./bench/bare"); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "bench.yaml"), []byte(config), 0o600); err != nil {
		return err
	}
	wanted := strings.FieldsFunc(only, func(r rune) bool { return r == ',' })
	for _, p := range parts() {
		if slices.Contains(wanted, p.name) || only == "" && !p.long {
			if err := p.measure(ctx, dir, o); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	return nil
}

// startup shows how long a server takes from exec to its first answered RPC.
func startup(ctx context.Context, dir string, o options) error {
	var took []time.Duration
	for range o.rounds {
		p, err := startRunwire(ctx, dir)
		if err != nil {
			return err
		}
		p.stop()
		took = append(took, p.started)
	}
	fmt.Printf("exec to first answered RPC: %v median, %v worst (target 150ms)\n\n",
		median(took).Round(time.Millisecond), slices.Max(took).Round(time.Millisecond))
	return nil
}

// speed measures both servers in turn, round by round.
func speed(ctx context.Context, dir string, o options) error {
	fmt.Printf("%-34s %14s %14s %8s %8s\n", "64 callers, medians", "bare", "runwire", "ratio", "target")
	bare, err := startBare(ctx, dir)
	if err != nil {
		return err
	}
	defer bare.stop()
	runwire, err := startRunwire(ctx, dir)
	if err != nil {
		return err
	}
	defer runwire.stop()
	loads := []struct {
		name   string
		target float64
		load   func(context.Context, *process, time.Duration) (figure, error)
	}{
		{"a run of 64 tokens", 2.5, unary},
		{"a streamed token, client slower", 1.0, stream},
	}
	for _, l := range loads {
		var theirs, ours []figure
		for range o.rounds {
			their, err := l.load(ctx, bare, o.each)
			if err != nil {
				return err
			}
			our, err := l.load(ctx, runwire, o.each)
			if err != nil {
				return err
			}
			theirs, ours = append(theirs, their), append(ours, our)
		}
		their, our := middle(theirs), middle(ours)
		fmt.Printf("%-34s %14v %14v %8.2f %8.2f\n", l.name+": CPU", their.cpu, our.cpu,
			float64(our.cpu)/float64(their.cpu), l.target)
		fmt.Printf("%-34s %12.0f/s %12.0f/s\n", "", their.perSecond, our.perSecond)
	}
	mid, worst, err := lateness(ctx, runwire, 5)
	if err != nil {
		return err
	}
	fmt.Printf("%-34s %14s %14v %8s %8s  worst %v\n", "a token a second: lateness", "", mid, "", "20ms", worst)
	return nil
}

// memory measures each server with many streams open, in a process of its own.
func memory(ctx context.Context, dir string, o options) error {
	used := map[string]int64{}
	for _, start := range []func(context.Context, string) (*process, error){startBare, startRunwire} {
		p, err := start(ctx, dir)
		if err != nil {
			return err
		}
		used[p.name], err = idle(ctx, p, o.streams)
		p.stop()
		if err != nil {
			return err
		}
	}
	fmt.Printf("%-34s %12.1fKB %12.1fKB %8.2f %8.2f\n", fmt.Sprintf("%d streams, 1 token/s: memory", o.streams),
		float64(used["bare"])/1024, float64(used["runwire"])/1024, float64(used["runwire"])/float64(used["bare"]), 2.0)
	return nil
}

func median(all []time.Duration) time.Duration {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

func middle(all []figure) figure {
	slices.SortFunc(all, func(a, b figure) int { return cmp.Compare(a.cpu, b.cpu) })
	return all[len(all)/2]
}
