package tool

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// compile makes a validator of a tool's JSON Schema.
func compile(parameters json.RawMessage) (*jsonschema.Resolved, error) {
	var schema jsonschema.Schema
	if err := json.Unmarshal(parameters, &schema); err != nil {
		return nil, fmt.Errorf("reading the JSON Schema: %w", err)
	}
	if schema.Type != "object" {
		return nil, errors.New(`the JSON Schema must be of "type": "object"`)
	}
	return resolve(&schema)
}

// resolve makes a validator of a JSON Schema. It never fetches anything.
func resolve(schema *jsonschema.Schema) (*jsonschema.Resolved, error) {
	if err := checkDraft(schema.Schema); err != nil {
		return nil, err
	}
	if err := checkRefs(schema); err != nil {
		return nil, err
	}
	resolved, err := schema.Resolve(nil)
	if err != nil {
		return nil, fmt.Errorf("compiling the JSON Schema: %w", err)
	}
	return resolved, nil
}

var jsonTypes = []string{"null", "boolean", "object", "array", "number", "string", "integer"}

// checkTypes refuses types that JSON does not have.
func checkTypes(schema *jsonschema.Schema) error {
	if schema == nil {
		return nil
	}
	for _, name := range append(schema.Types, schema.Type) {
		if name != "" && !slices.Contains(jsonTypes, name) {
			return fmt.Errorf("the JSON Schema has the type %q; there are: %s", name, strings.Join(jsonTypes, ", "))
		}
	}
	below := slices.Concat(
		[]*jsonschema.Schema{schema.Items, schema.AdditionalProperties, schema.Contains, schema.Not, schema.If, schema.Then, schema.Else},
		schema.PrefixItems, schema.AllOf, schema.AnyOf, schema.OneOf,
		slices.Collect(maps.Values(schema.Properties)), slices.Collect(maps.Values(schema.PatternProperties)),
		slices.Collect(maps.Values(schema.Defs)), slices.Collect(maps.Values(schema.Definitions)),
	)
	for _, child := range below {
		if err := checkTypes(child); err != nil {
			return err
		}
	}
	return nil
}

// checkDraft refuses a version that the validator would refuse at every call.
func checkDraft(version string) error {
	switch version {
	case "",
		"http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft-07/schema#",
		"https://json-schema.org/draft/2020-12/schema":
		return nil
	default:
		return fmt.Errorf("the JSON Schema's version %q is neither draft-07 nor 2020-12", version)
	}
}

// checkRefs refuses a schema on which the validator would recurse for ever,
// which no recover could catch: one that applies to a value again and again
// without going deeper into it.
func checkRefs(schema *jsonschema.Schema) error {
	// The keywords as the validator has understood them: it reads `$REF` too.
	understood, err := json.Marshal(schema)
	if err != nil {
		return fmt.Errorf("writing the JSON Schema: %w", err)
	}
	var root map[string]any
	if err := json.Unmarshal(understood, &root); err != nil {
		return fmt.Errorf("reading the JSON Schema: %w", err)
	}
	c := refChecker{root: root, state: map[uintptr]refState{}}
	return c.walk(root)
}

type refState int

const (
	unseen refState = iota
	open
	closed
)

type refChecker struct {
	root  map[string]any
	state map[uintptr]refState
}

// walk checks every object of the document as if it were a schema. Those that
// are none hold no reference that leads back to them.
func (c refChecker) walk(node any) error {
	switch node := node.(type) {
	case map[string]any:
		if _, named := node["$id"].(string); named && !same(node, c.root) {
			return errors.New("a $id below the JSON Schema's root is not supported")
		}
		if err := c.follow(node); err != nil {
			return err
		}
		for _, child := range node {
			if err := c.walk(child); err != nil {
				return err
			}
		}
	case []any:
		for _, child := range node {
			if err := c.walk(child); err != nil {
				return err
			}
		}
	}
	return nil
}

// follow visits the schemas that apply to the same value as node does.
func (c refChecker) follow(node map[string]any) error {
	id := reflect.ValueOf(node).Pointer()
	switch c.state[id] {
	case open:
		return errors.New("the JSON Schema refers to itself in a circle")
	case closed:
		return nil
	case unseen:
	}
	c.state[id] = open
	next, err := c.sameValue(node)
	if err != nil {
		return err
	}
	for _, child := range next {
		if child, ok := child.(map[string]any); ok {
			if err := c.follow(child); err != nil {
				return err
			}
		}
	}
	c.state[id] = closed
	return nil
}

func (c refChecker) sameValue(node map[string]any) ([]any, error) {
	if _, ok := node["$dynamicRef"].(string); ok {
		return nil, errors.New("$dynamicRef is not supported in a JSON Schema")
	}
	var next []any
	if ref, ok := node["$ref"].(string); ok {
		target, err := c.resolve(ref)
		if err != nil {
			return nil, err
		}
		next = append(next, target)
	}
	for _, keyword := range []string{"not", "if", "then", "else"} {
		next = append(next, node[keyword])
	}
	for _, keyword := range []string{"allOf", "anyOf", "oneOf"} {
		list, _ := node[keyword].([]any)
		next = append(next, list...)
	}
	for _, keyword := range []string{"dependentSchemas", "dependencies"} {
		named, _ := node[keyword].(map[string]any)
		for _, child := range named {
			next = append(next, child)
		}
	}
	return next, nil
}

// resolve finds what a reference of the form `#/a/b` means.
func (c refChecker) resolve(ref string) (any, error) {
	path, err := url.PathUnescape(strings.TrimPrefix(ref, "#"))
	if err != nil || !strings.HasPrefix(ref, "#") || path != "" && !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("the reference %q is not of the form #/…, within the JSON Schema", ref)
	}
	var node any = c.root
	for _, step := range strings.Split(path, "/")[1:] {
		node = child(node, strings.NewReplacer("~1", "/", "~0", "~").Replace(step))
	}
	if node == nil {
		return nil, fmt.Errorf("the reference %q leads nowhere", ref)
	}
	return node, nil
}

func child(node any, step string) any {
	switch parent := node.(type) {
	case map[string]any:
		return parent[step]
	case []any:
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(parent) {
			return parent[i]
		}
	}
	return nil
}

func same(a, b map[string]any) bool {
	return reflect.ValueOf(a).Pointer() == reflect.ValueOf(b).Pointer()
}
