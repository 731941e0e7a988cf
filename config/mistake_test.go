package config

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// mistakesIn is what Parse says of data, without the file's name.
func mistakesIn(t *testing.T, data string, env ...string) string {
	t.Helper()
	file, err := Parse("f", []byte(data), environment(env...), builtIn())
	if err == nil || file != nil {
		t.Fatalf("Parse = %+v, %v; want mistakes only", file, err)
	}
	lines := strings.Split(err.Error(), "\n")
	for i := range lines {
		lines[i] = strings.TrimPrefix(strings.TrimPrefix(lines[i], "f:"), " ")
	}
	return strings.Join(lines, "\n")
}

const (
	okHash     = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	nameRules  = `a name is 1 to 64 letters, digits, "_", "." and "-", a letter or digit first`
	addModel   = `has no model; add "model: openai/gpt-4o-mini" or "model: offline"`
	wantURL    = "wants an address such as http://127.0.0.1:11434/v1"
	newKey     = "`runwire keys new` makes a key"
	writeModel = `write it as "provider/model", such as "openai/gpt-4o-mini"`
)

// These put a field where it belongs, in a file that is right but for it.
func inAgent(field string) string    { return "agents: {a: {model: offline, " + field + "}}" }
func withModel(model string) string  { return "agents: {a: {model: " + model + "}}" }
func inProvider(field string) string { return "providers: {p: {type: openai, " + field + "}}" }
func inKey(field string) string      { return "keys: [{name: k, sha256: " + okHash + ", " + field + "}]" }

func TestEachMistake(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, file, want string }{
		{"a list at the root", "- a", "1:1: wants keys with values, not a list"},
		{"a word at the root", "hello", "1:1: wants keys with values, not a single value"},
		{"an unknown section", "agent: {}", `1:1: agent: unknown key; did you mean "agents"?`},
		{"an unknown section like none", "zzzz: 1", "1:1: zzzz: unknown key; choose from agents, http_get, keys, limits, mcp_servers, memory, prices, providers, webhooks"},
		{"an unknown key", inAgent("tols: [x]"), `1:30: agents.a.tols: unknown key; did you mean "tools"?`},
		{"a key in another case", inAgent("Tools: [x]"), `1:30: agents.a.Tools: unknown key; did you mean "tools"?`},
		{"a key with letters swapped", inAgent("toosl: [x]"), `1:30: agents.a.toosl: unknown key; did you mean "tools"?`},
		{"a part of a key", inAgent("prompt: x"), `1:30: agents.a.prompt: unknown key; did you mean "system_prompt"?`},
		{"a key and its value run together", inAgent("tools:x"), `1:30: agents.a.tools…: unknown key; write a space after "tools:"`},
		{"a key given twice", inAgent("model: offline"), "1:30: agents.a.model: given twice, first in line 1; keep one"},
		{"an agent given twice", "agents:\n  a: {model: offline}\n  a: {model: offline}", "3:3: agents.a: given twice, first in line 2; keep one"},
		{"a key that is a list", "? [a]\n: 1", "1:3: a key wants to be text, not a list"},
		{"a tag", inAgent("description: !!str x"), "1:43: agents.a.description: has a tag such as !!str; leave it out"},
		{"a merge key", "agents:\n  a: &a {model: offline}\n  b: {model: offline, <<: *a}", "3:23: agents.b: merge keys (<<) are not supported; write the keys out, or use an alias for a whole value"},

		{"no agent", "agents: {}", "1:1: agents: no agent is named; leave it out for the built-in agent"},
		{"nothing under agents", "agents:", "1:1: agents: no agent is named; leave it out for the built-in agent"},
		{"a list of agents", "agents: [a]", "1:9: agents: wants keys with values, not a list"},
		{"an agent that is text", "agents: {a: offline}", "1:13: agents.a: wants keys with values, not a single value"},
		{"an agent without anything", "agents: {a: }", "1:10: agents.a: " + addModel},
		{"an agent without a model", "agents: {a: {tools: []}}", "1:10: agents.a: " + addModel},
		{"an agent's name with a space", `agents: {a b: {model: offline}}`, `1:10: agents["a b"]: ` + nameRules},
		{"an agent's name with a mark first", `agents: {.a: {model: offline}}`, `1:10: agents..a: ` + nameRules},
		{"an agent without a name", `agents: {"": {model: offline}}`, `1:10: agents[""]: ` + nameRules},
		{"an agent's name too long", "agents:\n  " + strings.Repeat("a", 65) + ": {model: offline}", "2:3: agents." + strings.Repeat("a", 65) + ": " + nameRules},

		{"no model in the list", withModel("[]"), "1:21: agents.a.model: no model is named; name one, such as openai/gpt-4o-mini or offline"},
		{"an empty model", withModel("[offline, ]\n, tools: [~]"), "2:11: agents.a.tools[0]: the item is empty"},
		{"a mapping for a model", withModel("{name: offline}"), "1:21: agents.a.model: wants text, not keys with values"},
		{"no such provider", withModel("opena/gpt-4o"), `1:21: agents.a.model: no provider "opena"; did you mean "openai"?`},
		{"no such provider, like none", withModel("[offline, acme/x]"), `1:31: agents.a.model[1]: no provider "acme"; choose from anthropic, offline, openai`},
		{"a model without its provider", withModel("gpt-4o"), `1:21: agents.a.model: no provider is named in "gpt-4o"; ` + writeModel},
		{"offline, misspelt", withModel("ofline"), `1:21: agents.a.model: no model "ofline"; did you mean "offline"?`},
		{"a provider without its model", withModel("openai"), "1:21: agents.a.model: wants a model of that provider; " + writeModel},
		{"a provider with an empty model", withModel("openai/"), "1:21: agents.a.model: wants the model's name after the slash, without spaces"},
		{"a model with a space", withModel("openai/gpt 4"), "1:21: agents.a.model: wants the model's name after the slash, without spaces"},
		{"a variant of offline", withModel("offline/fast"), `1:21: agents.a.model: there is one offline model; write "offline"`},
		{"a model twice", withModel("[openai/x, openai/x]"), "1:32: agents.a.model[1]: the model is named twice; keep one"},
		{"too many models", withModel("[" + strings.Repeat("offline,", 21) + "]"), "1:21: agents.a.model: wants at most 20 models"},
		{"options for another model", "agents: {a: {model: openai/x, model_options: {tokens: 1}}}", "1:31: agents.a.model_options: only the model offline has options; leave them out"},
		{"an unknown option", inAgent("model_options: {token: 1}"), `1:46: agents.a.model_options.token: unknown key; did you mean "tokens"?`},
		{"a share above 1", inAgent("model_options: {fail_rate: 1.1}"), "1:57: agents.a.model_options.fail_rate: wants a number from 0 to 1, not 1.1"},
		{"a share that is none", inAgent("model_options: {fail_rate: .nan}"), "1:57: agents.a.model_options.fail_rate: wants a number from 0 to 1, not .nan"},
		{"a negative share", inAgent("model_options: {fail_rate: -0.1}"), "1:57: agents.a.model_options.fail_rate: wants a number from 0 to 1, not -0.1"},

		{"a number for text", inAgent("description: 5"), "1:43: agents.a.description: wants text; write it in quotes"},
		{"a truth for text", inAgent("description: true"), "1:43: agents.a.description: wants text; write it in quotes"},
		{"a list for text", inAgent("description: [x]"), "1:43: agents.a.description: wants text, not a list"},
		{"a tool that is not there", inAgent("tools: [calculatr]"), `1:38: agents.a.tools[0]: no tool "calculatr"; did you mean "calculator"?`},
		{"a glob that matches nothing", inAgent(`tools: ["mail.*"]`), `1:38: agents.a.tools[0]: no tool "mail.*"; choose from calculator, current_time, files.read, files.write`},
		{"a glob that is none", inAgent(`tools: ["files.["]`), `1:38: agents.a.tools[0]: not a pattern; "*" stands for any characters`},
		{"an agent that is not there", "agents:\n  a: {model: offline, tools: [agent.reseacher]}\n  researcher: {model: offline}", `2:31: agents.a.tools[0]: no agent "reseacher"; did you mean "agent.researcher"?`},
		{"an agent where there is no other", inAgent("tools: [agent.b]"), `1:38: agents.a.tools[0]: no agent "b"`},
		{"agents by a pattern", inAgent(`tools: ["agent.*"]`), `1:38: agents.a.tools[0]: agents are named one by one, not by a pattern; write each, such as "agent.researcher"`},
		{"an agent that asks itself", inAgent("tools: [agent.a]"), "1:38: agents.a.tools[0]: agents ask each other in a circle: a → a; leave one of them out"},
		{"agents in a circle", "agents:\n  z: {model: offline, tools: [agent.c]}\n  b: {model: offline, tools: [agent.c]}\n  c: {model: offline, tools: [calculator, agent.d]}\n  d: {model: offline, tools: [agent.b]}", "5:31: agents.d.tools[0]: agents ask each other in a circle: b → c → d → b; leave one of them out"},
		{"two circles", "agents:\n  a: {model: offline, tools: [agent.b, agent.c]}\n  b: {model: offline, tools: [agent.a]}\n  c: {model: offline, tools: [agent.a]}", "3:31: agents.b.tools[0]: agents ask each other in a circle: a → b → a; leave one of them out\n4:31: agents.c.tools[0]: agents ask each other in a circle: a → c → a; leave one of them out"},
		{"agents too deep", chain(7), "2:32: agents.a0.tools[0]: agents ask agents more than 5 deep"},
		{"one tool without a list", inAgent("tools: calculator"), "1:37: agents.a.tools: wants a list such as [calculator], not a single value"},
		{"an empty item", "agents:\n  a:\n    model: offline\n    tools:\n    -", "5:6: agents.a.tools[0]: the item is empty"},

		{"a word for a number", inAgent("max_iterations: twenty"), `1:46: agents.a.max_iterations: wants a whole number such as 20, not "twenty"`},
		{"a broken number", inAgent("max_iterations: 2.5"), "1:46: agents.a.max_iterations: wants a whole number such as 20, not 2.5"},
		{"a number in quotes", inAgent(`max_iterations: "20"`), `1:46: agents.a.max_iterations: wants a whole number such as 20, not "20"; leave out the quotes`},
		{"a negative number", inAgent("max_tokens_per_run: -1"), "1:50: agents.a.max_tokens_per_run: wants 1 to 1000000000, not -1"},
		{"zero where it makes no sense", inAgent("max_output_tokens: 0"), "1:49: agents.a.max_output_tokens: wants 1 to 1000000, not 0"},
		{"a number too large", inAgent("max_iterations: 1001"), "1:46: agents.a.max_iterations: wants 1 to 1000, not 1001"},
		{"a number that no machine holds", inAgent("max_iterations: 99999999999999999999"), "1:46: agents.a.max_iterations: wants 1 to 1000, not 99999999999999999999"},
		{"no money", inAgent("max_cost_usd_per_run: 0"), "1:52: agents.a.max_cost_usd_per_run: wants US dollars such as 0.50, more than 0, up to 1000000, not 0"},
		{"money with its sign", inAgent("max_cost_usd_per_run: $1"), `1:52: agents.a.max_cost_usd_per_run: wants US dollars such as 0.50, more than 0, up to 1000000, not "$1"`},
		{"negative money", inAgent("max_cost_usd_per_run: -0.5"), "1:52: agents.a.max_cost_usd_per_run: wants US dollars such as 0.50, more than 0, up to 1000000, not -0.5"},
		{"a time without a unit", inAgent("timeout: 30"), "1:39: agents.a.timeout: wants a duration such as 5m; did you mean 30s?"},
		{"a time in words", inAgent("timeout: 5 minutes"), `1:39: agents.a.timeout: wants a duration such as 5m, not "5 minutes"`},
		{"a negative time", inAgent("timeout: -1s"), `1:39: agents.a.timeout: wants 1ms to 24h, not "-1s"`},
		{"no time", inAgent("timeout: 0"), "1:39: agents.a.timeout: wants 1ms to 24h, not 0"},
		{"a list for a time", inAgent("timeout: [1s]"), "1:39: agents.a.timeout: wants a duration such as 5m, not a list"},

		{"a provider named offline", "providers: {offline: {type: openai}}", "1:13: providers.offline: offline is built in and has nothing to configure; give an agent model_options instead"},
		{"a provider's name", "providers: {a/b: {}}", "1:13: providers.a/b: " + nameRules},
		{"a provider without anything", "providers: {p: }", "1:13: providers.p: has no type; add \"type: openai\" or \"type: anthropic\"\n1:13: providers.p: has no base_url; add one, such as \"base_url: http://127.0.0.1:11434/v1\""},
		{"a provider's unknown type", `providers: {p: {type: opnai, base_url: "http://h"}}`, `1:23: providers.p.type: no type "opnai"; did you mean "openai"?`},
		{"a type that is nearly Anthropic's", `providers: {p: {type: antropic, base_url: "http://h"}}`, `1:23: providers.p.type: no type "antropic"; did you mean "anthropic"?`},
		{"a provider of Anthropic's type without its address", `providers: {p: {type: anthropic}}`, `1:13: providers.p: has no base_url; add one, such as "base_url: https://api.anthropic.com"`},
		{"a built-in provider of another type", `providers: {anthropic: {type: openai}}`, "1:31: providers.anthropic.type: the built-in anthropic is of type anthropic; call a provider of another type otherwise"},
		{"thinking elsewhere", "providers: {openai: {thinking: 2000}}", "1:32: providers.openai.thinking: only providers of type anthropic know it; leave it out"},
		{"too little thinking", "providers: {anthropic: {thinking: 1023}}", "1:35: providers.anthropic.thinking: wants 1024 to 1000000, not 1023"},
		{"another way of thinking", "providers: {anthropic: {thinking: adaptve}}", `1:35: providers.anthropic.thinking: wants a number of tokens or adaptive, not "adaptve"; did you mean "adaptive"?`},
		{"thinking that is no number", "providers: {anthropic: {thinking: [1]}}", "1:35: providers.anthropic.thinking: wants a whole number such as 1024, not a list"},
		{"a provider of type offline", `providers: {p: {type: offline, base_url: "http://h"}}`, `1:23: providers.p.type: no type "offline"; choose from anthropic, openai`},
		{"an address without a scheme", inProvider(`base_url: "localhost:11434/v1"`), "1:41: providers.p.base_url: " + wantURL + `; did you mean "http://localhost:11434/v1"?`},
		{"an address without a host", inProvider(`base_url: "http:///v1"`), "1:41: providers.p.base_url: " + wantURL},
		{"an address of another scheme", inProvider(`base_url: "ftp://h"`), "1:41: providers.p.base_url: " + wantURL},
		{"an address that is none", inProvider(`base_url: "http://h:x y"`), "1:41: providers.p.base_url: " + wantURL},
		{"an address with a password", inProvider(`base_url: "http://u:s3cret@h"`), "1:41: providers.p.base_url: an address must not hold a user or a password: they would be seen in logs"},
		{"an address with a query", inProvider(`base_url: "http://h/v1?k=1"`), "1:41: providers.p.base_url: an address wants no query and no fragment"},
		{"an empty key", inProvider(`base_url: "http://h", api_key: " "`), "1:62: providers.p.api_key: is empty; leave it out if none is needed"},
		{"a key with a line break", inProvider(`base_url: "http://h", api_key: "s3cret\nmore"`), "1:62: providers.p.api_key: has a space, a line break or another character that no header can hold"},
		{"too many retries", inProvider(`base_url: "http://h", max_retries: 11`), "1:66: providers.p.max_retries: wants 0 to 10, not 11"},

		{"keys by name", "keys: {k: s3cret}", `1:7: keys: wants a list such as [{name: …, sha256: "…"}], not keys with values`},
		{"a key in the clear", "keys: [s3cret]", "1:8: keys[0]: wants keys with values, not a single value"},
		{"a key without anything in it", "keys: [{tenant: a}]", "1:8: keys[0]: has no name; add one: it stands in the log\n1:8: keys[0]: has no sha256; " + newKey},
		{"a hash too short", `keys: [{name: k, sha256: s3cret}]`, "1:26: keys[0].sha256: wants 64 hexadecimal digits, not 6 characters; " + newKey},
		{"a hash of other letters", "keys: [{name: k, sha256: " + strings.Repeat("s3", 32) + "}]", "1:26: keys[0].sha256: wants 64 hexadecimal digits, 0 to 9 and a to f; " + newKey},
		{"a hash of digits only", "keys: [{name: k, sha256: " + strings.Repeat("31", 32) + "}]", "1:26: keys[0].sha256: wants text; write it in quotes"},
		{"a tenant's name", inKey("tenant: a b"), "1:92: keys[0].tenant: " + nameRules},
		{"an unknown scope", inKey("scopes: [rum]"), `1:101: keys[0].scopes[0]: no scope "rum"; did you mean "run"?`},
		{"a scope twice", inKey("scopes: [run, run]"), "1:106: keys[0].scopes[1]: the scope is named twice; keep one"},
		{"no scope", inKey("scopes: []"), "1:100: keys[0].scopes: no scope is named; leave it out for run and tasks"},
		{"two keys alike", "keys:\n- {name: k, sha256: " + okHash + "}\n- {name: k, sha256: " + okHash + "}", "3:3: keys[1]: the key in line 2 has the same name; give each its own\n3:3: keys[1]: the key in line 2 has the same sha256; " + newKey},
		{"an unknown key of a key that may be the key itself", "keys: [{rw_s3crets3crets3crets3crets3cret: }]", "1:8: keys[0]: has no name; add one: it stands in the log\n1:8: keys[0]: has no sha256; " + newKey + "\n1:9: keys[0].rw_s3cre…: unknown key; choose from cost_usd_per_day, name, scopes, sha256, tenant"},

		{"negative requests", "limits: {per_user: {requests: -1}}", "1:31: limits.per_user.requests: wants 0 to 10000000, not -1"},
		{"no window", "limits: {per_user: {window: 0s}}", `1:29: limits.per_user.window: wants 1ms to 24h, not "0s"`},
		{"an unknown limit", "limits: {global: {concurrent_runs: 1}}", "1:19: limits.global.concurrent_runs: unknown key; choose from requests, window"},
		{"a limit that is a number", "limits: {global: 5}", "1:18: limits.global: wants keys with values, not a single value"},

		{"a price without its parts", "prices: {offline: {}}", "1:10: prices.offline: has no input; add it, in US dollars a million tokens\n1:10: prices.offline: has no output; add it, in US dollars a million tokens"},
		{"a price above nothing", "prices: {offline: {input: 1, output: 1, above: {input: 2}}}", "1:41: prices.offline.above: has no output; add it, in US dollars a million tokens\n1:41: prices.offline.above: has no tokens; add how many a call reads more than, such as 200_000"},
		{"a price above no tokens", "prices: {offline: {input: 1, output: 1, above: {tokens: 0, input: 2, output: 2}}}", "1:57: prices.offline.above.tokens: wants 1 to 1000000000, not 0"},
		{"a price of no model", "prices: {gpt-4o: {input: 1, output: 1}}", `1:10: prices.gpt-4o: no provider is named in "gpt-4o"; ` + writeModel},
		{"a price of no provider", "prices: {opena/x: {input: 1, output: 1}}", `1:10: prices.opena/x: no provider "opena"; did you mean "openai"?`},
		{"a price with an exponent", "prices: {offline: {input: 1e2, output: 1}}", "1:27: prices.offline.input: wants US dollars such as 0.50, 0 to 1000, not 1e2"},
		{"a price too high", "prices: {offline: {input: 1, output: 1000.1}}", "1:38: prices.offline.output: wants US dollars such as 0.50, 0 to 1000, not 1000.1"},
		{"a price too fine", "prices: {offline: {input: 1, output: 0.0000000001}}", "1:38: prices.offline.output: wants US dollars such as 0.50, 0 to 1000, not 0.0000000001"},

		{"no such variable", inAgent(`description: "${NOPE} ${ALSO}"`), "1:43: agents.a.description: the environment has no variable NOPE; set it, or write $${ for the characters themselves\n1:43: agents.a.description: the environment has no variable ALSO; set it, or write $${ for the characters themselves"},
		{"no name of a variable", inAgent(`description: "${s3cret-x}"`), "1:43: agents.a.description: has a \"${\" that does not begin a ${NAME}; write $${ for the characters themselves"},
		{"a variable that does not end", inAgent(`description: "${NAME"`), "1:43: agents.a.description: has a \"${\" that does not begin a ${NAME}; write $${ for the characters themselves"},
		{"a variable that is no text", inAgent(`description: "${BINARY}"`), "1:43: agents.a.description: the environment's variable BINARY is not UTF-8 text"},
		{"a wrong value from the environment is not shown", inAgent(`timeout: "${SECRET}", max_iterations: "${SECRET}"`), "1:39: agents.a.timeout: wants a duration such as 5m, not \"${SECRET}\"\n1:68: agents.a.max_iterations: wants a whole number such as 20, not \"${SECRET}\""},
		{"a model from the environment is not shown", withModel(`["${SECRET}", "${SECRET}/x"]`), "1:22: agents.a.model[0]: no provider is named in \"${SECRET}\"; " + writeModel + "\n1:35: agents.a.model[1]: no provider \"${SECRET}/x\"; choose from anthropic, offline, openai"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := mistakesIn(t, tt.file, "BINARY", "\xff", "SECRET", "s3cret")
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if strings.Contains(got, "s3cret") {
				t.Error("a secret is shown")
			}
		})
	}
}

// chain is a file of so many agents, each of which but the last asks the next.
func chain(n int) string {
	file := "agents:\n"
	for i := range n - 1 {
		file += fmt.Sprintf("  a%d: {model: offline, tools: [agent.a%d]}\n", i, i+1)
	}
	return file + fmt.Sprintf("  a%d: {model: offline}\n", n-1)
}

// Who is asked by several is asked in no circle.
func TestAgentsMayShareOneThatTheyAsk(t *testing.T) {
	t.Parallel()
	file := mustParse(t, `
agents:
  a: {model: offline, tools: [agent.b, agent.c, calculator, agent.b]}
  b: {model: offline, tools: [agent.c, "*"]}
  c: {model: offline}
`)
	equal(t, [][]string{file.Agents[0].Agents, file.Agents[1].Agents, file.Agents[2].Agents}, [][]string{{"b", "c"}, {"c"}, nil})
	equal(t, file.Agents[0].Tools, []string{"calculator"})
	mustParse(t, chain(6))
}

const firstTry = `# A team's first try.
prices:
  opena/gpt-4o-mini: {input: 0.15, output: 0.60}
agents:
  default:
    modl: offline
    tols: [calculator]
    tools: [calculator, current_tme]
    max_iterations: twenty
    timeout: 30
  second agent: {model: offline}
  third:
    model: [openai/gpt-4o-mini, ofline]
    max_cost_usd_per_run: -1
    system_prompt: ${PROMPT}
providers:
  local: {type: openai, base_url: 127.0.0.1:11434/v1}
keys:
  - {name: chat, sha256: 12ab, scopes: [run, taks]}
limits:
  per_user: {request: 10, window: 60}
`

func TestAllMistakesAtOnceInOrder(t *testing.T) {
	t.Parallel()
	_, err := Parse("runwire.yaml", []byte(firstTry), environment(), builtIn())
	const want = `runwire.yaml:3:3: prices.opena/gpt-4o-mini: no provider "opena"; did you mean "openai"?
runwire.yaml:5:3: agents.default: has no model; add "model: openai/gpt-4o-mini" or "model: offline"
runwire.yaml:6:5: agents.default.modl: unknown key; did you mean "model"?
runwire.yaml:7:5: agents.default.tols: unknown key; did you mean "tools"?
runwire.yaml:8:25: agents.default.tools[1]: no tool "current_tme"; did you mean "current_time"?
runwire.yaml:9:21: agents.default.max_iterations: wants a whole number such as 20, not "twenty"
runwire.yaml:10:14: agents.default.timeout: wants a duration such as 5m; did you mean 30s?
runwire.yaml:11:3: agents["second agent"]: a name is 1 to 64 letters, digits, "_", "." and "-", a letter or digit first
runwire.yaml:13:33: agents.third.model[1]: no model "ofline"; did you mean "offline"?
runwire.yaml:14:27: agents.third.max_cost_usd_per_run: wants US dollars such as 0.50, more than 0, up to 1000000, not -1
runwire.yaml:15:20: agents.third.system_prompt: the environment has no variable PROMPT; set it, or write $${ for the characters themselves
runwire.yaml:17:35: providers.local.base_url: wants an address such as http://127.0.0.1:11434/v1; did you mean "http://127.0.0.1:11434/v1"?
runwire.yaml:19:26: keys[0].sha256: wants 64 hexadecimal digits, not 4 characters; ` + newKey + `
runwire.yaml:19:46: keys[0].scopes[1]: no scope "taks"; did you mean "tasks"?
runwire.yaml:21:14: limits.per_user.request: unknown key; did you mean "requests"?
runwire.yaml:21:35: limits.per_user.window: wants a duration such as 1s; did you mean 60s?`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestMistakesAreNotListedWithoutEnd(t *testing.T) {
	t.Parallel()
	var file strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&file, "a%d: 1\n", i)
	}
	_, err := Parse("f", []byte(file.String()), environment(), builtIn())
	mistakes, ok := errors.AsType[Mistakes](err)
	if !ok || len(mistakes) != maxMistakes+1 {
		t.Fatalf("got %d mistakes", len(mistakes))
	}
	equal(t, mistakes[maxMistakes].String(), "f: more than 100 mistakes; the others are not listed")
}

func TestAMistakeWithoutAPlace(t *testing.T) {
	t.Parallel()
	equal(t, Mistake{File: "f", Line: 3, Problem: "not YAML"}.String(), "f:3: not YAML")
	equal(t, Mistake{File: "f", Problem: "empty", Suggestion: "fill it"}.String(), "f: empty; fill it")
}

// The file is small, and 200 million values once its aliases are written out.
func TestAFileThatRepeatsItselfIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	var laughs strings.Builder
	laughs.WriteString("agents:\n  a: {model: offline, tools: &tools [" + strings.Repeat("calculator, ", 20_000) + "]}\n")
	for i := range 10_000 {
		fmt.Fprintf(&laughs, "  b%d: {model: offline, tools: *tools}\n", i)
	}
	got := mistakesIn(t, laughs.String())
	if !strings.HasSuffix(got, "]: more than 100000 values, aliases written out") || strings.Contains(got, "\n") {
		t.Errorf("got %s", got)
	}

	got = mistakesIn(t, "agents: &a {b: *a}")
	if !strings.Contains(got, "agents.b.b: unknown key") {
		t.Errorf("a value within itself: %s", got)
	}
}
