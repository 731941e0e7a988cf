package tool

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
)

func TestSchemasRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ schema, says string }{
		"not JSON":                         {`{`, "reading the JSON Schema"},
		"null":                             {`null`, `"type": "object"`},
		"true":                             {`true`, `"type": "object"`},
		"an array":                         {`[]`, "reading the JSON Schema"},
		"of no type":                       {`{}`, `"type": "object"`},
		"of another type":                  {`{"type": "string"}`, `"type": "object"`},
		"of several types":                 {`{"type": ["object", "null"]}`, `"type": "object"`},
		"of a version never heard of":      {`{"type": "object", "$schema": "http://json-schema.org/draft-04/schema#"}`, "neither draft-07 nor 2020-12"},
		"a pattern that is none":           {`{"type": "object", "properties": {"a": {"pattern": "("}}}`, "compiling the JSON Schema"},
		"properties that are none":         {`{"type": "object", "properties": 5}`, "reading the JSON Schema"},
		"a property that is null":          {`{"type": "object", "properties": {"a": null}}`, "JSON Schema"},
		"a reference to elsewhere":         {`{"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:1/a.json"}}}`, "within the JSON Schema"},
		"a reference to a file":            {`{"type": "object", "properties": {"a": {"$ref": "file:///etc/passwd"}}}`, "within the JSON Schema"},
		"a reference to nothing":           {`{"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}}`, "leads nowhere"},
		"a reference past a list":          {`{"type": "object", "allOf": [{}], "properties": {"a": {"$ref": "#/allOf/1"}}}`, "leads nowhere"},
		"a reference by anchor":            {`{"type": "object", "properties": {"a": {"$ref": "#b"}, "b": {"$anchor": "b"}}}`, "within the JSON Schema"},
		"a dynamic reference":              {`{"type": "object", "properties": {"a": {"$dynamicRef": "#b"}}}`, "$dynamicRef"},
		"a name of its own below the root": {`{"type": "object", "properties": {"a": {"$id": "http://x/", "$ref": "#"}}}`, "$id below"},
		"itself":                           {`{"type": "object", "$ref": "#"}`, "in a circle"},
		"itself, in capitals":              {`{"type": "object", "$REF": "#"}`, "in a circle"},
		"itself, by way of a definition":   {`{"type": "object", "$ref": "#/$defs/a", "$defs": {"a": {"allOf": [{"$ref": "#"}]}}}`, "in a circle"},
		"itself, escaped":                  {`{"type": "object", "$ref": "#/%24defs/a~1b", "$defs": {"a/b": {"not": {"$ref": "#"}}}}`, "in a circle"},
		"itself, deep below":               {`{"type": "object", "properties": {"a": {"items": {"if": {"$ref": "#/properties/a/items"}}}}}`, "in a circle"},
		"itself, if a property is there":   {`{"type": "object", "dependentSchemas": {"a": {"$ref": "#"}}}`, "in a circle"},
		"itself, if there, as in draft-07": {`{"type": "object", "$schema": "http://json-schema.org/draft-07/schema#", "dependencies": {"a": {"$ref": "#"}}}`, "in a circle"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := New(Definition{Name: "a", Parameters: json.RawMessage(c.schema)}, answers(""))
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v, want one that says %q", err, c.says)
			}
		})
	}
}

func TestSchemasAccepted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ schema, fits, doesNot string }{
		"a tree of its own kind": {
			`{"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}}, "additionalProperties": false}`,
			`{"left": {"right": {}}}`, `{"left": {"right": {"up": 1}}}`,
		},
		"definitions": {
			`{"type": "object", "properties": {"a": {"$ref": "#/$defs/n"}, "b": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "integer"}}}`,
			`{"a": 1, "b": 2}`, `{"a": 1, "b": "2"}`,
		},
		"draft-07": {
			`{"type": "object", "$schema": "http://json-schema.org/draft-07/schema#", "properties": {"a": {"$ref": "#/definitions/n"}}, "definitions": {"n": {"const": 1}}}`,
			`{"a": 1}`, `{"a": 2}`,
		},
		"a property called $ref": {
			`{"type": "object", "properties": {"$ref": {"type": "string"}}}`, `{"$ref": "#"}`, `{"$ref": 1}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			made, err := New(Definition{Name: "a", Parameters: json.RawMessage(c.schema)}, answers("yes"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := made.Call(t.Context(), c.fits); err != nil {
				t.Errorf("%s: %v", c.fits, err)
			}
			_, err = made.Call(t.Context(), c.doesNot)
			if asError(t, err).Type != InvalidArguments {
				t.Errorf("%s: got %v, want it refused", c.doesNot, err)
			}
		})
	}
}

func FuzzSchema(f *testing.F) {
	f.Add(orderSchema, `{"item": "tea"}`)
	f.Add(`{"type":"object","$ref":"#/$defs/a","$defs":{"a":{"allOf":[{"$ref":"#"}]}}}`, `{}`)
	f.Add(`{"type":"object","$REF":"#"}`, `{"a":1}`)
	f.Add(`{"type":"object","properties":{"a":{"$dynamicRef":"#b","$dynamicAnchor":"b"}}}`, `{"a":{"a":1}}`)
	f.Add(`{"type":"object","unevaluatedProperties":false,"if":{"required":["a"]},"then":{"properties":{"a":{"multipleOf":0}}}}`, `{"a":1}`)
	f.Add(`{"type":"object","properties":{"a":{"items":[{"type":"string"}],"additionalItems":false,"uniqueItems":true}}}`, `{"a":["x","y"]}`)
	f.Fuzz(func(t *testing.T, schema, arguments string) {
		made, err := New(Definition{Name: "a", Parameters: json.RawMessage(schema)}, answers("yes"))
		if err != nil {
			return
		}
		synctest.Test(t, func(t *testing.T) { // whose clock stands still while the validator works
			_, err := made.Call(t.Context(), arguments)
			if err != nil && asError(t, err).Type != InvalidArguments {
				t.Fatalf("a schema that was accepted fails at its use: %v", err)
			}
		})
	})
}
