package agent

import (
	"context"
	"math"
	"slices"

	"github.com/runwire/runwire/agent/model"
)

// PastRun is what the model calls of a run have used.
type PastRun struct {
	Calls int64
	// InputTokens include CachedTokens and CacheWriteTokens.
	InputTokens      int64
	CachedTokens     int64
	CacheWriteTokens int64
	OutputTokens     int64
	// FirstInputTokens is what the first call has read.
	FirstInputTokens int64
}

// Estimate is what a run would likely use.
type Estimate struct {
	// Iterations, InputTokens and OutputTokens are as likely passed as not.
	Iterations   int64
	InputTokens  int64
	OutputTokens int64
	// Cost is as likely passed as not; a run in ten costs less than Low, one in
	// ten more than High. They are meaningless unless Priced.
	Cost, Low, High model.Money
	Priced          bool
	// History: it rests on past runs, and on figures of thumb otherwise.
	History bool
}

// PastRuns is how many of an agent's last runs are worth looking at.
const PastRuns = 200

const (
	// leastRuns is how many past runs it takes for four of five to lie between
	// two of them: the next of n like them is below the least with 1 in n+1.
	leastRuns = 9
	// countError is by how much a prompt may have more or fewer tokens than were
	// counted, as a share: tokenizers differ.
	countError = 0.15
)

// Figures of thumb, as the source of this design has them: a run of five
// iterations, each of which adds 500 tokens of input and 300 of output.
const (
	thumbIterations = 5
	thumbInput      = 500
	thumbOutput     = 300
)

// Estimate says what a run of an agent would likely use: past are the last runs
// of it that have asked its first model, in any order, and history is how many
// tokens of its session it would be told. Of notes it would be told those in
// ctx's memory. Its error is an *UnknownAgentError.
func (r *Runner) Estimate(ctx context.Context, name, message string, history int64, past []PastRun) (Estimate, error) {
	c, err := r.find(name)
	if err != nil {
		return Estimate{}, err
	}
	tools, err := c.toolsNow()
	if err != nil {
		return Estimate{}, err
	}
	first := &c.models[0]
	prompt := r.tokenizer.Input(first.Name(), &model.Request{
		System: c.SystemPrompt, Tools: tools.offered,
		Messages: []model.Message{{Role: model.RoleUser, Notes: r.notes(ctx, &c.Agent, message), Text: message}},
	})
	e := estimator{
		prompt: prompt + min(history, c.HistoryTokens), price: first.price,
		iterations: int64(c.MaxIterations), reply: c.MaxOutputTokens, tokens: c.MaxTokens, cost: c.MaxCost,
	}
	if len(tools.offered) == 0 {
		e.iterations = 1 // there is nothing that it could go on for
	}
	estimate := e.estimate(past)
	estimate.Priced = first.priced
	return estimate, nil
}

// estimator is all that an estimate depends on beside the past.
type estimator struct {
	// prompt is about how many tokens the first call reads.
	prompt int64
	price  model.Price
	// What bounds a run: its iterations, the tokens of each reply, and the tokens
	// and money of the whole.
	iterations int64
	reply      int64
	tokens     int64
	cost       model.Money
}

// forecast is what a run may come to.
type forecast struct {
	calls int64
	usage model.Usage
	cost  model.Money
}

func (e *estimator) estimate(past []PastRun) Estimate {
	past = slices.DeleteFunc(slices.Clone(past), func(p PastRun) bool { return p.FirstInputTokens <= 0 })
	if len(past) < leastRuns {
		return e.byThumb()
	}
	likely := e.repeat(past, 1)
	rank := (len(past) + 1) / 10
	low, high := costs(e.repeat(past, 1-countError)), costs(e.repeat(past, 1+countError))
	return Estimate{
		Iterations:   median(likely, func(f forecast) int64 { return f.calls }),
		InputTokens:  median(likely, func(f forecast) int64 { return f.usage.InputTokens }),
		OutputTokens: median(likely, func(f forecast) int64 { return f.usage.OutputTokens }),
		Cost:         model.Money(median(likely, func(f forecast) int64 { return int64(f.cost) })),
		Low:          low[rank-1],
		High:         high[len(high)-rank],
		History:      true,
	}
}

// repeat is what each of the past runs would have come to with this prompt, if
// that has so many times the tokens that were counted.
func (e *estimator) repeat(past []PastRun, scale float64) []forecast {
	prompt := float64(e.prompt) * scale
	forecasts := make([]forecast, len(past))
	for i, p := range past {
		// Each call reads the prompt, and what came of the calls before it.
		grown := max(p.InputTokens-p.Calls*p.FirstInputTokens, 0)
		input := float64(p.Calls)*prompt + float64(grown)
		share := input / float64(p.InputTokens)
		forecasts[i] = e.within(p.Calls, model.Usage{
			InputTokens:       int64(math.Round(input)),
			CachedInputTokens: int64(float64(p.CachedTokens) * share),
			CacheWriteTokens:  int64(float64(p.CacheWriteTokens) * share),
			OutputTokens:      p.OutputTokens,
		})
	}
	return forecasts
}

// byThumb knows only the prompt. Its low is a single short reply, its high
// twice as many iterations, each with twice as much of everything.
func (e *estimator) byThumb() Estimate {
	likely := e.thumb(thumbIterations, 1)
	prompt := float64(e.prompt)
	low := e.within(1, model.Usage{
		InputTokens: int64(prompt * (1 - countError)), OutputTokens: min(thumbOutput/10, e.reply),
	})
	high := *e
	high.prompt = int64(math.Ceil(prompt * (1 + countError)))
	return Estimate{
		Iterations:   likely.calls,
		InputTokens:  likely.usage.InputTokens,
		OutputTokens: likely.usage.OutputTokens,
		Cost:         likely.cost,
		Low:          min(low.cost, likely.cost),
		High:         max(high.thumb(2*thumbIterations, 2).cost, likely.cost),
	}
}

// thumb is a run of so many iterations, if it may have them, with times as much
// as usual in each.
func (e *estimator) thumb(iterations, times int64) forecast {
	n := min(iterations, e.iterations)
	return e.within(n, model.Usage{
		InputTokens:  n*e.prompt + (n-1)*thumbInput*times,
		OutputTokens: n * min(thumbOutput*times, e.reply),
	})
}

// within keeps a forecast within what bounds a run.
func (e *estimator) within(calls int64, u model.Usage) forecast {
	if total := u.InputTokens + u.OutputTokens; total > e.tokens {
		part := float64(e.tokens) / float64(total)
		for _, tokens := range []*int64{&u.InputTokens, &u.CachedInputTokens, &u.CacheWriteTokens, &u.OutputTokens} {
			*tokens = int64(float64(*tokens) * part)
		}
	}
	price := e.price.At(u.InputTokens / max(calls, 1)) // of each call, not of their sum
	return forecast{calls: min(calls, e.iterations), usage: u, cost: min(price.Cost(u), e.cost)}
}

// costs are what the forecasts cost, the least first.
func costs(forecasts []forecast) []model.Money {
	sorted := make([]model.Money, len(forecasts))
	for i, f := range forecasts {
		sorted[i] = f.cost
	}
	slices.Sort(sorted)
	return sorted
}

// median is the middle one of a property; of two, the greater.
func median(forecasts []forecast, property func(forecast) int64) int64 {
	sorted := make([]int64, len(forecasts))
	for i, f := range forecasts {
		sorted[i] = property(f)
	}
	slices.Sort(sorted)
	return sorted[len(sorted)/2]
}
