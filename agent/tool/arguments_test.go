package tool

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

const orderSchema = `{
	"type": "object",
	"properties": {
		"item": {"type": "string", "maxLength": 10},
		"count": {"type": "integer", "minimum": 1},
		"size": {"enum": ["S", "M"]},
		"note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
		"tags": {"type": "array", "items": {"type": "string"}},
		"parts": {"type": "array", "items": {"$ref": "#"}},
		"when": {"type": "string", "format": "date"}
	},
	"required": ["item"],
	"additionalProperties": false
}`

func order(t testing.TB) *Tool {
	t.Helper()
	made, err := New(Definition{Name: "order", Parameters: json.RawMessage(orderSchema)},
		func(_ context.Context, arguments json.RawMessage) (string, error) { return string(arguments), nil })
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestArgumentsThatFit(t *testing.T) {
	t.Parallel()
	for _, arguments := range []string{
		`{"item": "tea"}`,
		`{"item": "tea", "count": 1.0}`,
		`{"item": "tea", "count": 123456789012345678901234567890}`,
		`{"item": "tea", "note": null, "size": "M", "tags": []}`,
		`{"item": "\ud83c\udf75", "parts": [{"item": "[[[[{{{{"}]}`,
		`{"item": "tea", "when": "formats are not checked"}`,
		`{"item": 1, "item": "tea"}`,
		`{"item": "0123456789"}`,
		`{"item": "tea", "note": "\" ` + strings.Repeat("[", 2*maxDepth) + `"}`,
	} {
		if got, err := order(t).Call(t.Context(), arguments); err != nil || got != arguments {
			t.Errorf("%s: got %q, %v", arguments, got, err)
		}
	}
}

func TestArgumentsThatDoNotFit(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ arguments, says string }{
		"nothing where something is needed": {``, `required: missing properties: ["item"]`},
		"a property missing":                {`{"count": 1}`, `required: missing properties: ["item"]`},
		"a property of the wrong type":      {`{"item": 5}`, `/properties/item: type: 5 has type "integer", want "string"`},
		"null for a string":                 {`{"item": null}`, `/properties/item: type: null has type "null", want "string"`},
		"a fraction for an integer":         {`{"item": "tea", "count": 1.5}`, `/properties/count: type: 1.5 has type "number", want "integer"`},
		"a number too small":                {`{"item": "tea", "count": 0}`, `/properties/count: minimum: 0/1 is less than 1`},
		"a value that is not listed":        {`{"item": "tea", "size": "XL"}`, `/properties/size: enum: XL does not equal any of: [S M]`},
		"an unknown property":               {`{"item": "tea", "color": "red"}`, `unexpected additional properties ["color"]`},
		"a property in other letters":       {`{"item": "tea", "Item": "x"}`, `unexpected additional properties ["Item"]`},
		"an item of a list":                 {`{"item": "tea", "tags": ["a", 1]}`, `/properties/tags/items: type: 1 has type "integer", want "string"`},
		"deep inside":                       {`{"item": "tea", "parts": [{"item": false}]}`, `/properties/item: type: false has type "boolean", want "string"`},
		"none of several types":             {`{"item": "tea", "note": 1}`, `anyOf: did not validate`},
		"a string far too long":             {`{"item": "` + strings.Repeat("x", 100_000) + `"}`, `contains 100000 Unicode code points, more than 10`},
		"an array":                          {`["item"]`, `must be a JSON object`},
		"null":                              {`null`, `must be a JSON object`},
		"a string":                          {`"item"`, `must be a JSON object`},
		"no JSON":                           {`item=tea`, `not valid JSON: invalid character 'i' looking for beginning of value (byte 1)`},
		"half of JSON":                      {`{"item": "te`, `not valid JSON: unexpected end of JSON input`},
		"more than JSON":                    {`{"item": "tea"} and more`, `not valid JSON: invalid character 'a' after top-level value (byte 17)`},
		"a number out of range":             {`{"item": "tea", "count": 1e999}`, `a number that is out of range: number 1e999`},
		"a number far out of range":         {`{"item": "tea", "count": 1e999999999}`, `a number that is out of range`},
		"not UTF-8":                         {"{\"item\": \"\xff\"}", `not valid UTF-8`},
		"too long":                          {`{"item": "` + strings.Repeat("x", MaxArguments) + `"}`, `1048588 bytes long, at most 1048576`},
		"too deep":                          {strings.Repeat(`{"parts":[`, 17) + strings.Repeat(`]}`, 17), `more than 32 levels deep`},
		"endlessly deep":                    {strings.Repeat(`[`, MaxArguments), `more than 32 levels deep`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := order(t).Call(t.Context(), c.arguments)
			failure := asError(t, err)
			if failure.Type != InvalidArguments || !strings.Contains(failure.Message, c.says) {
				t.Errorf("got %s %q, want one that says %q", failure.Type, failure.Message, c.says)
			}
		})
	}
}

func TestArgumentsAsDeepAsAllowed(t *testing.T) {
	t.Parallel()
	arguments := strings.Repeat(`{"item":"a","parts":[`, 16) + strings.Repeat(`]}`, 16)
	if _, err := order(t).Call(t.Context(), arguments); err != nil {
		t.Error(err)
	}
}

func FuzzArguments(f *testing.F) {
	for _, seed := range []string{
		``, `{}`, `null`, `{"item":"tea"}`, `{"item":"tea","count":1e400}`, `{"item":"\ud800"}`, `{"item":"a","parts":[{"item":"b"}]}`,
		`[[[[`, `{"a":"\\\"{"}`, "{\"item\":\"\xff\"}", `{"item":1,"item":"a"}`, `{"item":"a"}{}`,
	} {
		f.Add(seed)
	}
	tool := order(f)
	f.Fuzz(func(t *testing.T, arguments string) {
		got, err := tool.Call(t.Context(), arguments)
		if err == nil {
			var object map[string]any
			if err := json.Unmarshal([]byte(got), &object); err != nil {
				t.Fatalf("%q reached the tool: %v", got, err)
			}
			if _, ok := object["item"].(string); !ok {
				t.Fatalf("%q reached the tool without its item", got)
			}
			return
		}
		failure := asError(t, err)
		if failure.Type != InvalidArguments {
			t.Fatalf("got %v, want the arguments to be refused", failure)
		}
		if len(failure.Message) > MaxMessage || !utf8.ValidString(failure.Message) {
			t.Fatalf("the message is not bounded: %q", failure.Message)
		}
	})
}
