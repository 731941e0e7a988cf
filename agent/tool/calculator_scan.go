package tool

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// tokenKind is an operator's or a bracket's own character, or one of these.
type tokenKind rune

const (
	endToken     tokenKind = 0
	numberToken  tokenKind = '0'
	nameToken    tokenKind = 'a'
	unknownToken tokenKind = '?'
)

type token struct {
	kind tokenKind
	text string
	// position is where it begins, in characters from 1.
	position int
}

func (t token) String() string {
	if t.kind == endToken {
		return "end of the expression"
	}
	// Quoted, since it may be a control character.
	return fmt.Sprintf("'%s' at position %d", strings.Trim(strconv.Quote(t.text), `"`), t.position)
}

// locate adds to an error where it came up.
func (t token) locate(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w at position %d", err, t.position)
}

// scanner cuts an expression into tokens.
type scanner struct {
	input []rune
	at    int
}

func (s *scanner) next() (token, error) {
	s.skip(unicode.IsSpace)
	begin := s.at
	t := token{position: begin + 1}
	switch c := s.peek(); {
	case begin == len(s.input):
		return t, nil
	case isDigit(c) || c == '.':
		t.kind = numberToken
		s.number()
	case isLetter(c):
		t.kind = nameToken
		s.skip(func(c rune) bool { return isLetter(c) || isDigit(c) })
	default:
		t.kind = s.operator()
	}
	t.text = string(s.input[begin:s.at])
	switch {
	case t.kind == unknownToken:
		return t, fmt.Errorf("unexpected %s", t)
	case t.kind == numberToken && !strings.ContainsFunc(t.text, isDigit):
		return t, fmt.Errorf("unexpected %s: a number needs a digit", t)
	}
	return t, nil
}

// number skips digits, a fraction and an exponent, each where there is one.
func (s *scanner) number() {
	s.skip(isDigit)
	if s.peek() == '.' {
		s.at++
		s.skip(isDigit)
	}
	mark := s.at
	if c := s.peek(); c != 'e' && c != 'E' {
		return
	}
	s.at++
	if c := s.peek(); c == '+' || c == '-' {
		s.at++
	}
	if !isDigit(s.peek()) {
		s.at = mark // the constant e, or a name
		return
	}
	s.skip(isDigit)
}

// operator skips one and returns its ASCII character, or unknownToken when
// there is none.
func (s *scanner) operator() tokenKind {
	c := s.peek()
	s.at++
	switch {
	case c == '*' && s.peek() == '*':
		s.at++
		return '^'
	case strings.ContainsRune("+-*/%^!(),", c):
		return tokenKind(c)
	case c == '×' || c == '·' || c == '⋅':
		return '*'
	case c == '÷':
		return '/'
	case c == '−' || c == '–':
		return '-'
	default:
		return unknownToken
	}
}

// operandFollows tells whether what comes next can only be an operand.
func (s *scanner) operandFollows() bool {
	s.skip(unicode.IsSpace)
	c := s.peek()
	return isDigit(c) || isLetter(c) || c == '.' || c == '('
}

func (s *scanner) peek() rune {
	if s.at == len(s.input) {
		return 0
	}
	return s.input[s.at]
}

func (s *scanner) skip(while func(rune) bool) {
	n := slices.IndexFunc(s.input[s.at:], func(c rune) bool { return !while(c) })
	if n < 0 {
		n = len(s.input) - s.at
	}
	s.at += n
}

func isDigit(c rune) bool { return '0' <= c && c <= '9' }

func isLetter(c rune) bool { return c == '_' || unicode.IsLetter(c) }
