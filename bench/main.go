// Command bench measures Runwire beside a bare grpc-go server that answers the
// same contract, in one run, so that the ratios hold on a noisy machine. Its
// figures are the server's processor time and memory, read from /proc (Linux).
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"
)

func main() {
	rounds := flag.Int("rounds", 5, "rounds of each load; the medians are shown")
	each := flag.Duration("each", 3*time.Second, "how long a round takes")
	streams := flag.Int("streams", 10000, "how many streams the memory is measured with")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *rounds, *each, *streams)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, rounds int, each time.Duration, streams int) error {
	dir, err := os.MkdirTemp("", "runwire-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := build(ctx, dir); err != nil {
		return err
	}
	if err := startup(ctx, dir, rounds); err != nil {
		return err
	}
	fmt.Printf("%-34s %14s %14s %8s %8s\n", "64 callers, medians", "bare", "runwire", "ratio", "target")
	if err := speed(ctx, dir, rounds, each); err != nil {
		return err
	}
	if err := memory(ctx, dir, streams); err != nil {
		return err
	}
	return tasks(ctx, dir, rounds, each)
}

// startup shows how long a server takes from exec to its first answered RPC.
func startup(ctx context.Context, dir string, rounds int) error {
	var took []time.Duration
	for range rounds {
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
func speed(ctx context.Context, dir string, rounds int, each time.Duration) error {
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
		for range rounds {
			their, err := l.load(ctx, bare, each)
			if err != nil {
				return err
			}
			our, err := l.load(ctx, runwire, each)
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
func memory(ctx context.Context, dir string, streams int) error {
	used := map[string]int64{}
	for _, start := range []func(context.Context, string) (*process, error){startBare, startRunwire} {
		p, err := start(ctx, dir)
		if err != nil {
			return err
		}
		used[p.name], err = idle(ctx, p, streams)
		p.stop()
		if err != nil {
			return err
		}
	}
	fmt.Printf("%-34s %12.1fKB %12.1fKB %8.2f %8.2f\n", fmt.Sprintf("%d streams, 1 token/s: memory", streams),
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
