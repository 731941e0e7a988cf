package tool

import (
	"context"
	"encoding/json"
	"fmt"
)

// Evaluation is bounded by these and by those of numbers in calculator_number.go:
// its work is at most that of maxExpression operations on exactDigits digits.
const (
	// maxExpression is how long an expression may be, in characters.
	maxExpression = 1000
	// maxNesting is how deep parentheses, signs and powers may nest.
	maxNesting = 100
)

func calculator() (Definition, Func) {
	def := Definition{
		Name: "calculator",
		Description: "Evaluates an arithmetic expression in decimal. Integers are exact; other results are rounded to 34 significant digits. " +
			"Operators: + - * / ^ (or **), parentheses, n! for factorial; % between two operands is the remainder (with the divisor's sign), " +
			"after one it means percent, so 15% is 0.15. " +
			"Functions: sqrt cbrt abs exp ln log (base 10, or log(x, base)) log2 log10 sin cos tan (radians) floor ceil round (round(x, decimals)) min max. " +
			"Constants: pi, e. Write numbers without thousands separators, units or currency signs.",
		Effect: Pure,
		Parameters: json.RawMessage(`{
			"type": "object",
			"properties": {
				"expression": {
					"type": "string",
					"description": "such as (2 + 3) * 4, 19.99 * 15%, or round(sqrt(2), 3)"
				}
			},
			"required": ["expression"],
			"additionalProperties": false
		}`),
	}
	return def, func(_ context.Context, arguments json.RawMessage) (string, error) {
		var args struct {
			Expression string `json:"expression"`
		}
		if err := json.Unmarshal(arguments, &args); err != nil {
			return "", fmt.Errorf("reading the arguments: %w", err)
		}
		return evaluate(args.Expression)
	}
}

// evaluate computes an expression. Its errors say what is wrong and where, in
// characters from 1.
func evaluate(expression string) (string, error) {
	input := []rune(expression)
	if len(input) > maxExpression {
		return "", fmt.Errorf("the expression has %d characters, at most %d are allowed", len(input), maxExpression)
	}
	p := parser{scanner: scanner{input: input}}
	result, err := p.parse()
	if err != nil {
		return "", err
	}
	return result.show(), nil
}
