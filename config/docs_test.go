package config

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

func documentation(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func examples(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, match := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(documentation(t), -1) {
		found = append(found, match[1])
	}
	if len(found) < 2 {
		t.Fatalf("%d examples", len(found))
	}
	return found
}

func TestTheExamplesInTheDocumentationAreRight(t *testing.T) {
	t.Parallel()
	for _, example := range examples(t) {
		mustParse(t, example, "LOCAL_API_KEY", "s3cret", "CLAUDE_API_KEY", "s3cret", "RUNWIRE_WEBHOOK_SECRET", okSecret)
	}
}

// A field that no key of the first example fills is a key that it leaves out.
func TestTheFirstExampleHasEverything(t *testing.T) {
	t.Parallel()
	file := mustParse(t, examples(t)[0], "LOCAL_API_KEY", "s3cret", "CLAUDE_API_KEY", "s3cret", "RUNWIRE_WEBHOOK_SECRET", okSecret)
	price := file.Prices["openai/gpt-5.4"]
	provider := find(file.Providers, "claude")
	agent, offline := file.Agents[0], file.Agents[1].OfflineOptions
	agent.OfflineOptions = offline
	for _, part := range []any{agent, offline, provider, file.Keys[0], file.Limits.PerUser, file.Limits.Global, file.Memory, price, price.Above} {
		v := reflect.ValueOf(part)
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("%s.%s is not in the example", v.Type(), v.Type().Field(i).Name)
			}
		}
	}
}

// The keys are taken from what an unknown one is told, so none can be forgotten.
func TestEveryKeyIsInTheTables(t *testing.T) {
	t.Parallel()
	text := documentation(t)
	for section, file := range map[string]string{
		"":          "zzz: 1",
		"agents":    "agents: {a: {model: offline, zzz: 1}}",
		"options":   "agents: {a: {model: offline, model_options: {zzz: 1}}}",
		"providers": "providers: {anthropic: {zzz: 1}}",
		"keys":      "keys: [{name: k, sha256: " + okHash + ", zzz: 1}]",
		"per_user.": "limits: {per_user: {zzz: 1}}",
		"global.":   "limits: {global: {zzz: 1}}",
		"webhooks":  "webhooks: {zzz: 1}",
		"memory":    "memory: {zzz: 1}",
		"prices":    "prices: {offline: {input: 1, output: 1, zzz: 1}}",
		"above.":    "prices: {offline: {input: 1, output: 1, above: {tokens: 1, input: 1, output: 1, zzz: 1}}}",
	} {
		_, names, _ := strings.Cut(mistakesIn(t, file), "choose from ")
		for name := range strings.SplitSeq(names, ", ") {
			row := "| `" + name + "` |"
			switch {
			case section == "":
				row = "### `" + name + "`"
			case strings.HasSuffix(section, "."):
				row = "| `" + section + name + "` |"
			}
			if !strings.Contains(text, row) {
				t.Errorf("the documentation of %s has no %q", section, row)
			}
		}
	}
}

func TestTheMistakesInTheDocumentationAreReal(t *testing.T) {
	t.Parallel()
	got := mistakesIn(t, `
agents:
  default:
    model: opena/gpt-4o-mini
    system_prompt: You help.
    tols: [calculator]
    max_iterations: twenty
`)
	for line := range strings.SplitSeq(got, "\n") {
		if !strings.Contains(documentation(t), "\nrunwire.yaml:"+line+"\n") {
			t.Errorf("not in the documentation: %s", line)
		}
	}
}
