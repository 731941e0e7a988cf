package config

import "github.com/runwire/runwire/agent/model"

// mostPrice keeps sums of money far from overflowing.
const mostPrice = 1_000 * model.Dollar

// mostThreshold is more than any model reads.
const mostThreshold = 1_000_000_000

// prices reads `prices`, of models of the named providers.
func (v value) prices(providers []string) map[string]model.Price {
	prices := make(map[string]model.Price)
	v.entries(func(name string, entry value) {
		key := value{in: entry.in, node: entry.key, path: entry.path}
		price := entry.price() // for its mistakes, whatever its name
		if key.model(name, providers) {
			prices[name] = price
		}
	})
	return prices
}

// price reads what a model's tokens cost.
func (v value) price() model.Price {
	var above value
	price := v.tokens(fields{"above": keep(&above)})
	if !above.given() {
		return price
	}
	var threshold value
	long := above.tokens(fields{"tokens": keep(&threshold)})
	var tokens int64
	whole(&tokens, 1, mostThreshold)(threshold)
	if !threshold.given() {
		above.lacks("has no tokens", "add how many a call reads more than, such as 200_000")
	}
	return price.WhenAbove(tokens, long)
}

// tokens reads what tokens cost, and what stands beside that.
func (v value) tokens(beside fields) model.Price {
	var price model.Price
	var input, cachedInput, cacheWrite, output value
	beside["input"], beside["output"] = keep(&input), keep(&output)
	beside["cached_input"], beside["cache_write"] = keep(&cachedInput), keep(&cacheWrite)
	right := v.object(beside)
	dollars(&price.Input, 0, mostPrice)(input)
	price.CachedInput, price.CacheWrite = price.Input, price.Input
	dollars(&price.CachedInput, 0, mostPrice)(cachedInput)
	dollars(&price.CacheWrite, 0, mostPrice)(cacheWrite)
	dollars(&price.Output, 0, mostPrice)(output)
	if right || !v.given() {
		v.needs("input", input)
		v.needs("output", output)
	}
	return price
}

// needs takes a mistake if v lacks one of its prices.
func (v value) needs(name string, price value) {
	if !price.given() {
		v.lacks("has no "+name, "add it, in US dollars a million tokens")
	}
}
