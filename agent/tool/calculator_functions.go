package tool

import (
	"errors"
	"fmt"
	"math"

	"github.com/cockroachdb/apd/v3"
)

// function is one that an expression may call, with least to most arguments.
type function struct {
	least, most int
	apply       func(args []number) (number, error)
}

const functionNames = "abs, cbrt, ceil, cos, exp, floor, ln, log, log10, log2, max, min, round, sin, sqrt, tan"

func functionNamed(name string) (function, bool) {
	switch name {
	case "abs":
		return unary(absolute), true
	case "cbrt":
		return unary(func(x number) (number, error) { return approximate((*apd.Context).Cbrt, x) }), true
	case "ceil":
		return unary(func(x number) (number, error) { return toInteger((*apd.Context).Ceil, x) }), true
	case "cos":
		return unary(cosine), true
	case "exp":
		return unary(func(x number) (number, error) { return approximate((*apd.Context).Exp, x) }), true
	case "floor":
		return unary(func(x number) (number, error) { return toInteger((*apd.Context).Floor, x) }), true
	case "ln":
		return unary(naturalLog), true
	case "log":
		return function{1, 2, logarithm}, true
	case "log10":
		return unary(func(x number) (number, error) { return logarithm([]number{x}) }), true
	case "log2":
		return unary(func(x number) (number, error) { return logarithm([]number{x, integer(2)}) }), true
	case "max":
		return function{1, math.MaxInt, func(args []number) (number, error) { return extreme(args, 1), nil }}, true
	case "min":
		return function{1, math.MaxInt, func(args []number) (number, error) { return extreme(args, -1), nil }}, true
	case "round":
		return function{1, 2, round}, true
	case "sin":
		return unary(sine), true
	case "sqrt":
		return unary(squareRoot), true
	case "tan":
		return unary(tangent), true
	default:
		return function{}, false
	}
}

func unary(apply func(number) (number, error)) function {
	return function{1, 1, func(args []number) (number, error) { return apply(args[0]) }}
}

func (f function) arity() string {
	switch f.most {
	case 1:
		return "1 argument"
	case math.MaxInt:
		return fmt.Sprintf("%d or more arguments", f.least)
	default:
		return fmt.Sprintf("%d to %d arguments", f.least, f.most)
	}
}

// approximate does one of apd's operations whose results are hardly ever exact.
func approximate(op func(c *apd.Context, result, x *apd.Decimal) (apd.Condition, error), x number) (number, error) {
	d := new(apd.Decimal)
	flags, err := op(digits(roundedDigits), d, x.settled().decimal)
	return made(d, false, flags, err)
}

func toInteger(op func(c *apd.Context, result, x *apd.Decimal) (apd.Condition, error), x number) (number, error) {
	x = x.settled()
	d := new(apd.Decimal)
	flags, err := op(digits(exactDigits), d, x.decimal)
	return made(d, x.exact || x.magnitude() < settledDigits, flags, err)
}

func absolute(x number) (number, error) {
	return number{decimal: new(apd.Decimal).Abs(x.decimal), exact: x.exact}, nil
}

func squareRoot(x number) (number, error) {
	if x.decimal.Negative {
		return number{}, errors.New("a negative number has no real square root")
	}
	root, err := approximate((*apd.Context).Sqrt, x)
	if err != nil {
		return number{}, err
	}
	whole := number{decimal: root.roundedTo(settledDigits), exact: x.exact}
	if square, err := multiply(whole, whole); err == nil && square.exact && square.decimal.Cmp(x.decimal) == 0 {
		return whole, nil
	}
	return root, nil
}

func naturalLog(x number) (number, error) {
	if x.decimal.Sign() <= 0 {
		return number{}, errors.New("the logarithm needs a number above 0")
	}
	return approximate((*apd.Context).Ln, x)
}

// logarithm is to base 10 unless a second argument names another.
func logarithm(args []number) (number, error) {
	base := integer(10)
	if len(args) > 1 {
		base = args[1]
	}
	dividend, err := naturalLog(args[0])
	if err != nil {
		return number{}, err
	}
	divisor, err := naturalLog(base)
	if err != nil {
		return number{}, err
	}
	if divisor.decimal.IsZero() {
		return number{}, errors.New("a logarithm's base cannot be 1")
	}
	return divide(dividend, divisor)
}

// extreme is the greatest of args for sign 1 and the least for -1.
func extreme(args []number, sign int) number {
	best := args[0]
	for _, arg := range args[1:] {
		if arg.decimal.Cmp(best.decimal) == sign {
			best = arg
		}
	}
	return best
}

// round rounds half away from zero, to a whole number or to the decimals that a
// second argument says; below 0 they count from the point to the left.
func round(args []number) (number, error) {
	x, decimals := args[0].settled(), int64(0)
	if len(args) == 2 {
		n := args[1].settled()
		count, err := n.decimal.Int64()
		if err != nil || count < -maxExponent || count > maxExponent {
			return number{}, fmt.Errorf("round needs a whole number of decimals from %d to %d", -maxExponent, maxExponent)
		}
		decimals = count
	}
	kept, err := x.droppedBelow(-decimals)
	kept.exact = x.exact || x.magnitude()+decimals < settledDigits
	return kept, err
}
