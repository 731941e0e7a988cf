package model

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed prices.yaml
var pricesYAML []byte

// Prices is what models cost, by Model.Name.
type Prices map[string]Price

// DefaultPrices reads the table in the binary. The map is the caller's own.
func DefaultPrices() (Prices, error) {
	var table map[string]priceText
	if err := yaml.Unmarshal(pricesYAML, &table); err != nil {
		return nil, fmt.Errorf("reading the built-in prices: %w", err)
	}
	prices := make(Prices, len(table))
	for name, text := range table {
		price, err := text.price()
		if err != nil {
			return nil, fmt.Errorf("reading the built-in price of %s: %w", name, err)
		}
		prices[name] = price
	}
	return prices, nil
}

// Lookup is the price of a model, or, for a dated snapshot or a -latest that
// has none of its own, of the model that it is one of. False means that nobody
// said.
func (p Prices) Lookup(name string) (Price, bool) {
	price, ok := p[name]
	if !ok {
		price, ok = p[withoutDate(name)]
	}
	return price, ok
}

// withoutDate cuts off a date at a name's end: -2024-07-18, -20240718 or -latest.
func withoutDate(name string) string {
	if model, latest := strings.CutSuffix(name, "-latest"); latest {
		return model
	}
	for _, pattern := range [...]string{"-dddd-dd-dd", "-dddddddd"} {
		at := len(name) - len(pattern)
		if at > 0 && matches(name[at:], pattern) {
			return name[:at]
		}
	}
	return name
}

func matches(text, pattern string) bool {
	for i := range len(pattern) {
		if pattern[i] == 'd' && !isDigit(text[i]) || pattern[i] != 'd' && text[i] != pattern[i] {
			return false
		}
	}
	return true
}

// priceText is a line of the table: US dollars for a million tokens. What is
// missing costs what input does.
type priceText struct {
	Input       string `yaml:"input"`
	CachedInput string `yaml:"cached_input"`
	CacheWrite  string `yaml:"cache_write"`
	Output      string `yaml:"output"`
	// Above is the price of calls with a long input; nil for none.
	Above *priceText `yaml:"above"`
	// Tokens is how many an input must have more of, for the price that is Above.
	Tokens int64 `yaml:"tokens"`
}

func (t priceText) price() (Price, error) {
	var price Price
	for _, field := range []struct {
		name, text, otherwise string
		to                    *Money
	}{
		{"input", t.Input, "", &price.Input},
		{"cached_input", t.CachedInput, t.Input, &price.CachedInput},
		{"cache_write", t.CacheWrite, t.Input, &price.CacheWrite},
		{"output", t.Output, "", &price.Output},
	} {
		if field.text == "" {
			field.text = field.otherwise
		}
		money, err := ParseUSD(field.text)
		if err != nil {
			return Price{}, fmt.Errorf("%s: %w", field.name, err)
		}
		*field.to = money
	}
	if t.Above == nil {
		return price, nil
	}
	long, err := t.Above.price()
	if err != nil || t.Above.Tokens <= 0 {
		return Price{}, fmt.Errorf("above %d tokens: %w", t.Above.Tokens, cmp.Or(err, errors.New("there is none")))
	}
	return price.WhenAbove(t.Above.Tokens, long), nil
}

// ParseUSD reads an amount of US dollars such as "12" or "0.075", exactly: up to a
// billion dollars, up to nine decimals, no sign, no exponent.
func ParseUSD(text string) (Money, error) {
	whole, fraction, point := strings.Cut(text, ".")
	switch {
	case whole == "" || point && fraction == "" || !allDigits(whole) || !allDigits(fraction):
		return 0, fmt.Errorf("%q is no amount of dollars such as 0.15", text)
	case len(fraction) > 9:
		return 0, fmt.Errorf("%q has more than nine decimals", text)
	}
	var nano Money
	for _, digit := range []byte(whole + fraction + "000000000"[len(fraction):]) {
		nano = nano*10 + Money(digit-'0')
		if nano > 1e9*Dollar {
			return 0, errors.New("more than a billion dollars")
		}
	}
	return nano, nil
}

func allDigits(text string) bool {
	for i := range len(text) {
		if !isDigit(text[i]) {
			return false
		}
	}
	return true
}
