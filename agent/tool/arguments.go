package tool

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/google/jsonschema-go/jsonschema"
)

// maxDepth is how deep arguments may nest. Each level can double the work of
// checking them against a schema that refers to itself.
const maxDepth = 32

// checkArguments returns the arguments as the tool gets them, or what is wrong
// with them in words for the model.
func checkArguments(schema *jsonschema.Resolved, arguments string) (checked, refusal string) {
	arguments = strings.TrimSpace(arguments)
	switch {
	case arguments == "":
		arguments = "{}" // some models write nothing where nothing is needed
	case len(arguments) > MaxArguments:
		return "", fmt.Sprintf("the arguments are %d bytes long, at most %d are allowed", len(arguments), MaxArguments)
	case !utf8.ValidString(arguments):
		return "", "the arguments are not valid UTF-8"
	case depth(arguments) > maxDepth:
		return "", fmt.Sprintf("the arguments nest more than %d levels deep", maxDepth)
	}
	var value any
	if err := json.Unmarshal([]byte(arguments), &value); err != nil {
		return "", notJSON(err)
	}
	if _, ok := value.(map[string]any); !ok {
		return "", "the arguments must be a JSON object"
	}
	if err := schema.Validate(value); err != nil {
		return "", "the arguments do not fit the tool's schema: " + misfit(err)
	}
	return arguments, ""
}

func notJSON(err error) string {
	var syntax *json.SyntaxError
	var number *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("the arguments are not valid JSON: %s (byte %d)", syntax, syntax.Offset)
	case errors.As(err, &number):
		return "the arguments hold a number that is out of range: " + number.Value
	default:
		return "the arguments are not valid JSON"
	}
}

// misfit words a validation error for a model: the validator prints Go's names
// for the whole value and for null.
func misfit(err error) string {
	return strings.NewReplacer(
		"validating root: ", "",
		"<invalid reflect.Value>", "null",
	).Replace(err.Error())
}

// depth is how deep the brackets of a JSON text nest.
func depth(text string) int {
	deepest, level, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			level++
			deepest = max(deepest, level)
		case c == '}' || c == ']':
			level--
		}
	}
	return deepest
}
