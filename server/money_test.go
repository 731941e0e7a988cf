package server

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/agent/model"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"github.com/runwire/runwire/store"
	"github.com/runwire/runwire/tasks"
)

// gambler is a model whose every call uses what chance says.
type gambler struct{ *rand.Rand }

func (gambler) Name() string { return "test/gambler" }

func (gambler) InputTokens(*model.Request) int64 { return 1000 }

func (g gambler) Generate(_ context.Context, req *model.Request, _ func(model.Delta)) (model.Reply, error) {
	u := model.Usage{InputTokens: g.Int64N(1000), OutputTokens: g.Int64N(req.MaxOutputTokens + 1)}
	u.CachedInputTokens = g.Int64N(u.InputTokens + 1)
	u.CacheWriteTokens = g.Int64N(u.InputTokens - u.CachedInputTokens + 1)
	reply := model.Reply{Stop: model.StopToolCalls, ToolCalls: []model.ToolCall{{Name: "none"}}, Usage: u}
	if g.IntN(100) == 0 {
		reply.Stop, reply.ToolCalls = model.StopEnd, nil
	}
	return reply, nil
}

// gambles makes so many calls, or a few more, keeps what they have used in
// batches, and returns what their runs' results have said that they cost.
func gambles(ctx context.Context, db *store.DB, seed uint64, calls int) (told model.Money, made int64, err error) {
	runner, err := agent.NewRunner(agent.Config{
		Agents: []agent.Agent{{
			Name: "default", Models: []model.Model{gambler{rand.New(rand.NewPCG(seed, 0))}}, Timeout: time.Hour,
			MaxIterations: 500, MaxOutputTokens: 1000, MaxTokens: 1e9, MaxCost: 1e6 * model.Dollar,
		}},
		Prices: model.Prices{"test/gambler": {Input: 1_234_567_891, CachedInput: 123_456_789, CacheWrite: 2_345_678_917, Output: 9_876_543_211}},
	})
	if err != nil {
		return 0, 0, err
	}
	var rows []store.UsageRow
	for calls > 0 {
		run, err := runner.NewRun(agent.Request{Message: "Play.", UserID: "ann"})
		if err != nil {
			return 0, 0, err
		}
		result, err := run.Execute(ctx, nil)
		if err != nil {
			return 0, 0, err
		}
		told += exact(result.GetUsage())
		made += result.GetUsage().GetLlmCalls()
		calls -= len(run.Calls())
		rows = append(rows, tasks.UsageRows("acme", "ann", run.ID(), run.Calls())...)
		if len(rows) < 2000 && calls > 0 {
			continue
		}
		if err := db.AppendUsage(ctx, rows); err != nil {
			return 0, 0, err
		}
		rows = rows[:0]
	}
	return told, made, nil
}

// What GetUsage says of a million calls is, to the last digit, what their runs'
// results have said.
func TestAMillionCallsAddUpToTheLastDigit(t *testing.T) {
	t.Parallel()
	million := 1_000_000
	if raceEnabled {
		million /= 50 // each takes ten times as long then, and none adds up otherwise
	}
	r := keep(t)
	const gamblers = 4
	var all sync.WaitGroup
	var told, calls atomic.Int64
	for i := range uint64(gamblers) {
		all.Go(func() {
			cost, made, err := gambles(t.Context(), r.DB, i, million/gamblers)
			if err != nil {
				t.Error(err)
			}
			told.Add(int64(cost))
			calls.Add(made)
		})
	}
	all.Wait()
	got, err := r.usage.GetUsage(with(t, "acme admin"), &agentv1.GetUsageRequest{})
	if err != nil {
		t.Fatal(err)
	}
	sum := got.GetSums()[0].GetUsage()
	if want := model.Money(told.Load()); exact(sum) != want || sum.GetLlmCalls() != calls.Load() || calls.Load() < int64(million) {
		t.Errorf("%d calls cost %v, and %d by GetUsage %v", calls.Load(), want, sum.GetLlmCalls(), exact(sum))
	}
}

// exact is a cost on the wire as it was before it got there.
func exact(u *agentv1.Usage) model.Money {
	return model.Money(math.Round(u.GetCostUsd() * float64(model.Dollar)))
}
