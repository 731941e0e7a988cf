package tool

import (
	"fmt"
	"strings"
)

// How tight operators bind. A sign binds tighter than `*` and less tight than
// `^`, so that -2^2 is -4. Postfix operators bind tightest.
const (
	bindSum = iota + 1
	bindProduct
	bindSign
	bindPower
)

// parser computes an expression while it reads it, by precedence climbing:
//
//	expression = operand { postfix | operator expression }
//	operand    = NUMBER | NAME | NAME "(" expression { "," expression } ")"
//	           | "(" expression ")" | ( "-" | "+" ) expression
//	postfix    = "!" | "%"
type parser struct {
	scanner scanner
	token   token
	nesting int
}

func (p *parser) parse() (number, error) {
	if err := p.advance(); err != nil {
		return number{}, err
	}
	result, err := p.expression(bindSum)
	if err != nil {
		return number{}, err
	}
	switch p.token.kind {
	case endToken:
		return result, nil
	case ',':
		return number{}, p.unexpected("an operator (write numbers without thousands separators)")
	default:
		return number{}, p.unexpected("an operator")
	}
}

// expression reads operators that bind at least as tight as least.
func (p *parser) expression(least int) (number, error) {
	p.nesting++
	defer func() { p.nesting-- }()
	if p.nesting > maxNesting {
		return number{}, fmt.Errorf("the expression nests more than %d levels deep at position %d", maxNesting, p.token.position)
	}
	left, err := p.operand()
	for err == nil {
		op := p.token
		binding, rightLeast := bindingOf(op.kind)
		switch {
		case op.kind == '!' || op.kind == '%' && !p.scanner.operandFollows():
			left, err = p.postfix(left)
		case binding == 0 || binding < least:
			return left, nil
		default:
			left, err = p.infix(left, rightLeast)
		}
	}
	return number{}, err
}

// bindingOf returns how tight an infix operator binds, 0 if it is none, and how
// tight those to its right must bind to belong to its right operand.
func bindingOf(operator tokenKind) (binding, rightLeast int) {
	switch operator {
	case '+', '-':
		return bindSum, bindSum + 1
	case '*', '/', '%':
		return bindProduct, bindProduct + 1
	case '^':
		return bindPower, bindPower
	default:
		return 0, 0
	}
}

func (p *parser) postfix(left number) (number, error) {
	op := p.token
	if err := p.advance(); err != nil {
		return number{}, err
	}
	apply := factorial
	if op.kind == '%' {
		apply = percent
	}
	result, err := apply(left)
	return result, op.locate(err)
}

func (p *parser) infix(left number, rightLeast int) (number, error) {
	op := p.token
	if err := p.advance(); err != nil {
		return number{}, err
	}
	right, err := p.expression(rightLeast)
	if err != nil {
		return number{}, err
	}
	var result number
	switch op.kind {
	case '+':
		result, err = add(left, right)
	case '-':
		result, err = add(left, right.negated())
	case '*':
		result, err = multiply(left, right)
	case '/':
		result, err = divide(left, right)
	case '%':
		result, err = modulo(left, right)
	default:
		result, err = power(left, right)
	}
	return result, op.locate(err)
}

func (p *parser) operand() (number, error) {
	first := p.token
	switch first.kind {
	case numberToken, nameToken, '(', '-', '+':
	default:
		return number{}, p.unexpected("a number, a function or '('")
	}
	if err := p.advance(); err != nil {
		return number{}, err
	}
	switch first.kind {
	case numberToken:
		result, err := parseNumber(first.text)
		return result, first.locate(err)
	case nameToken:
		return p.named(first)
	case '(':
		inner, err := p.expression(bindSum)
		if err != nil {
			return number{}, err
		}
		return inner, p.closeBracket()
	case '-':
		inner, err := p.expression(bindSign)
		if err != nil {
			return number{}, err
		}
		return inner.negated(), nil
	default:
		return p.expression(bindSign)
	}
}

// named reads a constant or a function's call.
func (p *parser) named(name token) (number, error) {
	lower := strings.ToLower(name.text)
	if c, ok := constant(lower); ok {
		return c, nil
	}
	fn, ok := functionNamed(lower)
	if !ok {
		return number{}, fmt.Errorf("unknown name %s: the functions are %s; the constants are pi and e", name, functionNames)
	}
	if p.token.kind != '(' {
		return number{}, p.unexpected("'(' after " + lower)
	}
	args, err := p.arguments()
	if err != nil {
		return number{}, err
	}
	if len(args) < fn.least || len(args) > fn.most {
		return number{}, fmt.Errorf("%s takes %s, not %d", name, fn.arity(), len(args))
	}
	result, err := fn.apply(args)
	return result, name.locate(err)
}

func (p *parser) arguments() ([]number, error) {
	var args []number
	for {
		if err := p.advance(); err != nil {
			return nil, err
		}
		arg, err := p.expression(bindSum)
		if err != nil {
			return nil, err
		}
		args = append(args, arg)
		if p.token.kind != ',' {
			return args, p.closeBracket()
		}
	}
}

func (p *parser) closeBracket() error {
	if p.token.kind != ')' {
		return p.unexpected("an operator or ')'")
	}
	return p.advance()
}

func (p *parser) advance() error {
	next, err := p.scanner.next()
	p.token = next
	return err
}

func (p *parser) unexpected(expected string) error {
	return fmt.Errorf("unexpected %s: expected %s", p.token, expected)
}
