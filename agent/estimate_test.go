package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/agent/tool"
	"pgregory.net/rapid"
)

const simulatedName = "test/simulated"

var simulatedPrices = model.Prices{simulatedName: {
	Input: 3 * model.Dollar, CachedInput: model.Dollar / 3, CacheWrite: 4 * model.Dollar, Output: 15 * model.Dollar,
}}

// simulated is a model by chance: it calls tools and speaks as its habits say,
// counts with a tokenizer of its own, and is billed for what it reads.
type simulated struct {
	chance *rand.Rand
	habits habits
	// tokenizer is how many tokens it makes of one that is estimated.
	tokenizer float64
	read      int64 // by the call before, of the same run
}

// habits are how a kind of agent behaves: how likely it goes on after so many
// calls, and how much it says and its tools answer, in tokens.
type habits struct {
	goesOn       func(chance *rand.Rand, calls int) bool
	says, answer func(chance *rand.Rand) int
	caches       bool
}

func (*simulated) Name() string { return simulatedName }

func (s *simulated) InputTokens(req *model.Request) int64 {
	return int64(math.Round(float64(model.EstimateInput(req)) * s.tokenizer))
}

func (s *simulated) Generate(_ context.Context, req *model.Request, speak func(model.Delta)) (model.Reply, error) {
	speak(model.Delta{Text: "x"})
	calls := 0
	for _, message := range req.Messages {
		if len(message.ToolCalls) > 0 {
			calls++
		}
	}
	usage := model.Usage{InputTokens: s.InputTokens(req), OutputTokens: int64(s.habits.says(s.chance))}
	if s.habits.caches && calls > 0 {
		usage.CachedInputTokens = s.read
	}
	s.read = usage.InputTokens
	reply := model.Reply{Stop: model.StopEnd, Usage: usage}
	if len(req.Tools) > 0 && s.habits.goesOn(s.chance, calls) {
		reply.Stop = model.StopToolCalls
		reply.ToolCalls = []model.ToolCall{{ID: fmt.Sprint(calls), Name: "look", Arguments: "{}"}}
	}
	return reply, nil
}

func words(n int) string { return strings.TrimSpace(strings.Repeat("word ", n)) }

// around are numbers about a middle one, some of them far above it.
func around(middle, spread float64) func(*rand.Rand) int {
	return func(chance *rand.Rand) int { return 1 + int(middle*math.Exp(spread*chance.NormFloat64())) }
}

func share(p float64) func(*rand.Rand, int) bool {
	return func(chance *rand.Rand, _ int) bool { return chance.Float64() < p }
}

func allHabits() map[string]habits {
	return map[string]habits{
		"answers at once":   {goesOn: share(0), says: around(200, 0.4), answer: around(1, 0)},
		"looks things up":   {goesOn: share(0.6), says: around(120, 0.5), answer: around(300, 0.7)},
		"caches its prompt": {goesOn: share(0.6), says: around(120, 0.5), answer: around(300, 0.7), caches: true},
		"has a heavy tail":  {goesOn: share(0.3), says: around(60, 1.5), answer: around(100, 2)},
		"is of two minds": {
			goesOn: func(chance *rand.Rand, calls int) bool {
				return calls == 0 && chance.Float64() < 0.5 || calls > 0 && calls < 8
			},
			says: around(150, 0.3), answer: around(400, 0.3),
		},
		"does the same always": {
			goesOn: func(_ *rand.Rand, calls int) bool { return calls < 3 },
			says:   func(*rand.Rand) int { return 100 }, answer: func(*rand.Rand) int { return 200 },
		},
	}
}

// simulation is an agent that is run again and again, in sessions and with
// messages of any length.
type simulation struct {
	t      *testing.T
	chance *rand.Rand
	runner *agent.Runner
}

func simulate(t *testing.T, habits habits, seed uint64) *simulation {
	t.Helper()
	chance := rand.New(rand.NewPCG(seed, 1))
	look := aTool(t, "look", func(context.Context, json.RawMessage) (string, error) {
		return words(habits.answer(chance)), nil
	})
	a := anAgent(&simulated{chance: chance, habits: habits, tokenizer: 0.9 + 0.2*chance.Float64()})
	a.SystemPrompt = words(chance.IntN(1000))
	a.Tools = append(a.Tools, look)
	a.HistoryTokens, a.MaxTokens = 8000, 1_000_000
	runner, err := agent.NewRunner(agent.Config{Agents: []agent.Agent{a}, Prices: simulatedPrices})
	if err != nil {
		t.Fatal(err)
	}
	return &simulation{t: t, chance: chance, runner: runner}
}

// run estimates the next run, then makes it, and returns what it has come to.
func (s *simulation) run(past []agent.PastRun) (agent.Estimate, agent.PastRun, model.Money) {
	s.t.Helper()
	message := words(1 + s.chance.IntN(400))
	var session []model.Message
	var history int64
	for range s.chance.IntN(5) {
		said := model.Message{Role: model.RoleUser, Text: words(s.chance.IntN(800))}
		session = append(session, said)
		history += model.EstimateTokens(said)
	}
	estimate, err := s.runner.Estimate(s.t.Context(), "", message, history, past)
	if err != nil {
		s.t.Fatal(err)
	}
	run, err := s.runner.NewRun(agent.Request{Message: message, History: session})
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := run.Execute(s.t.Context(), nil); err != nil {
		s.t.Fatal(err)
	}
	var cost model.Money
	used := agent.PastRun{FirstInputTokens: run.Calls()[0].Usage.InputTokens}
	for _, call := range run.Calls() {
		used.Calls++
		used.InputTokens += call.Usage.InputTokens
		used.CachedTokens += call.Usage.CachedInputTokens
		used.OutputTokens += call.Usage.OutputTokens
		cost += call.Cost
	}
	return estimate, used, cost
}

// Of an agent's runs at least four of five cost between low and high, and about
// as many cost less than the estimate as cost more.
func TestRunsCostWhatWasEstimated(t *testing.T) {
	t.Parallel()
	for name, habits := range allHabits() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const agents, next = 40, 10
			var runs, within, below int
			var width float64
			for seed := range uint64(agents) {
				s := simulate(t, habits, seed)
				var past []agent.PastRun
				for range 9 + s.chance.IntN(60) {
					_, used, _ := s.run(nil)
					past = append(past, used)
				}
				for range next {
					estimate, used, cost := s.run(past)
					past = append(past[1:], used)
					runs++
					if !estimate.History || !estimate.Priced {
						t.Fatalf("%+v", estimate)
					}
					if estimate.Low <= cost && cost <= estimate.High {
						within++
					}
					if cost < estimate.Cost {
						below++
					}
					width += float64(estimate.High) / float64(estimate.Low)
				}
			}
			t.Logf("%d of %d within, %d below the middle, high is %.1f times low", within, runs, below, width/float64(runs))
			if within*5 < runs*4 {
				t.Errorf("%d of %d runs cost between low and high", within, runs)
			}
			if below*10 < runs*3 || below*10 > runs*7 {
				t.Errorf("%d of %d runs cost less than the estimate", below, runs)
			}
		})
	}
}

// The first runs of agents, which nothing is known of, cost what is usual.
func TestFirstRunsCostWhatIsUsual(t *testing.T) {
	t.Parallel()
	for name, habits := range allHabits() {
		var runs, within int
		for seed := range uint64(100) {
			estimate, _, cost := simulate(t, habits, seed).run(nil)
			runs++
			if estimate.History {
				t.Fatalf("%s: %+v", name, estimate)
			}
			if estimate.Low <= cost && cost <= estimate.High {
				within++
			}
		}
		t.Logf("%s: %d of %d within", name, within, runs)
		if within*5 < runs*4 {
			t.Errorf("%s: %d of %d runs cost between low and high", name, within, runs)
		}
	}
}

// Whatever was and whatever the limits: low, estimate and high are in this
// order, and none is more than a run may have.
func TestAnEstimateKeepsTheBudget(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		number := func(name string, least, most int64) int64 { return rapid.Int64Range(least, most).Draw(rt, name) }
		a := anAgent(&script{name: simulatedName})
		a.MaxIterations = int(number("max iterations", 1, 30))
		a.MaxOutputTokens = number("max output tokens", 1, 10_000)
		a.MaxTokens = number("max tokens", 1, 100_000)
		a.MaxCost = model.Money(number("max cost", 1, int64(model.Dollar)))
		a.HistoryTokens = number("history tokens", 0, 20_000)
		if rapid.Bool().Draw(rt, "tools") {
			a.Tools = append(a.Tools, aTool(t, "look", func(context.Context, json.RawMessage) (string, error) { return "", nil }))
		}
		past := make([]agent.PastRun, number("past runs", 0, 30))
		for i := range past {
			first := number("first", 0, 10_000)
			calls := number("calls", 1, 20)
			past[i] = agent.PastRun{
				Calls: calls, FirstInputTokens: first, InputTokens: max(first, number("input", 0, 200_000)),
				OutputTokens: number("output", 0, 50_000),
			}
			past[i].CachedTokens = number("cached", 0, past[i].InputTokens)
		}
		runner, err := agent.NewRunner(agent.Config{Agents: []agent.Agent{a}, Prices: simulatedPrices})
		if err != nil {
			rt.Fatal(err)
		}
		e, err := runner.Estimate(t.Context(), "", words(int(number("words", 1, 2000))), number("history", 0, 50_000), past)
		if err != nil {
			rt.Fatal(err)
		}
		switch {
		case e.Low < 0, e.Low > e.Cost, e.Cost > e.High, e.High > a.MaxCost:
			rt.Errorf("costs of %d, %d to %d, with %d allowed", e.Cost, e.Low, e.High, a.MaxCost)
		case e.InputTokens < 0, e.OutputTokens < 0, e.InputTokens > a.MaxTokens, e.OutputTokens > a.MaxTokens:
			rt.Errorf("%d and %d tokens, with %d allowed", e.InputTokens, e.OutputTokens, a.MaxTokens)
		case e.Iterations < 1, e.Iterations > int64(a.MaxIterations), len(a.Tools) == 0 && e.Iterations > 1:
			rt.Errorf("%d iterations, with %d allowed and %d tools", e.Iterations, a.MaxIterations, len(a.Tools))
		}
	})
}

func TestWhatAnEstimateRestsOn(t *testing.T) {
	t.Parallel()
	runs := func(n int, run agent.PastRun) []agent.PastRun {
		past := make([]agent.PastRun, n)
		for i := range past {
			past[i] = run
		}
		return past
	}
	run := agent.PastRun{Calls: 2, FirstInputTokens: 1000, InputTokens: 2300, OutputTokens: 50}
	for name, test := range map[string]struct {
		past []agent.PastRun
		want agent.Estimate
	}{
		// "Be brief." and "Hi" are 3 and 1 tokens, in frames of 4 each: 12.
		"nothing":           {nil, agent.Estimate{Iterations: 1, InputTokens: 12, OutputTokens: 300}},
		"too little":        {runs(8, run), agent.Estimate{Iterations: 1, InputTokens: 12, OutputTokens: 300}},
		"calls that failed": {runs(9, agent.PastRun{Calls: 1}), agent.Estimate{Iterations: 1, InputTokens: 12, OutputTokens: 300}},
		"nine runs":         {runs(9, run), agent.Estimate{Iterations: 1, InputTokens: 2*12 + 300, OutputTokens: 50, History: true}},
	} {
		runner := newRunner(t, agent.Config{Agents: []agent.Agent{anAgent(&script{name: "test/free"})}})
		got, err := runner.Estimate(t.Context(), "", "Hi", 0, test.past)
		if err != nil {
			t.Fatal(err)
		}
		if got != test.want {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, test.want)
		}
	}
}

// A prompt is counted as its model counts: the offline one by what it bills,
// others by o200k_base, of which the count is js-tiktoken's.
func TestAnEstimateCountsByTheModelsTokenizer(t *testing.T) {
	t.Parallel()
	const text = "Is e3b0c44298fc1c149afbf4c8996fb924 a hash of antidisestablishmentarianism?"
	offline, err := model.NewOffline(model.OfflineOptions{})
	if err != nil {
		t.Fatal(err)
	}
	billed := offline.InputTokens(&model.Request{System: "Be brief.", Messages: []model.Message{{Role: model.RoleUser, Text: text}}})
	for _, test := range []struct {
		model model.Model
		want  int64
	}{
		{&script{name: "openai/gpt-4o-mini"}, 4 + 3 + 4 + 30},
		{offline, billed},
	} {
		runner := newRunner(t, agent.Config{Agents: []agent.Agent{anAgent(test.model)}})
		got, err := runner.Estimate(t.Context(), "", text, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got.InputTokens != test.want {
			t.Errorf("%s: %d tokens, want %d", test.model.Name(), got.InputTokens, test.want)
		}
	}
	if billed == 4+3+4+30 {
		t.Errorf("both count %d: this tells nothing", billed)
	}
}

func TestAnEstimateOfAnAgentThatIsNone(t *testing.T) {
	t.Parallel()
	runner := newRunner(t, agent.Config{Agents: []agent.Agent{anAgent(&script{name: "test/free"})}})
	_, err := runner.Estimate(t.Context(), "nobody", "Hi", 0, nil)
	if unknown := (*agent.UnknownAgentError)(nil); !errors.As(err, &unknown) || unknown.Name != "nobody" {
		t.Errorf("got error %v", err)
	}
}

// Calls that are short each are not long together.
func TestTheCallsOfARunArePricedOneByOne(t *testing.T) {
	t.Parallel()
	price := model.Price{Input: model.Dollar, CachedInput: model.Dollar, CacheWrite: model.Dollar}
	price = price.WhenAbove(1000, model.Price{Input: 10 * model.Dollar, CachedInput: 10 * model.Dollar, CacheWrite: 10 * model.Dollar})
	a := anAgent(&script{name: "test/m"})
	a.MaxTokens, a.MaxCost = 1_000_000, 100*model.Dollar
	runner := newRunner(t, agent.Config{Agents: []agent.Agent{a}, Prices: model.Prices{"test/m": price}})
	past := slices.Repeat([]agent.PastRun{{Calls: 1, InputTokens: 900, FirstInputTokens: 900}}, 9)
	for _, history := range []int64{0, 5000} {
		got, err := runner.Estimate(t.Context(), "", words(300), history, past)
		if err != nil {
			t.Fatal(err)
		}
		each := model.Dollar
		if got.InputTokens > 1000 {
			each = 10 * model.Dollar
		}
		if want := each * model.Money(got.InputTokens) / 1_000_000; got.Cost != want {
			t.Errorf("%d tokens cost %s, want %s", got.InputTokens, got.Cost, want)
		}
	}
	past = slices.Repeat([]agent.PastRun{{Calls: 5, InputTokens: 1500, FirstInputTokens: 300}}, 9)
	got, err := runner.Estimate(t.Context(), "", words(300), 0, past)
	if want := model.Dollar * model.Money(got.InputTokens) / 1_000_000; err != nil || got.InputTokens < 1500 || got.Cost != want {
		t.Errorf("%d tokens of five calls cost %s, want %s, %v", got.InputTokens, got.Cost, want, err)
	}
}

// Tools that come and go are paid for with each call while they are there.
func TestAnEstimateCountsTheToolsOfNow(t *testing.T) {
	t.Parallel()
	a := anAgent(&script{name: "test/m"})
	s := &source{}
	s.now.Store(&[]*tool.Tool{})
	a.Sources = []tool.Source{s}
	runner := newRunner(t, agent.Config{Agents: []agent.Agent{a}})
	estimate := func() agent.Estimate {
		got, err := runner.Estimate(t.Context(), "", "Hello?", 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	without := estimate()
	s.now.Store(&[]*tool.Tool{aTool(t, "look", func(context.Context, json.RawMessage) (string, error) { return "", nil })})
	with := estimate()
	if without.Iterations != 1 || with.Iterations <= 1 || with.InputTokens/with.Iterations <= without.InputTokens {
		t.Errorf("without a tool %+v, with one %+v", without, with)
	}
}
