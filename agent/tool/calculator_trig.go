package tool

import (
	"errors"

	"github.com/cockroachdb/apd/v3"
)

const (
	// The first digits of pi and e; checked by a test against series of their own.
	piDigits = "3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798214808651"
	eDigits  = "2.71828182845904523536028747135266249775724709369995957496696762772407663035354759457138217852516642742746639193"
	// trigDigits is what sines are computed with.
	trigDigits = 100
	// maxAngle is the power of ten from which on an angle's place on the circle
	// would need more digits of pi.
	maxAngle = 30
)

func constant(name string) (number, bool) {
	switch name {
	case "pi", "π":
		return number{decimal: parsed(piDigits)}, true
	case "e":
		return number{decimal: parsed(eDigits)}, true
	default:
		return number{}, false
	}
}

// parsed reads one of the constants above, which are well-formed.
func parsed(text string) *apd.Decimal {
	d, _, _ := apd.NewFromString(text)
	return d
}

func sine(x number) (number, error) { return circular(x, 0) }

func cosine(x number) (number, error) { return circular(x, 1) }

func tangent(x number) (number, error) {
	s, err := sine(x)
	if err != nil {
		return number{}, err
	}
	c, err := cosine(x)
	if err != nil {
		return number{}, err
	}
	if c.decimal.IsZero() {
		return number{}, errors.New("the tangent has no value here")
	}
	return divide(s, c)
}

// circular is the sine of x and so many quarter turns. It takes quarter turns
// off x until at most an eighth of the circle is left, where a series needs few terms.
func circular(x number, quarters int64) (number, error) {
	if x.magnitude() >= maxAngle && !x.decimal.IsZero() {
		return number{}, errors.New("the angle is too large (1e30 or more)")
	}
	var quarter, turns, rest, quadrant apd.Decimal
	ed := apd.MakeErrDecimal(digits(trigDigits))
	ed.Quo(&quarter, parsed(piDigits), apd.New(2, 0))
	ed.Quo(&turns, x.decimal, &quarter)
	ed.RoundToIntegralValue(&turns, &turns)
	ed.Mul(&rest, &turns, &quarter)
	ed.Sub(&rest, x.decimal, &rest)
	ed.Rem(&quadrant, &turns, apd.New(4, 0))
	taken := ed.Int64(&quadrant) // -3 to 3
	n := (taken + quarters + 4) % 4
	result := series(&ed, &rest, n%2 == 1)
	result.Negative = result.Negative != (n >= 2)
	value, err := made(result, false, 0, ed.Err())
	if err != nil || turns.IsZero() {
		return value, err
	}
	known := int64(-settledDigits)
	if !x.exact {
		known += x.magnitude()
	}
	return value.droppedBelow(known)
}

// series is the sine of x, or its cosine, by Taylor's series. Each term is less
// than a third of the one before it, since x is at most an eighth of the circle.
func series(ed *apd.ErrDecimal, x *apd.Decimal, cosine bool) *apd.Decimal {
	var square apd.Decimal
	ed.Mul(&square, x, x)
	square.Negative = true
	term, n := new(apd.Decimal).Set(x), int64(1)
	if cosine {
		term, n = apd.New(1, 0), 0
	}
	sum := new(apd.Decimal).Set(term)
	for ed.Err() == nil && !term.IsZero() && (number{decimal: term}).magnitude() > (number{decimal: sum}).magnitude()-trigDigits {
		ed.Mul(term, term, &square)
		ed.Quo(term, term, apd.New((n+1)*(n+2), 0))
		ed.Add(sum, sum, term)
		n += 2
	}
	return sum
}
