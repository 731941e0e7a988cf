package model

import (
	"encoding/json"
	"net"
	"reflect"
	"testing"
)

func TestWhichSchemasProvidersHoldTo(t *testing.T) {
	t.Parallel()
	for schema, want := range map[string][2]bool{ // with all properties required, and at all
		`{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}`:         {true, true},
		`{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}`:                          {false, true},
		`{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}`:                                      {},
		`{"type":"object","properties":{"a":{"type":"string","pattern":"x"}},"additionalProperties":false}`:            {},
		`{"type":"object","properties":{"a":{"type":"array","items":{"type":"object"}}},"additionalProperties":false}`: {},
		`{"type":"object","properties":{"a":{"anyOf":[{"type":"null"},{"$ref":"#/$defs/b"}]}},"required":["a"],` +
			`"additionalProperties":false,"$defs":{"b":{"enum":["x","y"]}}}`: {true, true},
		`{"type":"array","items":{"type":"string"}}`: {},
		`{"type":"object"}`:                          {},
		`true`:                                       {},
		``:                                           {},
	} {
		if got := [2]bool{closedSchema(json.RawMessage(schema), true), closedSchema(json.RawMessage(schema), false)}; got != want {
			t.Errorf("%s: got %v, want %v", schema, got, want)
		}
	}
}

// OpenAI and Anthropic are asked to hold the answer to a schema that they can
// hold it to; other servers, which may not know of it, are not.
func TestASchemaAsSent(t *testing.T) {
	t.Parallel()
	const (
		strict = `{"type":"object","properties":{"n":{"const":9007199254740993}},"required":["n"],"additionalProperties":false}`
		loose  = `{"type":"object"}`
	)
	type body struct {
		ResponseFormat json.RawMessage `json:"response_format"`
		OutputConfig   json.RawMessage `json:"output_config"`
	}
	openAI := func(address, schema string) sent {
		w := &wire{answers: []func(net.Conn){write(streamHead, said("{}"), ended("stop"))}}
		m := newTestOpenAI(t, w.client(), func(cfg *OpenAIConfig) { cfg.BaseURL = address })
		req := &Request{Messages: []Message{{Role: RoleUser, Text: "?"}}, AnswerSchema: json.RawMessage(schema), MaxOutputTokens: 9}
		if _, err := m.Generate(t.Context(), req, func(Delta) {}); err != nil {
			t.Fatal(err)
		}
		return w.sent()[0]
	}
	claude := func(schema string) sent {
		return sentBy(t, &Request{Messages: []Message{{Role: RoleUser, Text: "?"}}, AnswerSchema: json.RawMessage(schema), MaxOutputTokens: 9})
	}
	const format = `{"type":"json_schema","json_schema":{"name":"answer","strict":true,"schema":` + strict + `}}`
	for name, test := range map[string]struct {
		got                  sent
		openAI, anthropicOut string
	}{
		"OpenAI":                    {openAI("http://api.openai.com/v1", strict), format, ""},
		"OpenAI, a loose schema":    {openAI("http://api.openai.com/v1", loose), "", ""},
		"another server":            {openAI("http://provider.test/v1", strict), "", ""},
		"Anthropic":                 {claude(strict), "", `{"format":{"type":"json_schema","schema":` + strict + `}}`},
		"Anthropic, a loose schema": {claude(loose), "", ""},
	} {
		var got body
		if err := json.Unmarshal([]byte(test.got.body), &got); err != nil {
			t.Fatal(err)
		}
		equal(t, name, got.ResponseFormat, test.openAI)
		equal(t, name, got.OutputConfig, test.anthropicOut)
	}
}

// equal compares JSON, numbers to the last digit; an empty want is nothing at all.
func equal(t *testing.T, name string, got json.RawMessage, want string) {
	t.Helper()
	if want == "" && len(got) == 0 {
		return
	}
	if want == "" || len(got) == 0 || !reflect.DeepEqual(decoded(t, string(got)), decoded(t, want)) {
		t.Errorf("%s: sent %s, want %s", name, got, want)
	}
}
