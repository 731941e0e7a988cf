package config

import (
	"strings"
	"testing"
)

func TestWhatIsNotYAML(t *testing.T) {
	t.Parallel()
	const quote = `; quote it: "${NAME}"`
	for _, tt := range []struct{ name, file, want string }{
		{"an empty file", "", "the file is empty"},
		{"spaces only", " \n\n", "the file is empty"},
		{"comments only", "# nothing\n", "the file is empty"},
		{"a null", "~", "the file is empty"},
		{"too large a file", strings.Repeat("#\n", maxSize), "the file is larger than 1 MiB"},
		{"a second document", "limits: {}\n---\nx: 1", "2:1: a second document begins; a file holds one"},
		{"a broken second document", "limits: {}\n---\n[", "3: not YAML: did not find expected node content"},
		{"not UTF-8", "a: 1\nbé: \xff", "2:5: not UTF-8 text; save the file as UTF-8"},
		{"UTF-16", "\xff\xfea\x00", "1:1: not UTF-8 text; save the file as UTF-8"},
		{"a null character", "a: \x00", "1:4: a control character"},
		{"an escape character", "a: 1\n\x1b[1m", "2:1: a control character"},

		{"a tab", "agents:\n  a:\n\tmodel: x\n", "3:1: a tab in the indentation; use spaces"},
		{"a tab after spaces", "agents:\n  \ta:\n    model: x\n", "2:3: a tab in the indentation; use spaces"},
		{"a wrong indentation", "agents:\n  a:\n    model: x\n   tools: []\n", "4: not YAML: did not find expected key"},
		{"a wrong indentation, at the end of a line", "agents:\n  a:\n    model: x\n   tools:\n   - a", "4: not YAML: did not find expected key"},
		{"a list in a mapping", "a: 1\n- b\n", "2: not YAML: did not find expected key"},
		{"a list that does not close", "agents:\n  a: [1,\n  b: 2\nc: 3\n", "4: not YAML: did not find expected ',' or ']'"},
		{"a mapping that does not close", "agents:\n  a: {model: x\n  b: {model: x}\n", "3: not YAML: did not find expected ',' or '}'"},
		{"a quote that does not close", "a: 1\nb: \"x\nc: 1\n", "2: not YAML: found unexpected end of stream"},
		{"a quote of line 1 that does not close", "b: \"x\nc: 1", "2: not YAML: found unexpected end of stream"},
		{"a colon in text", "agents:\n  a:\n    description: a: b\n    model: x", `3: not YAML: mapping values are not allowed in this context; quote text that holds ": "`},
		{"a colon in text in line 1", "a: b: c\n", `1: not YAML: mapping values are not allowed in this context; quote text that holds ": "`},
		{"no colon", "agents: 1\nlimits\nkeys: 2\n", `2: not YAML: could not find expected ':'; write "key: value", with a space after the colon`},
		{"a special character", "a: 1\nb: @x", "2: not YAML: found character that cannot start any token; quote text that begins with a special character"},
		{"an alias to nothing", "a: 1\nb: *s3cret\n", `2: an alias to an anchor that is not there; quote text that begins with "*"`},
		{"a variable without quotes", "providers:\n  p: {type: openai, api_key: ${KEY}}\n", "2: not YAML: did not find expected ',' or '}'" + quote},
		{"an unknown escape", `a: "\q"`, "1: not YAML: found unknown escape character"},
		{"far down in a large file", strings.Repeat("a: 1\n", 5_000) + "b:\n- [1\nc: 2\n", "5003: not YAML: did not find expected ',' or ']'"},
		{"too deep", strings.Repeat("[", 20_000), "1: not YAML: exceeded max depth of 10000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := mistakesIn(t, tt.file); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestYAMLThatLooksOddIsFine(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{
		"a byte order mark":         "\ufeffagents: {a: {model: offline}}",
		"line ends of Windows":      "agents:\r\n  a:\r\n    model: offline\r\n",
		"marks of a document":       "---\nagents: {a: {model: offline}}\n...\n",
		"quoted keys":               `{"agents": {"a": {"model": "offline"}}}`,
		"an agent that is a number": "agents: {1: {model: offline}}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			equal(t, mustParse(t, file).Agents[0].Models, []string{"offline"})
		})
	}
}
