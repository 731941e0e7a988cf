package tool

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/cockroachdb/apd/v3"
)

// How many digits numbers have.
const (
	// exactDigits is how many an exact number may have.
	exactDigits = 1000
	// roundedDigits is how many a number has that was rounded, such as 1/3.
	roundedDigits = 60
	// settledDigits are those of a rounded number that can be relied on.
	settledDigits = 50
	// shownDigits are those shown of anything but an exact integer, as many as
	// IEEE 754's decimal128 has.
	shownDigits = 34
	// shownInteger is how many an exact integer may have and be shown in full.
	shownInteger = 200
	// maxPadding is how many zeros are shown rather than an exponent; a longer
	// exact integer may have as many as other digits.
	maxPadding = 20
	// maxExponent bounds a number's power of ten, both ways.
	maxExponent = 999
	// maxPower bounds the exponent of `^`, and so the work. Beyond it only a base
	// within a hair of 1 has a power within the range.
	maxPower = 1e15
)

var (
	errDivisionByZero = errors.New("division by zero")
	errTooLarge       = errors.New("the number is too large (1e1000 or more)")
	errTooSmall       = errors.New("the number is too close to zero (less than 1e-999)")
)

// number is a decimal, and whether it is precisely what was asked for. Exact
// ones have up to exactDigits digits, others roundedDigits. It is not changed
// once made.
type number struct {
	decimal *apd.Decimal
	exact   bool
}

// binary is one of apd's operations on two numbers.
type binary func(c *apd.Context, result, x, y *apd.Decimal) (apd.Condition, error)

// digits computes with so many of them. Its range is wider than that of
// numbers, which made keeps.
func digits(n uint32) *apd.Context {
	c := apd.BaseContext
	c.Precision = n
	c.Rounding = apd.RoundHalfUp
	return &c
}

// made judges what apd has computed: outside of the range it is an error, and
// once rounded it loses the digits that mean nothing.
func made(d *apd.Decimal, exact bool, flags apd.Condition, err error) (number, error) {
	n := number{decimal: d, exact: exact && !flags.Inexact()}
	switch {
	case flags.Overflow() || flags.SystemOverflow():
		return number{}, errTooLarge
	case flags.Underflow() || flags.SystemUnderflow():
		return number{}, errTooSmall
	case err != nil || d.Form != apd.Finite:
		return number{}, errors.New("this cannot be computed")
	case !n.exact:
		n.decimal = n.roundedTo(roundedDigits)
	}
	switch {
	case d.IsZero():
		n.decimal = new(apd.Decimal)
	case n.magnitude() > maxExponent:
		return number{}, errTooLarge
	case n.magnitude() < -maxExponent:
		return number{}, errTooSmall
	}
	return n, nil
}

func parseNumber(text string) (number, error) {
	if _, exponent, ok := strings.Cut(strings.ToLower(text), "e"); ok {
		e, err := strconv.Atoi(exponent)
		switch {
		case strings.HasPrefix(exponent, "-") && (err != nil || e < -2*maxExponent):
			return number{}, errTooSmall
		case err != nil || e > 2*maxExponent:
			return number{}, errTooLarge
		}
	}
	d, flags, err := digits(exactDigits).NewFromString(text)
	return made(d, true, flags, err)
}

func integer(n int64) number { return number{decimal: apd.New(n, 0), exact: true} }

// magnitude is the number's power of ten.
func (n number) magnitude() int64 { return n.decimal.NumDigits() + int64(n.decimal.Exponent) - 1 }

func (n number) negated() number {
	if n.decimal.IsZero() {
		return n
	}
	return number{decimal: new(apd.Decimal).Neg(n.decimal), exact: n.exact}
}

// settled rounds away the digits that cannot be relied on, so that 1/3*3 is 1.
func (n number) settled() number {
	if n.exact {
		return n
	}
	return number{decimal: n.roundedTo(settledDigits)}
}

func (n number) roundedTo(count uint32) *apd.Decimal {
	d := new(apd.Decimal)
	if _, err := digits(count).Round(d, n.decimal); err != nil {
		return n.decimal
	}
	return d
}

func (n number) isInteger() bool {
	var whole, fraction apd.Decimal
	n.decimal.Modf(&whole, &fraction)
	return fraction.IsZero()
}

// compute does one of apd's operations, exactly where that can be.
func compute(op binary, x, y number) (number, error) {
	d := new(apd.Decimal)
	flags, err := op(digits(exactDigits), d, x.decimal, y.decimal)
	return made(d, x.exact && y.exact, flags, err)
}

// add also takes care of what is left when rounded numbers cancel each other
// out: 1/3*3-1 is 0.
func add(x, y number) (number, error) {
	sum, err := compute((*apd.Context).Add, x, y)
	if err != nil || sum.exact || x.decimal.IsZero() || y.decimal.IsZero() {
		return sum, err
	}
	return sum.droppedBelow(max(x.magnitude(), y.magnitude()) - settledDigits)
}

// droppedBelow rounds to a multiple of a power of ten.
func (n number) droppedBelow(exponent int64) (number, error) {
	if int64(n.decimal.Exponent) >= exponent {
		return n, nil
	}
	d := new(apd.Decimal)
	flags, err := digits(exactDigits).Quantize(d, n.decimal, int32(exponent)) //nolint:gosec // a number's range is far smaller
	return made(d, n.exact, flags&^apd.Inexact, err)
}

func multiply(x, y number) (number, error) { return compute((*apd.Context).Mul, x, y) }

func divide(x, y number) (number, error) {
	if y.decimal.IsZero() {
		return number{}, errDivisionByZero
	}
	return compute((*apd.Context).Quo, x, y)
}

// modulo is the remainder that has the sign of y: x - y*floor(x/y).
func modulo(x, y number) (number, error) {
	exact := x.exact && y.exact
	distance := x.magnitude() - y.magnitude()
	switch {
	case y.decimal.IsZero():
		return number{}, errDivisionByZero
	case distance >= exactDigits || distance >= settledDigits && !exact:
		return number{}, errors.New("the dividend is too large for its remainder to be known")
	case !exact:
		return roundedModulo(x, y)
	}
	rest, err := compute((*apd.Context).Rem, x, y)
	if err != nil || rest.decimal.IsZero() || rest.decimal.Negative == y.decimal.Negative {
		return rest, err
	}
	return add(rest, y)
}

// roundedModulo goes by the quotient, which settles where apd's remainder would
// not: 1 % (1/3) is 0, though 0.333… goes into 1 a bit more than three times.
func roundedModulo(x, y number) (number, error) {
	quotient, err := divide(x, y)
	if err != nil {
		return number{}, err
	}
	times, err := toInteger((*apd.Context).Floor, quotient)
	if err != nil {
		return number{}, err
	}
	product, err := multiply(times, y)
	if err != nil {
		return number{}, err
	}
	return add(x, product.negated())
}

func power(x, y number) (number, error) {
	y = y.settled()
	switch {
	case y.decimal.IsZero():
		return number{decimal: apd.New(1, 0), exact: y.exact}, nil
	case y.decimal.Negative:
		return reciprocalPower(x, y.negated())
	case x.decimal.Negative && !y.isInteger():
		return number{}, errors.New("a negative number has no real power that is not whole")
	case y.decimal.Cmp(apd.New(maxPower, 0)) > 0:
		return number{}, errors.New("the exponent is too large (more than 1e15)")
	case y.isInteger():
		return compute((*apd.Context).Pow, x, y)
	}
	// Not more digits than are kept, since the work grows with their square.
	d := new(apd.Decimal)
	flags, err := digits(roundedDigits).Pow(d, x.settled().roundedTo(roundedDigits), y.roundedTo(roundedDigits))
	return made(d, false, flags, err)
}

// reciprocalPower is 1/x^y.
func reciprocalPower(x, y number) (number, error) {
	divisor, err := power(x, y)
	switch {
	case errors.Is(err, errTooLarge):
		return number{}, errTooSmall
	case errors.Is(err, errTooSmall):
		return number{}, errTooLarge
	case err != nil:
		return number{}, err
	}
	return divide(integer(1), divisor)
}

func percent(x number) (number, error) {
	return multiply(x, number{decimal: apd.New(1, -2), exact: true})
}

func factorial(x number) (number, error) {
	x = x.settled()
	n, err := x.decimal.Int64()
	switch {
	case x.decimal.Negative || !x.isInteger():
		return number{}, errors.New("a factorial needs a whole number of 0 or more")
	case err != nil || n > maxExponent:
		return number{}, errTooLarge
	}
	product := new(apd.BigInt).SetMathBigInt(new(big.Int).MulRange(1, n))
	return compute((*apd.Context).Mul, number{decimal: apd.NewWithBigInt(product, 0), exact: x.exact}, integer(1))
}

// show writes an exact integer of up to shownInteger digits in full, anything
// else rounded to shownDigits.
func (n number) show() string {
	whole := n.exact && n.isInteger() && n.magnitude() < shownInteger
	d := n.decimal
	if !whole {
		d = n.roundedTo(shownDigits)
	}
	d, _ = new(apd.Decimal).Reduce(d)
	if d.IsZero() {
		return "0"
	}
	magnitude := number{decimal: d}.magnitude()
	padding := max(int64(d.Exponent), -magnitude)
	if padding <= maxPadding && magnitude < shownDigits || whole && padding <= max(maxPadding, d.NumDigits()) {
		return d.Text('f')
	}
	sign, coefficient := "", d.Coeff.String()
	if d.Negative {
		sign = "-"
	}
	fraction := ""
	if len(coefficient) > 1 {
		fraction = "." + coefficient[1:]
	}
	return fmt.Sprintf("%s%s%se%d", sign, coefficient[:1], fraction, magnitude)
}
