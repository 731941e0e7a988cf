package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runwire/runwire/agent/model"
)

func builtIn() Known {
	return Known{Tools: []string{"calculator", "current_time", "files.read", "files.write"}}
}

// environment is one with these variables: name, value, name, value, and so on.
func environment(pairs ...string) func(string) (string, bool) {
	variables := make(map[string]string)
	for i := 0; i < len(pairs); i += 2 {
		variables[pairs[i]] = pairs[i+1]
	}
	return func(name string) (string, bool) {
		variable, ok := variables[name]
		return variable, ok
	}
}

func mustParse(t *testing.T, data string, env ...string) *File {
	t.Helper()
	file, err := Parse("runwire.yaml", []byte(data), environment(env...), builtIn())
	if err != nil {
		t.Fatalf("Parse:\n%v", err)
	}
	return file
}

func equal(t *testing.T, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestEverythingThatAFileCanSay(t *testing.T) {
	t.Parallel()
	file := mustParse(t, `
agents:
  zed: {model: offline, model_options: {tokens: 256, token_interval: 50ms, first_token_delay: 0, fail_rate: 0.25}}
  default:
    description: Answers.
    model: [local/llama3:8b, openai/gpt-4o-mini, offline]
    system_prompt: |
      You are ${WHO}.
      A price is written $${AMOUNT}.
    tools: ["files.*", calculator, "*e"]
    max_iterations: 3
    max_output_tokens: 100
    max_tokens_per_run: 1_000
    max_cost_usd_per_run: 0.000000001
    timeout: 1m30s
providers:
  local: {type: openai, base_url: "http://127.0.0.1:11434/v1/", api_key: "${LOCAL_KEY}", timeout: 5s, max_retries: 0}
  claude: {type: anthropic, base_url: "http://127.0.0.1:4000", thinking: 2_048}
keys:
  - {name: chat, tenant: acme, sha256: "9F86D081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", scopes: [admin, run]}
  - {name: other, sha256: 60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752}
limits:
  per_user: {requests: 0, window: 2m, concurrent_runs: 4}
  global: {requests: 6000, window: 10s}
memory: {embedding_model: local/nomic-embed-text, min_similarity: 0.6, max_per_user: 500}
prices:
  openai/gpt-4o-mini: {input: 0.15, cached_input: 0.075, cache_write: 0.2, output: 0.60}
  local/llama3:8b: {input: 0, output: 1000}
`, "WHO", "a helper", "LOCAL_KEY", " s3cret\n", "OPENAI_API_KEY", "sk-1")

	none, twoMinutes := 0, 2*time.Minute
	equal(t, file, &File{
		Agents: []Agent{
			{
				Name: "default", Description: "Answers.",
				Models:        []string{"local/llama3:8b", "openai/gpt-4o-mini", "offline"},
				SystemPrompt:  "You are a helper.\nA price is written ${AMOUNT}.\n",
				Tools:         []string{"files.read", "files.write", "calculator", "current_time"},
				MaxIterations: 3, MaxOutputTokens: 100, MaxHistoryTokens: 16_000, MaxTokensPerRun: 1_000, MaxCostPerRun: 1,
				Timeout: 90 * time.Second,
			},
			{
				Name: "zed", Models: []string{"offline"},
				OfflineOptions: OfflineOptions{Tokens: 256, TokenInterval: 50 * time.Millisecond, FailRate: 0.25},
				MaxIterations:  20, MaxOutputTokens: 4_096, MaxHistoryTokens: 16_000, MaxTokensPerRun: 50_000, MaxCostPerRun: model.Dollar / 2,
				Timeout: 5 * time.Minute,
			},
		},
		Providers: []Provider{
			{Name: "anthropic", Type: "anthropic", Timeout: time.Minute, MaxRetries: 2},
			{Name: "claude", Type: "anthropic", BaseURL: "http://127.0.0.1:4000", Timeout: time.Minute, MaxRetries: 2, Thinking: 2048},
			{Name: "local", Type: "openai", BaseURL: "http://127.0.0.1:11434/v1", APIKey: "s3cret", Timeout: 5 * time.Second},
			{Name: "openai", Type: "openai", APIKey: "sk-1", Timeout: time.Minute, MaxRetries: 2},
		},
		Keys: []Key{
			{Name: "chat", Tenant: "acme", SHA256: file.Keys[0].SHA256, Scopes: []Scope{ScopeAdmin, ScopeRun}},
			{Name: "other", Tenant: "default", SHA256: file.Keys[1].SHA256, Scopes: []Scope{ScopeRun, ScopeTasks}},
		},
		Limits: Limits{
			PerUser: UserLimits{Requests: &none, Window: &twoMinutes, ConcurrentRuns: 4},
			Global:  GlobalLimits{Requests: 6000, Window: 10 * time.Second},
		},
		Memory: Memory{EmbeddingModel: "local/nomic-embed-text", MinSimilarity: 0.6, MaxPerUser: 500},
		Prices: map[string]model.Price{
			"openai/gpt-4o-mini": {Input: 150_000_000, CachedInput: 75_000_000, CacheWrite: 200_000_000, Output: 600_000_000},
			"local/llama3:8b":    {Output: 1000 * model.Dollar},
		},
	})
	equal(t, fmt.Sprintf("%x", file.Keys[0].SHA256), "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")
}

func TestWhatAFileLeavesOutIsTheDefault(t *testing.T) {
	t.Parallel()
	file := mustParse(t, "agents: {a: {model: offline, description: , tools: [], system_prompt: ~}}\nlimits:\nkeys: []\n")
	equal(t, file.Limits, Limits{Global: GlobalLimits{Window: time.Minute}})
	equal(t, file.Keys, []Key(nil))
	equal(t, file.Prices, map[string]model.Price{})
	equal(t, file.Providers, []Provider{
		{Name: "anthropic", Type: "anthropic", Timeout: time.Minute, MaxRetries: 2},
		{Name: "openai", Type: "openai", Timeout: time.Minute, MaxRetries: 2},
	})
	equal(t, file.Agents, []Agent{{
		Name: "a", Models: []string{"offline"},
		MaxIterations: 20, MaxOutputTokens: 4_096, MaxHistoryTokens: 16_000, MaxTokensPerRun: 50_000, MaxCostPerRun: model.Dollar / 2,
		Timeout: 5 * time.Minute,
	}})
}

func TestAPriceOfInputIsAlsoThatOfTheCache(t *testing.T) {
	t.Parallel()
	file := mustParse(t, "prices: {offline: {output: 2, input: 1}}")
	equal(t, file.Prices["offline"], model.Price{
		Input: model.Dollar, CachedInput: model.Dollar, CacheWrite: model.Dollar, Output: 2 * model.Dollar,
	})
}

func TestALongPromptHasAPriceOfItsOwn(t *testing.T) {
	t.Parallel()
	file := mustParse(t, "prices: {offline: {input: 1, output: 2, above: {tokens: 200_000, input: 2, cached_input: 0.50, output: 3}}}")
	equal(t, file.Prices["offline"], model.Price{
		Input: model.Dollar, CachedInput: model.Dollar, CacheWrite: model.Dollar, Output: 2 * model.Dollar,
		Above: model.LongPrice{
			Tokens: 200_000, Input: 2 * model.Dollar, CachedInput: model.Dollar / 2, CacheWrite: 2 * model.Dollar, Output: 3 * model.Dollar,
		},
	})
}

func TestBuiltInProvidersCanBeChanged(t *testing.T) {
	t.Parallel()
	env := []string{
		"OPENAI_API_KEY", " sk-env\n", "OPENAI_BASE_URL", "https://proxy.internal/v1/",
		"ANTHROPIC_API_KEY", "\tsk-ant-env", "ANTHROPIC_BASE_URL", "https://claude.internal/",
	}
	const openAI, anthropic = "https://proxy.internal/v1", "https://claude.internal"
	for _, tt := range []struct {
		name, provider, file, address string
		key                           Secret
	}{
		{"OpenAI not at all", OpenAI, "agents: {a: {model: openai/x}}", openAI, "sk-env"},
		{"its time only", OpenAI, "providers: {openai: {type: openai, timeout: 1s}}", openAI, "sk-env"},
		{"its key", OpenAI, "providers: {openai: {api_key: mine}}", openAI, "mine"},
		{"its address", OpenAI, `providers: {openai: {base_url: "https://eu.api.openai.com/v1"}}`, "https://eu.api.openai.com/v1", "sk-env"},
		{"Anthropic not at all", Anthropic, "agents: {a: {model: anthropic/x}}", anthropic, "sk-ant-env"},
		{"its thinking only", Anthropic, "providers: {anthropic: {type: anthropic, thinking: adaptive}}", anthropic, "sk-ant-env"},
		{"its key", Anthropic, "providers: {anthropic: {api_key: mine}}", anthropic, "mine"},
		{"its address", Anthropic, `providers: {anthropic: {base_url: "https://h/v1/"}}`, "https://h/v1", "sk-ant-env"},
	} {
		t.Run(tt.provider+"/"+tt.name, func(t *testing.T) {
			t.Parallel()
			providers := mustParse(t, tt.file, env...).Providers
			got := find(providers, tt.provider)
			if len(providers) != 2 || got.Type != tt.provider || got.BaseURL != tt.address || got.APIKey != tt.key {
				t.Errorf("got %+v, want address %q and key %q", providers, tt.address, string(tt.key))
			}
		})
	}
}

func TestHowMuchAProviderThinks(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{
		"": model.ThinkingDefault, "~": model.ThinkingDefault, "adaptive": model.ThinkingAdaptive, `"adaptive"`: model.ThinkingAdaptive,
		"1024": 1024, "16_000": 16_000, `"${BUDGET}"`: 3000,
	} {
		file := mustParse(t, "providers: {anthropic: {thinking: "+text+"}}", "BUDGET", "3000")
		if got := find(file.Providers, Anthropic).Thinking; got != want {
			t.Errorf("%s is %d, want %d", text, got, want)
		}
	}
}

func TestModelsOfBothProviders(t *testing.T) {
	t.Parallel()
	file := mustParse(t, "agents: {default: {model: [openai/gpt-4o-mini, anthropic/claude-3-5-haiku-latest]}}")
	equal(t, file.Agents[0].Models, []string{"openai/gpt-4o-mini", "anthropic/claude-3-5-haiku-latest"})
}

func TestWithoutAgentsThereIsTheBuiltInOne(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, model string
		env         []string
	}{
		{"offline without a key", "offline", nil},
		{"offline with an empty key", "offline", []string{"OPENAI_API_KEY", " "}},
		{"OpenAI with a key", "openai/gpt-4o-mini", []string{"OPENAI_API_KEY", "sk-1"}},
		{"Anthropic with a key", "anthropic/claude-haiku-5-5", []string{"ANTHROPIC_API_KEY", "sk-2"}},
		{"OpenAI with both", "openai/gpt-4o-mini", []string{"ANTHROPIC_API_KEY", "sk-2", "OPENAI_API_KEY", "sk-1"}},
		{"Anthropic with an empty key of OpenAI's", "anthropic/claude-haiku-5-5", []string{"ANTHROPIC_API_KEY", "sk-2", "OPENAI_API_KEY", ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			file, err := Default(environment(tt.env...))
			if err != nil {
				t.Fatal(err)
			}
			agent := file.Agents[0]
			equal(t, len(file.Agents), 1)
			equal(t, agent.Name, "default")
			equal(t, agent.Description, "Answers questions and does arithmetic.")
			equal(t, agent.Models, []string{tt.model})
			equal(t, agent.Tools, []string{"calculator", "current_time"})
			equal(t, file, mustParse(t, "limits: {global: {requests: 0}}", tt.env...))
		})
	}
}

func TestAWrongEnvironmentIsAMistake(t *testing.T) {
	t.Parallel()
	for _, variable := range []string{"OPENAI_BASE_URL", "ANTHROPIC_BASE_URL"} {
		_, err := Default(environment(variable, "secret-host"))
		want := "environment: " + variable + ": wants an address such as http://127.0.0.1:11434/v1"
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

func TestAnAliasStandsForAWholeValue(t *testing.T) {
	t.Parallel()
	file := mustParse(t, `
agents:
  a: {model: &models [offline], tools: &tools [calculator], max_iterations: &n 7}
  b: {model: *models, tools: *tools, max_iterations: *n}
`)
	b := file.Agents[0]
	b.Name = "b"
	equal(t, file.Agents[1], b)
	equal(t, b.MaxIterations, 7)
}

func TestEveryValueCanComeFromTheEnvironment(t *testing.T) {
	t.Parallel()
	file := mustParse(t, `
agents: {a: {model: "${MODEL}", max_iterations: "${N}", timeout: "${T}", max_cost_usd_per_run: "${USD}", description: "${EMPTY}${A}-$$${A} $A $"}}
`, "MODEL", "offline", "N", "7", "T", "9s", "USD", "1.5", "EMPTY", "", "A", "${N}")
	a := file.Agents[0]
	equal(t, a.Models, []string{"offline"})
	equal(t, a.MaxIterations, 7)
	equal(t, a.Timeout, 9*time.Second)
	equal(t, a.MaxCostPerRun, 3*model.Dollar/2)
	equal(t, a.Description, "${N}-$${A} $A $")
}

func TestASecretDoesNotPrint(t *testing.T) {
	t.Parallel()
	file := mustParse(t, "providers: {openai: {api_key: s3cret}}")
	asJSON, err := json.Marshal(file.Providers)
	if err != nil {
		t.Fatal(err)
	}
	for _, printed := range []string{
		fmt.Sprint(file), fmt.Sprintf("%+v", file), fmt.Sprintf("%#v", file.Providers), fmt.Sprintf("%q", file.Providers[0].APIKey), string(asJSON),
	} {
		if strings.Contains(printed, "s3cret") || !strings.Contains(printed, "[secret]") {
			t.Errorf("printed as %s", printed)
		}
	}
	equal(t, string(find(file.Providers, OpenAI).APIKey), "s3cret")
}

func TestLoadReadsAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "runwire.yaml")
	write := func(data string) {
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("agents: {a: {model: offline}}")
	file, err := Load(path, environment(), builtIn())
	if err != nil || file.Agents[0].Name != "a" {
		t.Errorf("Load = %+v, %v", file, err)
	}

	write("agent: {}")
	_, err = Load(path, environment(), builtIn())
	if mistakes, ok := errors.AsType[Mistakes](err); !ok || mistakes[0].File != path || mistakes[0].Line != 1 {
		t.Errorf("a wrong file: %v", err)
	}

	write("#" + strings.Repeat("x", maxSize))
	_, err = Load(path, environment(), builtIn())
	if _, ok := errors.AsType[Mistakes](err); !ok || err.Error() != path+": the file is larger than 1 MiB" {
		t.Errorf("too large a file: %v", err)
	}

	_, err = Load(filepath.Join(path, "absent"), environment(), builtIn())
	if err == nil || !strings.HasPrefix(err.Error(), "reading the configuration: ") {
		t.Errorf("an unreachable file: %v", err)
	}
	_, err = Load(path+"x", environment(), builtIn())
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an absent file: %v", err)
	}
	_, err = Load(filepath.Dir(path), environment(), builtIn())
	if err == nil {
		t.Error("a directory was read")
	}
}

func TestAnAgentWithAMemoryToolIsToldOfNotes(t *testing.T) {
	t.Parallel()
	known := Known{Tools: []string{"calculator", "memory_save", "memory_search"}}
	for text, want := range map[string]int64{
		"": 0, "tools: [calculator]": 0, "tools: [memory_save]": 1000, "tools: [memory_search]": 1000, `tools: ["*"]`: 1000,
		"memory_tokens: 500": 500, "tools: [memory_save], memory_tokens: 0": 0, "tools: [memory_save], memory_tokens: ~": 1000,
	} {
		file, err := Parse("runwire.yaml", []byte("agents: {a: {model: offline, "+text+"}}"), environment(), known)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got := file.Agents[0].MemoryTokens; got != want {
			t.Errorf("%q is %d tokens, want %d", text, got, want)
		}
	}
	_, err := Parse("runwire.yaml", []byte("agents: {a: {model: offline, memory_tokens: -1}}"), environment(), known)
	if err == nil || !strings.Contains(err.Error(), "agents.a.memory_tokens: wants 0 to 1000000000, not -1") {
		t.Errorf("got %v", err)
	}
}

func TestSummaryModels(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"": nil, "summary_model: offline": {Offline}, "summary_model: [openai/gpt-4o-mini, offline], max_history_tokens: 400": {"openai/gpt-4o-mini", Offline},
	} {
		file := mustParse(t, "agents: {a: {model: openai/gpt-4o, "+text+"}}")
		if got := file.Agents[0].SummaryModels; !slices.Equal(got, want) {
			t.Errorf("%q: %v", text, got)
		}
	}
	for text, want := range map[string]string{
		"summary_model: offline, max_history_tokens: 399": "agents.a.summary_model: a summary wants max_history_tokens of 400 at least; raise them, or leave summary_model out",
		"summary_model: offline, max_history_tokens: 0":   "agents.a.summary_model: a summary wants max_history_tokens of 400 at least",
		"summary_model: opena/x":                          `agents.a.summary_model: no provider "opena"; did you mean "openai"?`,
		"summary_model: [], max_history_tokens: 400":      "agents.a.summary_model: no model is named",
	} {
		_, err := Parse("runwire.yaml", []byte("agents: {a: {model: offline, "+text+"}}"), environment(), builtIn())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
