package model

import (
	"encoding/json"
	"slices"
)

// closedSchema says whether providers can hold a model to a JSON Schema: it is
// of the keywords that they all know, and its objects have no properties but
// those it names, and with complete all of those. Where it is not, the model is
// only told.
func closedSchema(schema json.RawMessage, complete bool) bool {
	var root map[string]any
	if len(schema) == 0 || json.Unmarshal(schema, &root) != nil {
		return false
	}
	return root["type"] == "object" && closedNode(root, complete)
}

func closedNode(node any, complete bool) bool {
	schema, ok := node.(map[string]any)
	if !ok {
		return false
	}
	for keyword, value := range schema {
		switch keyword {
		case "type", "description", "title", "enum", "const", "$ref", "required", "additionalProperties":
		case "items":
			if !closedNode(value, complete) {
				return false
			}
		case "anyOf":
			list, _ := value.([]any)
			if slices.ContainsFunc(list, func(one any) bool { return !closedNode(one, complete) }) {
				return false
			}
		case "properties", "$defs":
			named, _ := value.(map[string]any)
			for _, one := range named {
				if !closedNode(one, complete) {
					return false
				}
			}
		default:
			return false
		}
	}
	return schema["type"] != "object" || closedObject(schema, complete)
}

func closedObject(schema map[string]any, complete bool) bool {
	properties, _ := schema["properties"].(map[string]any)
	required, _ := schema["required"].([]any)
	if schema["additionalProperties"] != false || len(properties) == 0 {
		return false
	}
	for name := range properties {
		if complete && !slices.Contains(required, any(name)) {
			return false
		}
	}
	return true
}
