package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"google.golang.org/grpc/metadata"
)

const callers = 64

// figure is what one round of a load measured.
type figure struct {
	perSecond float64
	cpu       time.Duration // the server's, for each unit
}

func authorized(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "x-api-key", key)
}

func request() *agentv1.RunRequest {
	return &agentv1.RunRequest{Message: "Say something.", UserId: "bench"}
}

// unary calls Run from 64 callers for a while. The unit is a run of 64 tokens.
func unary(ctx context.Context, p *process, d time.Duration) (figure, error) {
	return measure(ctx, p, callers, d, func(ctx context.Context, client agentv1.AgentServiceClient) (int64, error) {
		_, err := client.Run(ctx, request())
		return 1, err
	})
}

// stream calls StreamRun from 64 callers for a while, 256 tokens a stream as
// fast as they are taken. The unit is a token; joined ones count each.
func stream(ctx context.Context, p *process, d time.Duration) (figure, error) {
	return measure(ctx, p, callers, d, func(ctx context.Context, client agentv1.AgentServiceClient) (int64, error) {
		events, err := client.StreamRun(ctx, &agentv1.StreamRunRequest{Message: "Go on.", UserId: "bench", Agent: "fast"})
		if err != nil {
			return 0, err
		}
		var tokens int64
		for {
			response, err := events.Recv()
			if errors.Is(err, io.EOF) {
				return tokens, nil
			}
			if err != nil {
				return tokens, err
			}
			if event := response.GetEvent(); event.GetTextDelta() != nil {
				tokens += 1 + event.GetMerged()
			}
		}
	})
}

func measure(
	ctx context.Context, p *process, callers int, d time.Duration,
	call func(context.Context, agentv1.AgentServiceClient) (int64, error),
) (figure, error) {
	before, err := p.cpu()
	if err != nil {
		return figure{}, err
	}
	var units atomic.Int64
	var failed atomic.Pointer[error]
	var group sync.WaitGroup
	begin := time.Now()
	for i := range callers {
		group.Go(func() {
			for time.Since(begin) < d && failed.Load() == nil {
				n, err := call(authorized(ctx), p.client(i))
				if err != nil {
					failed.Store(&err)
				}
				units.Add(n)
			}
		})
	}
	group.Wait()
	elapsed := time.Since(begin)
	after, err := p.cpu()
	if failure := failed.Load(); failure != nil {
		err = errors.Join(err, fmt.Errorf("%s: %w", p.name, *failure))
	}
	n := max(units.Load(), 1)
	return figure{perSecond: float64(n) / elapsed.Seconds(), cpu: (after - before) / time.Duration(n)}, err
}

// idle opens n streams that speak once a second, and returns what each costs
// the server in memory once all have spoken three times.
func idle(ctx context.Context, p *process, n int) (int64, error) {
	if err := p.dial(max(0, n/500-len(p.conns))); err != nil {
		return 0, err
	}
	before, err := p.memory()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(authorized(ctx))
	defer cancel()
	errs := make(chan error, n)
	var group sync.WaitGroup
	for i := range n {
		client := p.client(i)
		group.Go(func() {
			events, err := client.StreamRun(ctx, &agentv1.StreamRunRequest{Message: "Slowly.", UserId: fmt.Sprint("idle", i), Agent: "slow"})
			spoken := int64(0)
			told := false
			for err == nil {
				var response *agentv1.StreamRunResponse
				if response, err = events.Recv(); err == nil && response.GetEvent().GetTextDelta() != nil {
					spoken += 1 + response.GetEvent().GetMerged()
				}
				if spoken >= 3 && !told {
					told = true
					errs <- nil
				}
			}
			if !told {
				errs <- err
			}
		})
	}
	for range n {
		err = errors.Join(err, <-errs)
	}
	after, memErr := p.memory()
	cancel()
	group.Wait()
	return (after - before) / int64(n), errors.Join(err, memErr)
}

// lateness calls an agent that speaks once a second, and returns how much
// later than a second after the last each token came, at the median and the worst.
func lateness(ctx context.Context, p *process, tokens int) (median, worst time.Duration, err error) {
	ctx, cancel := context.WithCancel(authorized(ctx))
	defer cancel()
	events, err := p.client(0).StreamRun(ctx, &agentv1.StreamRunRequest{Message: "Slowly.", UserId: "late", Agent: "slow"})
	if err != nil {
		return 0, 0, err
	}
	var late []time.Duration
	for len(late) < tokens {
		response, err := events.Recv()
		if err != nil {
			return 0, 0, err
		}
		if event := response.GetEvent(); event.GetTextDelta() != nil {
			late = append(late, time.Since(event.GetCreateTime().AsTime()))
		}
	}
	slices.Sort(late)
	return late[len(late)/2], late[len(late)-1], nil
}
