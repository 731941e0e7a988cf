package model_test

import (
	"math"
	"testing"

	"github.com/runwire/runwire/agent/model"
	"pgregory.net/rapid"
)

func TestAffordsIsTheMostThatMoneyPaysFor(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		drawn := func(name string) int64 {
			return rapid.OneOf(rapid.Int64Range(0, 1000), rapid.Int64Range(0, math.MaxInt64), rapid.Just(int64(math.MaxInt64))).Draw(rt, name)
		}
		price := model.Price{
			Input: model.Money(drawn("input price")), CachedInput: model.Money(drawn("cached")),
			CacheWrite: model.Money(drawn("write")), Output: model.Money(drawn("output price")),
		}
		if rapid.Bool().Draw(rt, "long prompts have a price") {
			price.Above = model.LongPrice{
				Tokens: drawn("long"), Input: model.Money(drawn("long input price")), CachedInput: model.Money(drawn("long cached")),
				CacheWrite: model.Money(drawn("long write")), Output: model.Money(drawn("long output price")),
			}
		}
		money, input := model.Money(drawn("money")), drawn("input")
		most := price.Affords(money, input)
		if most > 0 && most < math.MaxInt64 && price.Worst(input, most) > money {
			rt.Fatalf("%d tokens cost %d", most, price.Worst(input, most))
		}
		if most < math.MaxInt64 && money < math.MaxInt64 && price.Worst(input, most+1) <= money {
			rt.Fatalf("a token more than %d costs %d", most, price.Worst(input, most+1))
		}
		if most == math.MaxInt64 && money < math.MaxInt64 && price.Worst(input, most) > money {
			rt.Fatal("any number does not cost so little")
		}
	})
}

func TestNoUsageCostsMoreThanTheWorst(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		price := func(name string) model.Money { return model.Money(rapid.Int64Range(0, 1e12).Draw(rt, name)) }
		p := model.Price{Input: price("input"), CachedInput: price("cached"), CacheWrite: price("write"), Output: price("output")}
		p.Above = model.LongPrice{
			Tokens: rapid.Int64Range(0, 1e9).Draw(rt, "long"), Input: price("long input"), CachedInput: price("long cached"),
			CacheWrite: price("long write"), Output: price("long output"),
		}
		u := model.Usage{InputTokens: rapid.Int64Range(0, 1e9).Draw(rt, "read"), OutputTokens: rapid.Int64Range(0, 1e9).Draw(rt, "said")}
		u.CachedInputTokens = rapid.Int64Range(0, u.InputTokens).Draw(rt, "from the cache")
		u.CacheWriteTokens = rapid.Int64Range(0, u.InputTokens-u.CachedInputTokens).Draw(rt, "to the cache")
		if cost, worst := p.Cost(u), p.Worst(u.InputTokens+rapid.Int64Range(0, 1e9).Draw(rt, "counted too many"), u.OutputTokens); cost > worst {
			rt.Fatalf("it costs %d, and at worst %d", cost, worst)
		}
	})
}

func TestMoneyIsReadable(t *testing.T) {
	t.Parallel()
	for money, want := range map[model.Money]string{0: "$0", 5 * model.Dollar: "$5", model.Dollar / 20: "$0.05", 1: "$0.000000001"} {
		if got := money.String(); got != want {
			t.Errorf("%d is %s, want %s", int64(money), got, want)
		}
	}
}
