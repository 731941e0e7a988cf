package model

import (
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func rates(input, cachedInput, cacheWrite, output Money) Price {
	return Price{Input: input, CachedInput: cachedInput, CacheWrite: cacheWrite, Output: output}
}

func TestDefaultPrices(t *testing.T) {
	t.Parallel()
	prices, err := DefaultPrices()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		price Price
		known bool
	}{
		{"openai/gpt-4o-mini", rates(150_000_000, 75_000_000, 150_000_000, 600_000_000), true},
		{"openai/gpt-4o-mini-2024-07-18", rates(150_000_000, 75_000_000, 150_000_000, 600_000_000), true},
		{"openai/gpt-4o-mini-20240718", rates(150_000_000, 75_000_000, 150_000_000, 600_000_000), true},
		{"openai/gpt-4o-2024-08-06", rates(2500_000_000, 1250_000_000, 2500_000_000, 10*Dollar), true},
		{"openai/gpt-4o-2024-05-13", rates(5*Dollar, 5*Dollar, 5*Dollar, 15*Dollar), true},
		{"openai/gpt-5-nano", rates(50_000_000, 5_000_000, 50_000_000, 400_000_000), true},
		{"openai/gpt-6-sol", rates(2*Dollar, 200_000_000, 2500_000_000, 10*Dollar), true},
		{"anthropic/claude-haiku-5-5", rates(100_000_000, 10_000_000, 125_000_000, 500_000_000), true},
		{"anthropic/claude-haiku-4-5-20251001", rates(Dollar, 100_000_000, 1250_000_000, 5*Dollar), true},
		{"anthropic/claude-opus-4-20250514", rates(15*Dollar, 1500_000_000, 18_750_000_000, 75*Dollar), true},
		{"anthropic/claude-3-5-haiku-latest", rates(800_000_000, 80_000_000, Dollar, 4*Dollar), true},
		{"gemini/gemini-2.5-flash", rates(300_000_000, 30_000_000, 300_000_000, 2500_000_000), true},
		{"gemini/gemini-3.1-pro-preview", rates(2*Dollar, 2*Dollar, 2*Dollar, 12*Dollar), true},
		{"openai/text-embedding-3-small", rates(20_000_000, 20_000_000, 20_000_000, 0), true},
		{"gemini/gemini-flash-latest", Price{}, false},
		{"-latest", Price{}, false},
		{OfflineName, Price{}, true},
		{"gpt-4o-mini", Price{}, false},
		{"openai/gpt-4o-mini-audio", Price{}, false},
		{"openai/gpt-4o-mini-2024-07-1x", Price{}, false},
		{"2024-07-18", Price{}, false},
		{"-2024-07-18", Price{}, false},
		{"", Price{}, false},
	}
	for _, tt := range tests {
		if price, known := prices.Lookup(tt.name); price.At(0) != tt.price || known != tt.known {
			t.Errorf("Lookup(%q) = %+v, %v; want %+v, %v", tt.name, price, known, tt.price, tt.known)
		}
	}
	for name, price := range prices {
		if price.CachedInput > price.Input {
			t.Errorf("%s: cached input costs more than input", name)
		}
		embeds := strings.Contains(name, "embedding") // and so writes nothing
		if price.CacheWrite < price.Input || price.Output < price.Input && !embeds || price.Output > 0 && embeds {
			t.Errorf("%s: to write, tokens or the cache, costs less than to read", name)
		}
		if provider, _, _ := strings.Cut(name, "/"); !slices.Contains([]string{"openai", "anthropic", "gemini", OfflineName}, provider) {
			t.Errorf("%s: the provider has another name", name)
		}
	}
}

func TestPriceOfALine(t *testing.T) {
	t.Parallel()
	got, err := priceText{Input: "3", CachedInput: "0.30", CacheWrite: "3.75", Output: "15"}.price()
	if want := rates(3*Dollar, 300_000_000, 3_750_000_000, 15*Dollar); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for field, text := range map[string]priceText{
		"input":        {Output: "1"},
		"output":       {Input: "1"},
		"cached_input": {Input: "1", Output: "1", CachedInput: "free"},
		"cache_write":  {Input: "1", Output: "1", CacheWrite: "-1"},
	} {
		if _, err := text.price(); err == nil || !strings.HasPrefix(err.Error(), field+":") {
			t.Errorf("%+v: error %v does not name %s", text, err, field)
		}
	}
}

func TestParseUSD(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Money{
		"0": 0, "0.0": 0, "12": 12 * Dollar, "0.15": 150_000_000, "0.1": 100_000_000,
		"0.000000001": 1, "007.50": 7_500_000_000, "1000000000": 1e9 * Dollar,
	} {
		if got, err := ParseUSD(text); err != nil || got != want {
			t.Errorf("ParseUSD(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", ".", ".5", "5.", "-1", "+1", "1e3", "1,000", " 1", "1 ", "$1", "0x1", "1_0", "NaN", "٣",
		"1.2.3", "0.0000000001", "1000000000.000000001", strings.Repeat("9", 100),
	} {
		if got, err := ParseUSD(text); err == nil {
			t.Errorf("ParseUSD(%q) = %d, want an error", text, got)
		}
	}
}

// The cost is exact to the nano-dollar for all that fits, and never wraps.
func TestALongPromptCostsMore(t *testing.T) {
	t.Parallel()
	prices, err := DefaultPrices()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		model string
		usage Usage
		want  Money
	}{
		{"gemini/gemini-2.5-pro", Usage{InputTokens: 200_000, OutputTokens: 1000}, 260 * Dollar / 1000},
		{"gemini/gemini-2.5-pro", Usage{InputTokens: 200_001, OutputTokens: 1000}, 515_002_500},
		{"gemini/gemini-2.5-pro", Usage{InputTokens: 300_000, CachedInputTokens: 300_000}, 75 * Dollar / 1000},
		{"openai/gpt-6-sol", Usage{InputTokens: 272_000}, 544 * Dollar / 1000},
		{"openai/gpt-6-sol", Usage{InputTokens: 273_000, CacheWriteTokens: 273_000, OutputTokens: 1000}, 1380 * Dollar / 1000},
		{"openai/gpt-5.4-mini", Usage{InputTokens: 300_000}, 225 * Dollar / 1000},
	} {
		price, known := prices.Lookup(tt.model)
		if got := price.Cost(tt.usage); !known || got != tt.want {
			t.Errorf("%s: %+v cost %s, want %s", tt.model, tt.usage, got, tt.want)
		}
	}
	for name, price := range prices {
		if long := price.Above; long.Tokens != 0 && (long.Input <= price.Input || long.Output <= price.Output || long.CachedInput > long.Input) {
			t.Errorf("%s: a long prompt costs %+v, a short one %+v", name, long, price)
		}
	}
	if _, err := (priceText{Input: "1", Output: "1", Above: &priceText{Input: "1", Output: "2"}}).price(); err == nil {
		t.Error("a price above no number of tokens is taken")
	}
}

func TestCostIsExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		amount := rapid.OneOf(rapid.Int64Range(0, 1e6), rapid.Int64Range(0, math.MaxInt64))
		p := rates(Money(amount.Draw(t, "input")), Money(amount.Draw(t, "cached")), Money(amount.Draw(t, "write")), Money(amount.Draw(t, "output")))
		plain, cached, write, output := amount.Draw(t, "n")/4, amount.Draw(t, "c")/4, amount.Draw(t, "w")/4, amount.Draw(t, "o")
		u := Usage{InputTokens: plain + cached + write, CachedInputTokens: cached, CacheWriteTokens: write, OutputTokens: output}

		sum := big.NewInt(500_000)
		for _, part := range [][2]int64{{plain, int64(p.Input)}, {cached, int64(p.CachedInput)}, {write, int64(p.CacheWrite)}, {output, int64(p.Output)}} {
			sum.Add(sum, new(big.Int).Mul(big.NewInt(part[0]), big.NewInt(part[1])))
		}
		want := int64(math.MaxInt64)
		if sum.Div(sum, big.NewInt(1_000_000)).IsInt64() {
			want = sum.Int64()
		}
		if got := p.Cost(u); int64(got) != want {
			t.Fatalf("%+v of %+v cost %d, want %d", u, p, got, want)
		}
	})
}

func TestCostOfWhatCannotBeIsNotNegative(t *testing.T) {
	t.Parallel()
	p := rates(Dollar, Dollar, Dollar, Dollar)
	if got := p.Cost(Usage{InputTokens: 1, CachedInputTokens: 2_000_000, OutputTokens: -5}); got != 2*Dollar {
		t.Errorf("cost %d, want what the cached tokens cost", got)
	}
}

func FuzzParseUSD(f *testing.F) {
	for _, seed := range []string{"0.15", "1000000000", "0.0000000001", ".", "1e9"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseUSD(text)
		if err != nil {
			return
		}
		want, ok := new(big.Rat).SetString(text)
		if !ok || want.Mul(want, big.NewRat(int64(Dollar), 1)).Cmp(big.NewRat(int64(got), 1)) != 0 {
			t.Errorf("ParseUSD(%q) = %d, exactly %v", text, got, want)
		}
	})
}
