package tool

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/cockroachdb/apd/v3"
	"pgregory.net/rapid"
)

func TestCalculator(t *testing.T) {
	t.Parallel()
	for topic, cases := range map[string]map[string]string{
		"decimals are exact": {
			"0.1 + 0.2": "0.3", "1.1 * 1.1": "1.21", "10 / 4": "2.5", "0.3 - 0.1": "0.2", "19.99 * 3": "59.97",
			"1.005 * 100": "100.5", "2^-3": "0.125", "123456789012.345 + 0.005": "123456789012.35",
		},
		"integers are exact": {
			"2^200":                 "1606938044258990275541962092341162602522202993782792835301376",
			"123456789 * 987654321": "121932631112635269", "10^20 + 1": "100000000000000000001",
			"25!": "15511210043330985984000000", "100!/99!": "100", "7^300 % 10": "1", "10^300 % 7": "1", "2^300 - 2^300 + 1": "1",
		},
		"whole numbers made of rounded ones are exact": {
			"floor(10/3) - 3 + 2^200": "1606938044258990275541962092341162602522202993782792835301376",
			"round(10/3) - 3 + 2^200": "1606938044258990275541962092341162602522202993782792835301376",
			"sqrt(4) - 2 + 2^200":     "1606938044258990275541962092341162602522202993782792835301376",
			"(-2)^(1/3*3)":            "-2",
		},
		"the rest is rounded to 34 digits": {
			"1/3": "0." + strings.Repeat("3", 34), "2/3": "0." + strings.Repeat("6", 33) + "7",
			"2^0.5": "1.414213562373095048801688724209698", "1.05^30": "4.321942375150662009157288198886473",
			"1e40/3": "3." + strings.Repeat("3", 33) + "e39", "449!": "3.851930518028072576321584769121288e997",
		},
		"rounding does not show": {
			"1/3*3": "1", "1/3*3 - 1": "0", "1/3 + 1/3 + 1/3": "1", "sqrt(2)^2": "2", "sqrt(2)^2 - 2": "0", "27^(1/3)": "3",
			"log(1000)": "3", "log(8, 2)": "3", "floor(1/3*3)": "1", "ceil(1/3*3)": "1", "1/3*3 % 1": "0", "(1/49*49)!": "1",
			"sin(pi)": "0", "cos(pi/2)": "0", "sin(pi/6)": "0.5", "tan(pi/4)": "1", "ln(e)": "1", "e^(ln(5))": "5", "sqrt(2)^2*100": "200",
		},
		"precedence": {
			"2 + 3 * 4": "14", "(2 + 3) * 4": "20", "2 * 3 ^ 2": "18", "-2^2": "-4", "(-2)^2": "4", "2^-1": "0.5", "2^3^2": "512",
			"10 - 4 - 3": "3", "100 / 10 / 5": "2", "-3!": "-6", "2^3!": "64", "3!!": "720", "2 - -3": "5", "- - 5": "5", "+5": "5", "2*-3": "-6",
			"8 / 2 * (2 + 2)": "16", "-7 % 3": "2",
		},
		"percent and remainder": {
			"15%": "0.15", "200 * 15%": "30", "100 + 10%": "100.1", "50% - 3": "-2.5", "10 % 3": "1", "10%3": "1", "5.5 % 2": "1.5",
			"7 % (-3)": "-2", "-7 % (-3)": "-1", "6 % 3": "0", "2^50% - 2^0.5": "0", "(5%)": "0.05", "10 %(4)": "2", "0.1%": "0.001",
			"1 % (1/3)": "0", "2 % (2/3)": "0", "1e20 % (1/3)": "0", "-1 % (1/3)": "0", "5 % (2/3)": "0." + strings.Repeat("3", 34),
			"-5 % (2/3)": "0." + strings.Repeat("3", 34), "5 % (-2/3)": "-0." + strings.Repeat("3", 34), "(22/7) % 1": "0.1428571428571428571428571428571429",
		},
		"other ways to write it": {
			"2 ** 10": "1024", "3 × 4 ÷ 2 − 1": "5", "3·4": "12", "PI": "3.141592653589793238462643383279503", "2*π": "6.283185307179586476925286766559006",
			"Sqrt(16)": "4", " 1\n+\t1 ": "2", ".5": "0.5", "2.": "2", "1E3": "1000", "1e+3": "1000", "1.5e-3": "0.0015", "007": "7",
		},
		"functions": {
			"abs(-5)": "5", "sqrt(0.25)": "0.5", "sqrt(2^200)": "1267650600228229401496703205376", "sqrt(0)": "0", "cbrt(-27)": "-3",
			"exp(0)": "1", "exp(1) - e": "0", "ln(1)": "0", "log2(1024)": "10", "log10(0.001)": "-3", "ln(1+1e-70)": "1e-70",
			"sin(0)": "0", "cos(0)": "1", "sin(1)": "0.841470984807896506652502321630299", "cos(3)": "-0.9899924966004454572715727947312613",
			"sin(3)": "0.1411200080598672221007448028081103", "sin(4)": "-0.7568024953079282513726390945118291", "sin(-4)": "0.7568024953079282513726390945118291", "sin(6)": "-0.2794154981989258728115554466118948", "cos(-3)": "-0.9899924966004454572715727947312613", "cos(4)": "-0.6536436208636119146391681830977504", "cos(5)": "0.2836621854632262644666391715135573", "cos(-6)": "0.9601702866503660205456522979229244",
			"sin(1e-300)": "1e-300", "sin(1e29)": "0.9999592845984057657235009127974792", "sin(1e20*pi)": "0",
			"floor(-1.5)": "-2", "ceil(-1.5)": "-1", "ceil(1.2)": "2", "floor(7)": "7",
			"round(2.5)": "3", "round(-2.5)": "-3", "round(1.005, 2)": "1.01", "round(1234, -2)": "1200", "round(1.2, 5)": "1.2",
			"round(2^300/2 + 0.3) - 2^299": "0", "min(3, 1, 2)": "1", "max(3, 1, 2)": "3", "max(1)": "1", "max(100,200)": "200", "0!": "1",
		},
		"how results are written": {
			"-0": "0", "0 * -5": "0", "1.500": "1.5", "100 * 1.0": "100", "1e20": "100000000000000000000", "1e21": "1e21", "1.5e25": "1.5e25",
			"-1e30": "-1e30", "0.00001": "0.00001", "1e-20": "0.00000000000000000001", "1e-21": "1e-21", "-12e-30": "-1.2e-29", "1e400": "1e400", "0e99": "0",
			"12345678901234567890123456789012345678.5": "1.234567890123456789012345678901235e37",
		},
		"the edges": {
			"1e999": "1e999", "1e-999": "1e-999", "0^0": "1", "0^5": "0", "0^0.5": "0", "(-0)^0.5": "0", "sqrt(-0)": "0", "0 % (-3)": "0", "(1-1e-15)^1e15": "0.3678794411714421376558031844402234",
			"1e-999 * 1e999": "1", "exp(1e-999)": "1", "1e999 % 7": "6", strings.Repeat("0e-998*", 140) + "1": "0", strings.Repeat("(", 99) + "1" + strings.Repeat(")", 99): "1",
		},
	} {
		t.Run(topic, func(t *testing.T) {
			t.Parallel()
			for expression, want := range cases {
				if got, err := evaluate(expression); err != nil || got != want {
					t.Errorf("%s = %q, %v; want %q", expression, got, err, want)
				}
			}
		})
	}
}

func TestCalculatorRefuses(t *testing.T) {
	t.Parallel()
	for topic, cases := range map[string]map[string]string{
		"what is no expression": {
			"":          "unexpected end of the expression: expected a number, a function or '('",
			"1 +":       "unexpected end of the expression: expected a number, a function or '('",
			"(1 + 2":    "unexpected end of the expression: expected an operator or ')'",
			"1 + 2)":    "unexpected ')' at position 6: expected an operator",
			"2 3":       "unexpected '3' at position 3: expected an operator",
			"2(3)":      "unexpected '(' at position 2: expected an operator",
			"2pi":       "unexpected 'pi' at position 2: expected an operator",
			"2 *** 3":   "unexpected '*' at position 5: expected a number, a function or '('",
			"× 2":       "unexpected '×' at position 1: expected a number, a function or '('",
			"3 x 4":     "unexpected 'x' at position 3: expected an operator",
			"1..2":      "unexpected '.2' at position 3: expected an operator",
			".":         "unexpected '.' at position 1: a number needs a digit",
			"3e":        "unexpected 'e' at position 2: expected an operator",
			"$5":        "unexpected '$' at position 1",
			"1 = 1":     "unexpected '=' at position 3",
			"1,000 + 1": "unexpected ',' at position 2: expected an operator (write numbers without thousands separators)",
			"1_000":     "unexpected '_000' at position 2: expected an operator",
			"1\x1b":     `unexpected '\x1b' at position 2`,
			"\xff":      "unexpected '\uFFFD' at position 1",
		},
		"functions it does not have or that are called wrongly": {
			"system(1)":    "unknown name 'system' at position 1: the functions are abs,",
			"sin 5":        "unexpected '5' at position 5: expected '(' after sin",
			"sqrt()":       "unexpected ')' at position 6: expected a number",
			"sqrt(1, 2)":   "'sqrt' at position 1 takes 1 argument, not 2",
			"round(1,2,3)": "'round' at position 1 takes 1 to 2 arguments, not 3",
			"max(1,)":      "unexpected ')' at position 7",
			"round(1,0.5)": "round needs a whole number of decimals from -999 to 999 at position 1",
			"round(1,1e9)": "round needs a whole number of decimals",
		},
		"what has no value": {
			"1 / 0": "division by zero at position 3", "5 % 0": "division by zero at position 3", "0^-1": "division by zero at position 2",
			"1/(1/3*3-1)": "division by zero at position 2", "sqrt(-1)": "no real square root", "(-8)^(1/3)": "no real power",
			"ln(0)": "the logarithm needs a number above 0 at position 1", "log(-1)": "above 0", "log(5, 1)": "base cannot be 1", "log(5, 0)": "above 0",
			"tan(pi/2)": "the tangent has no value here", "(1/2)!": "whole number of 0 or more", "(-1)!": "whole number of 0 or more",
		},
		"what is out of bounds": {
			"9^9^9^9": "too large (1e1000 or more) at position 4", "9^9^9": "too large", "10^1000": "too large", "1e1000": "too large", "-1e1000": "too large",
			"1e99999999999999999999": "too large", "1e-99999999999999999999": "too close to zero", "450!": "too large", "1e30!": "too large",
			"exp(2303)": "too large", "exp(1e500)": "too large", "exp(-3000)": "too close to zero", "1e999 * 10": "too large",
			"0.1^1000000": "too close to zero", "0.1^-1000000": "too large", "10^-1000000": "too close to zero", "1e-999 / 10": "too close to zero",
			"1.1^1e16": "the exponent is too large", "sin(1e30)": "the angle is too large",
			"1e999 % 1e-9": "too large for its remainder", "(1e60/7) % 3": "too large for its remainder",
			strings.Repeat("(", 101) + "1":          "more than 100 levels deep at position 101",
			strings.Repeat("-", 500) + "1":          "more than 100 levels deep",
			strings.Repeat("2^", 200) + "1":         "more than 100 levels deep",
			strings.Repeat("sqrt(", 150) + "1":      "more than 100 levels deep",
			strings.Repeat("1+", 500) + "1":         "the expression has 1001 characters, at most 1000 are allowed",
			strings.Repeat("\U0001F600", 1_000_000): "the expression has 1000000 characters",
		},
	} {
		t.Run(topic, func(t *testing.T) {
			t.Parallel()
			for expression, says := range cases {
				got, err := evaluate(expression)
				if err == nil || !strings.Contains(err.Error(), says) {
					t.Errorf("%.40q = %q, %v; want an error that says %q", expression, got, err, says)
				}
			}
		})
	}
}

func TestCalculatorTakesAnExpression(t *testing.T) {
	t.Parallel()
	calculator, _ := Builtin("calculator")
	if got, err := calculator.Call(t.Context(), `{"expression": "6 * 7"}`); err != nil || got != "42" {
		t.Errorf("got %q, %v", got, err)
	}
	_, err := calculator.Call(t.Context(), `{"expression": "1/0"}`)
	wantError(t, err, Failed, "division by zero at position 2")
	_, err = calculator.Call(t.Context(), `{"expression": 5}`)
	if failure := asError(t, err); failure.Type != InvalidArguments {
		t.Errorf("a number for an expression: got %v, want it refused", failure)
	}
}

func TestConstants(t *testing.T) {
	t.Parallel()
	c := apd.BaseContext.WithPrecision(120)
	ed := apd.MakeErrDecimal(c)
	// Machin's formula: pi = 16 arctan(1/5) - 4 arctan(1/239).
	arctanOfInverse := func(n int64) *apd.Decimal {
		power, sum := new(apd.Decimal), new(apd.Decimal)
		ed.Quo(power, apd.New(1, 0), apd.New(n, 0))
		for k := int64(1); k < 200; k += 2 {
			term := new(apd.Decimal)
			ed.Quo(term, power, apd.New(k, 0))
			ed.Add(sum, sum, term)
			ed.Quo(power, power, apd.New(-n*n, 0))
		}
		return sum
	}
	pi, e := new(apd.Decimal), new(apd.Decimal)
	ed.Mul(pi, apd.New(16, 0), arctanOfInverse(5))
	ed.Sub(pi, pi, ed.Mul(new(apd.Decimal), apd.New(4, 0), arctanOfInverse(239)))
	ed.Exp(e, apd.New(1, 0))
	if ed.Err() != nil {
		t.Fatal(ed.Err())
	}
	for known, computed := range map[string]*apd.Decimal{piDigits: pi, eDigits: e} {
		if got := computed.Text('f'); !strings.HasPrefix(got, known[:len(known)-1]) {
			t.Errorf("%s is not the beginning of %s", known, got)
		}
	}
}

// ratio is an expression and its value in rational numbers; nil if it has none.
type ratio struct {
	text  string
	value *big.Rat
}

func ratios(depth int) *rapid.Generator[ratio] {
	literal := rapid.Custom(func(t *rapid.T) ratio {
		whole, decimals := rapid.Int64Range(0, 999_999).Draw(t, "whole"), rapid.IntRange(0, 3).Draw(t, "decimals")
		text := fmt.Sprintf("%de-%d", whole, decimals)
		value, _ := new(big.Rat).SetString(text)
		return ratio{text, value}
	})
	if depth == 0 {
		return literal
	}
	operation := rapid.Custom(func(t *rapid.T) ratio {
		x, y := ratios(depth-1).Draw(t, "x"), ratios(depth-1).Draw(t, "y")
		op := rapid.SampledFrom([]string{"+", "-", "*", "/"}).Draw(t, "operator")
		return ratio{"(" + x.text + op + y.text + ")", calculate(op, x.value, y.value)}
	})
	return rapid.OneOf(literal, operation)
}

func calculate(op string, x, y *big.Rat) *big.Rat {
	z := new(big.Rat)
	switch {
	case x == nil || y == nil || op == "/" && y.Sign() == 0:
		return nil
	case op == "+":
		return z.Add(x, y)
	case op == "-":
		return z.Sub(x, y)
	case op == "*":
		return z.Mul(x, y)
	default:
		return z.Quo(x, y)
	}
}

func TestCalculatorAgreesWithRationalNumbers(t *testing.T) {
	t.Parallel()
	tolerance := big.NewRat(1, 1)
	tolerance.SetString("5.1e-34")
	rapid.Check(t, func(t *rapid.T) {
		want := ratios(4).Draw(t, "expression")
		got, err := evaluate(want.text)
		if want.value == nil {
			if err == nil || !strings.Contains(err.Error(), "division by zero") {
				t.Fatalf("%s = %q, %v; want a division by zero", want.text, got, err)
			}
			return
		}
		value, ok := new(big.Rat).SetString(got)
		if err != nil || !ok {
			t.Fatalf("%s = %q, %v; want %s", want.text, got, err, want.value.FloatString(40))
		}
		off := new(big.Rat).Sub(value, want.value)
		if off.Abs(off).Cmp(new(big.Rat).Mul(tolerance, new(big.Rat).Abs(want.value))) > 0 {
			t.Fatalf("%s = %s, want %s", want.text, got, want.value.FloatString(40))
		}
	})
}

func TestCalculatorIsExactOnIntegers(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		integers := rapid.Custom(func(t *rapid.T) *big.Int {
			n, _ := new(big.Int).SetString(rapid.StringMatching(`-?[0-9]{1,60}`).Draw(t, "digits"), 10)
			return n
		})
		x, y, z := integers.Draw(t, "x"), integers.Draw(t, "y"), integers.Draw(t, "z")
		expression := fmt.Sprintf("%s * (%s) - (%s)", x, y, z)
		want := new(big.Int).Mul(x, y)
		want.Sub(want, z)
		if z.Sign() != 0 {
			expression = fmt.Sprintf("(%s) %% (%s)", expression, z)
			quotient := new(big.Int)
			// Euclid's remainder is never negative; the calculator's has the divisor's sign.
			if quotient.DivMod(want, z, want); z.Sign() < 0 && want.Sign() != 0 {
				want.Add(want, z)
			}
		}
		got, err := evaluate(expression)
		value, ok := new(big.Rat).SetString(got)
		if err != nil || !ok || value.Cmp(new(big.Rat).SetInt(want)) != 0 {
			t.Fatalf("%s = %q, %v; want %s", expression, got, err, want)
		}
	})
}

func FuzzCalculator(f *testing.F) {
	for _, seed := range []string{
		"1/3*3-1", "9^9^9^9", "0.1^-1000000", "-2^2!%", "10 % 3", "50% - 3", "round(1/7, 3)", "max(1,2,3)", "sin(1e20*pi)", "tan(pi/2)",
		"log(8,2)", "(1+1e-15)^1e15", "449!", "1e999%1e-999", "cbrt(1e-999)", "3 × 4 ÷ 2 − 1", "exp(2302)-exp(2301)", "1e-999^0.5", "1.e5", "e^e", "((((",
	} {
		f.Add(seed)
	}
	calculator, _ := Builtin("calculator")
	f.Fuzz(func(t *testing.T, expression string) {
		p := parser{scanner: scanner{input: []rune(expression)}}
		if len(p.scanner.input) <= maxExpression {
			if result, err := p.parse(); err == nil && (result.decimal.NumDigits() > exactDigits || !result.decimal.IsZero() && result.magnitude() > maxExponent) {
				t.Fatalf("%q has a result that is out of bounds", expression)
			}
		}
		if p.nesting != 0 {
			t.Fatalf("%q leaves %d levels open", expression, p.nesting)
		}
		got, err := evaluate(expression)
		if err != nil {
			_, err := calculator.Call(t.Context(), fmt.Sprintf(`{"expression": %s}`, quoted(t, expression)))
			if failure := asError(t, err); failure.Type != Failed || len(failure.Message) > MaxMessage {
				t.Fatalf("%q fails with %v", expression, failure)
			}
			return
		}
		if len(got) > shownInteger+1 {
			t.Fatalf("%q has a result of %d characters", expression, len(got))
		}
		again, err := evaluate(got)
		if err != nil || !sameValue(got, again) {
			t.Fatalf("%q = %q, which is itself read as %q, %v", expression, got, again, err)
		}
	})
}

func quoted(t *testing.T, text string) string {
	t.Helper()
	encoded, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

func sameValue(x, y string) bool {
	a, _, errA := apd.NewFromString(x)
	b, _, errB := apd.NewFromString(y)
	return errA == nil && errB == nil && a.Cmp(b) == 0
}
