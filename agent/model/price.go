package model

import (
	"math"
	"math/bits"
	"strconv"
)

// Money is an amount of US dollars in billionths of a dollar (nano-dollars).
// Sums of it are exact.
type Money int64

// Dollar is one US dollar.
const Dollar Money = 1_000_000_000

// USD is the amount in dollars, for the wire; exact to the nano-dollar below
// nine million dollars.
func (m Money) USD() float64 { return float64(m) / float64(Dollar) }

// String writes the amount with as many digits as it needs: $0.05.
func (m Money) String() string { return "$" + strconv.FormatFloat(m.USD(), 'f', -1, 64) }

// Price is what a model's tokens cost, each in nano-dollars a million tokens.
type Price struct {
	Input       Money
	CachedInput Money
	CacheWrite  Money
	Output      Money
	// Above is the price of calls with a long input.
	Above LongPrice
}

// LongPrice is what all tokens of a call cost that reads more than Tokens; it
// is none where Tokens is 0.
type LongPrice struct {
	Tokens      int64
	Input       Money
	CachedInput Money
	CacheWrite  Money
	Output      Money
}

// WhenAbove makes long the price of calls that read more than tokens.
func (p Price) WhenAbove(tokens int64, long Price) Price {
	p.Above = LongPrice{
		Tokens: tokens, Input: long.Input, CachedInput: long.CachedInput, CacheWrite: long.CacheWrite, Output: long.Output,
	}
	return p
}

// At is the price of a call that reads input tokens, whatever it is of others.
func (p Price) At(input int64) Price {
	long := p.Above
	if long.Tokens > 0 && input > long.Tokens {
		return Price{Input: long.Input, CachedInput: long.CachedInput, CacheWrite: long.CacheWrite, Output: long.Output}
	}
	p.Above = LongPrice{}
	return p
}

// Cost is the price of a call's tokens, rounded half up to a nano-dollar once.
// What is too much for Money costs the most that Money holds, so that no
// budget is passed by overflow; negative tokens cost nothing.
func (p Price) Cost(u Usage) Money {
	p = p.At(u.InputTokens)
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

// Worst is the most that a call can cost which reads up to input tokens, at
// their dearest, and says output tokens.
func (p Price) Worst(input, output int64) Money {
	return p.worst(input).Cost(Usage{InputTokens: input, OutputTokens: output})
}

// worst is the dearest price of a call that reads up to input tokens, of which
// Input is the dearest of all that is read.
func (p Price) worst(input int64) Price {
	short, long := p.At(0), p.At(input)
	return Price{
		Input:  max(short.Input, short.CachedInput, short.CacheWrite, long.Input, long.CachedInput, long.CacheWrite),
		Output: max(short.Output, long.Output),
	}
}

// Affords is how many output tokens money pays for in a call that reads input
// tokens: the most for which Worst is no more than that; 0 also where the input
// alone costs more. What is free can be had without money.
func (p Price) Affords(money Money, input int64) int64 {
	const million = 1_000_000
	worst := p.worst(input)
	switch {
	case worst.Input <= 0 && worst.Output <= 0:
		return math.MaxInt64
	case money < 0 || p.Worst(input, 0) > money:
		return 0
	case worst.Output <= 0:
		return math.MaxInt64
	}
	// A cost rounds to money at most if its millionths are less than half a
	// nano-dollar above it.
	hi, lo := bits.Mul64(uint64(money), million)
	lo, carry := bits.Add64(lo, million/2-1, 0)
	hi += carry
	inputHi, inputLo := bits.Mul64(uint64(max(input, 0)), uint64(max(worst.Input, 0)))
	lo, borrow := bits.Sub64(lo, inputLo, 0)
	hi, borrow = bits.Sub64(hi, inputHi, borrow)
	if borrow > 0 { // both cost the most that Money holds
		return 0
	}
	if hi >= uint64(worst.Output) {
		return math.MaxInt64
	}
	tokens, _ := bits.Div64(hi, lo, uint64(worst.Output))
	return int64(min(tokens, math.MaxInt64))
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
