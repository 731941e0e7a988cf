package config

import (
	"errors"
	"strings"
	"testing"
)

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"", "agents: {a: {model: [openai/x, offline], tools: ['*'], timeout: 5m, max_cost_usd_per_run: 0.5}}",
		"providers: {p: {type: openai, base_url: 'http://h/v1', api_key: '${KEY}'}}\nprices: {p/x: {input: 1, output: 2}}",
		"providers: {anthropic: {thinking: adaptive}, p: {type: anthropic, base_url: 'http://h', thinking: 2_000}}",
		"keys: [{name: k, sha256: " + okHash + ", scopes: [run]}]", "limits: {per_user: {requests: 1, window: 1s}, global: {}}",
		firstTry, "a: &a [*a, *a]\nb: {<<: *a}", "a:\n\tb", "? a\n: - b\n", "a: \"x\n", "--- !!str x\n--- y", "a: |+\n  $${x}\n", "x: ~\ny: !t {z: }",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse("f", data, environment("KEY", "s3cret-value"), builtIn())
		if err == nil {
			checkFile(t, file)
			return
		}
		mistakes, ok := errors.AsType[Mistakes](err)
		if !ok || file != nil || len(mistakes) == 0 || len(mistakes) > maxMistakes+1 {
			t.Fatalf("Parse = %v, %v", file, err)
		}
		last := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + strings.Count(string(data), "\u0085") +
			strings.Count(string(data), "\u2028") + strings.Count(string(data), "\u2029") + 1
		for _, m := range mistakes {
			if m.Line < 0 || m.Line > last || m.Column < 0 || m.Problem == "" || strings.ContainsAny(m.String(), "\n\r\x1b") {
				t.Errorf("a mistake in a file of %d lines: %q", last, m)
			}
			if strings.Contains(m.String(), "s3cret-value") {
				t.Errorf("shows a secret: %s", m)
			}
		}
	})
}

// checkFile holds a file against what its type promises.
func checkFile(t *testing.T, file *File) {
	t.Helper()
	if len(file.Agents) == 0 || len(file.Providers) == 0 {
		t.Fatalf("no agent or no provider: %+v", file)
	}
	for _, a := range file.Agents {
		if a.Name == "" || len(a.Models) == 0 || a.MaxIterations <= 0 || a.MaxOutputTokens <= 0 ||
			a.MaxTokensPerRun <= 0 || a.MaxCostPerRun <= 0 || a.Timeout <= 0 {
			t.Errorf("agent %+v", a)
		}
	}
	for _, p := range file.Providers {
		builtin := p.Name == OpenAI || p.Name == Anthropic
		if p.Name == "" || p.Type != OpenAI && p.Type != Anthropic || builtin && p.Type != p.Name ||
			p.Timeout <= 0 || p.MaxRetries < 0 || p.BaseURL == "" && !builtin || p.Thinking != 0 && p.Type != Anthropic {
			t.Errorf("provider %+v", p)
		}
	}
	for _, k := range file.Keys {
		if k.Name == "" || k.Tenant == "" || len(k.Scopes) == 0 {
			t.Errorf("key %+v", k)
		}
	}
	if file.Limits.Global.Window <= 0 {
		t.Errorf("limits %+v", file.Limits)
	}
}
