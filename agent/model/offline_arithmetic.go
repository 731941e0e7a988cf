package model

import "strings"

// Bounds on what is read out of one message.
const (
	maxExpressions     = 8
	maxExpressionBytes = 200
	maxExpressionDepth = 32
)

// arithmetic finds the expressions in a message and writes each the way
// `calculator` reads it: "17% of 4,000" is 17/100*4000.
func arithmetic(message string) []map[string]string {
	var found []map[string]string
	for i := 0; i < len(message) && len(found) < maxExpressions; {
		if c := message[i]; !isDigit(c) && c != '(' && c != '-' || i > 0 && isGlue(message[i-1]) {
			i++
			continue
		}
		s := expressionScanner{text: message[i:]}
		s.scan()
		if s.whole > 0 {
			found = append(found, map[string]string{"expression": s.expression})
		}
		i += max(s.whole, 1)
	}
	return found
}

// isGlue says whether a number right behind c is part of something else: a
// name, a version, a time of day.
func isGlue(c byte) bool {
	return isLetter(c) || isDigit(c) || strings.IndexByte("._:#$/", c) >= 0
}

// expressionScanner reads an expression from the start of text.
type expressionScanner struct {
	text string
	pos  int
	out  []byte
	// Operators that join two operands, so far.
	joins, depth int
	// The longest beginning that is an expression by itself, as it was said
	// (in bytes) and as it is written.
	whole      int
	expression string
}

func (s *expressionScanner) scan() {
	operand := true // whether one comes next
	for s.depth <= maxExpressionDepth && len(s.out) <= maxExpressionBytes {
		s.skipSpace()
		var ok bool
		if operand {
			operand, ok = s.operand()
		} else {
			operand, ok = s.operator()
		}
		if !ok {
			return
		}
		if !operand && s.depth == 0 && s.joins > 0 {
			s.whole, s.expression = s.pos, string(s.out)
		}
	}
}

// operand reads what may stand before or as an operand; another is still to
// come after a parenthesis or a sign.
func (s *expressionScanner) operand() (more, ok bool) {
	switch {
	case s.take("("):
		s.out = append(s.out, '(')
		s.depth++
		return true, true
	case s.take("-"), s.take("−"):
		if n := len(s.out); n > 0 && s.out[n-1] == '-' {
			return false, false
		}
		s.out = append(s.out, '-')
		return true, true
	}
	return false, s.number()
}

// operator reads what may follow an operand; an operand is to come after it
// unless it closes a parenthesis or was a percent sign.
func (s *expressionScanner) operator() (operand, ok bool) {
	if s.depth > 0 && s.take(")") {
		s.out = append(s.out, ')')
		s.depth--
		return false, true
	}
	if s.take("%") {
		return s.percent(), true
	}
	for _, op := range [...][2]string{
		{"+", "+"},
		{"-", "-"},
		{"−", "-"},
		{"**", "^"},
		{"*", "*"},
		{"×", "*"},
		{"/", "/"},
		{"÷", "/"},
		{"^", "^"},
		{"plus ", "+"},
		{"minus ", "-"},
		{"times ", "*"},
		{"x ", "*"},
		{"multiplied by ", "*"},
		{"divided by ", "/"},
	} {
		if s.take(op[0]) {
			s.out = append(s.out, op[1]...)
			s.joins++
			return true, true
		}
	}
	return false, false
}

// percent writes a percent sign: of something, the remainder of a division, or
// a hundredth.
func (s *expressionScanner) percent() (operand bool) {
	s.skipSpace()
	switch {
	case s.take("of "):
		s.out = append(s.out, "/100*"...)
	case s.pos < len(s.text) && (isDigit(s.text[s.pos]) || s.text[s.pos] == '('):
		s.out = append(s.out, '%')
	default:
		s.out = append(s.out, "/100"...)
		return false
	}
	s.joins++
	return true
}

// number reads digits, with commas between thousands and a fraction. What only
// begins like a number (a date, a version, "3rd") is none.
func (s *expressionScanner) number() bool {
	start, from := s.pos, len(s.out)
	for s.digit(0) || s.thousands() {
		if s.text[s.pos] != ',' {
			s.out = append(s.out, s.text[s.pos])
		}
		s.pos++
	}
	if s.pos == start || s.text[start] == '0' && len(s.out)-from > 1 {
		return false
	}
	if s.is('.') && s.digit(1) {
		s.out = append(s.out, '.')
		for s.pos++; s.digit(0); s.pos++ {
			s.out = append(s.out, s.text[s.pos])
		}
	}
	if s.pos < len(s.text) && isLetter(s.text[s.pos]) {
		return false
	}
	return !s.is('.') && !s.is(':') || !s.digit(1)
}

// thousands says whether a comma and exactly three digits come next.
func (s *expressionScanner) thousands() bool {
	return s.is(',') && s.digit(-1) && s.digit(1) && s.digit(2) && s.digit(3) && !s.digit(4)
}

func (s *expressionScanner) is(c byte) bool {
	return s.pos < len(s.text) && s.text[s.pos] == c
}

func (s *expressionScanner) digit(ahead int) bool {
	i := s.pos + ahead
	return i >= 0 && i < len(s.text) && isDigit(s.text[i])
}

func (s *expressionScanner) skipSpace() {
	for s.is(' ') {
		s.pos++
	}
}

func (s *expressionScanner) take(token string) bool {
	if !strings.HasPrefix(s.text[s.pos:], token) {
		return false
	}
	s.pos += len(token)
	return true
}
