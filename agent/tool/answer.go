package tool

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// AnswerSchema is a JSON Schema to which answers are held. Make one with
// NewAnswerSchema. Safe for concurrent use.
type AnswerSchema struct{ schema *jsonschema.Resolved }

// NewAnswerSchema compiles a JSON Schema (draft-07 or 2020-12). It refuses one
// that refers to anything outside of itself, or to itself in a circle, and one
// with a type that JSON does not have: no answer could ever fit.
func NewAnswerSchema(text string) (*AnswerSchema, error) {
	var schema jsonschema.Schema
	if err := json.Unmarshal([]byte(text), &schema); err != nil {
		return nil, fmt.Errorf("reading the JSON Schema: %w", err)
	}
	if !strings.HasPrefix(strings.TrimSpace(text), "{") {
		return nil, errors.New("the JSON Schema must be a JSON object")
	}
	if err := checkTypes(&schema); err != nil {
		return nil, err
	}
	resolved, err := resolve(&schema)
	if err != nil {
		return nil, err
	}
	return &AnswerSchema{schema: resolved}, nil
}

// Misfit says, in words for a model, why an answer is not JSON that fits; empty
// when it is.
func (s *AnswerSchema) Misfit(answer string) string {
	if depth(answer) > maxDepth {
		return fmt.Sprintf("it nests more than %d levels deep", maxDepth)
	}
	var value any
	if err := json.Unmarshal([]byte(answer), &value); err != nil {
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
			return fmt.Sprintf("it is not valid JSON: %s (byte %d)", syntax, syntax.Offset)
		}
		return "it is not valid JSON"
	}
	if err := s.schema.Validate(value); err != nil {
		return boundMessage(strings.TrimSpace(misfit(err)))
	}
	return ""
}
