package model

import (
	"math"
	"math/bits"
)

// Money is an amount of US dollars in billionths of a dollar (nano-dollars).
// Sums of it are exact.
type Money int64

// Dollar is one US dollar.
const Dollar Money = 1_000_000_000

// USD is the amount in dollars, for the wire; exact to the nano-dollar below
// nine million dollars.
func (m Money) USD() float64 { return float64(m) / float64(Dollar) }

// Price is what a model's tokens cost, each in nano-dollars a million tokens.
type Price struct {
	Input       Money
	CachedInput Money
	CacheWrite  Money
	Output      Money
}

// Cost is the price of a call's tokens, rounded half up to a nano-dollar once.
// What is too much for Money costs the most that Money holds, so that no
// budget is passed by overflow; negative tokens cost nothing.
func (p Price) Cost(u Usage) Money {
	const million = 1_000_000
	hi, lo := uint64(0), uint64(million/2)
	for _, part := range [...]struct {
		tokens int64
		price  Money
	}{
		{u.InputTokens - u.CachedInputTokens - u.CacheWriteTokens, p.Input},
		{u.CachedInputTokens, p.CachedInput},
		{u.CacheWriteTokens, p.CacheWrite},
		{u.OutputTokens, p.Output},
	} {
		h, l := bits.Mul64(uint64(max(part.tokens, 0)), uint64(max(part.price, 0)))
		var carry uint64
		lo, carry = bits.Add64(lo, l, 0)
		hi, _ = bits.Add64(hi, h, carry)
	}
	if hi >= million {
		return math.MaxInt64
	}
	cost, _ := bits.Div64(hi, lo, million)
	return Money(min(cost, math.MaxInt64))
}

// FromUSD is an amount of dollars to the nano-dollar below. Amounts too large to
// count, and the smallest that is not nothing, keep their meaning: a limit that
// never binds, and one that always does.
func FromUSD(usd float64) Money {
	nanos := usd * float64(Dollar)
	switch {
	case nanos >= math.MaxInt64:
		return math.MaxInt64
	case nanos > 0 && nanos < 1:
		return 1
	default:
		return Money(nanos)
	}
}
