package model

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
func (p Price) Cost(u Usage) Money {
	plain := u.InputTokens - u.CachedInputTokens - u.CacheWriteTokens
	sum := Money(plain)*p.Input + Money(u.CachedInputTokens)*p.CachedInput +
		Money(u.CacheWriteTokens)*p.CacheWrite + Money(u.OutputTokens)*p.Output
	const million = 1_000_000
	return (sum + million/2) / million
}
