package config

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/runwire/runwire/agent/model"
	"go.yaml.in/yaml/v3"
)

// The most that an agent may be given.
const (
	mostModels          = 20
	mostIterations      = 1_000
	mostOutputTokens    = 1_000_000
	mostTokensPerRun    = 1_000_000_000
	mostCost            = 1_000_000 * model.Dollar
	leastTimeout        = time.Millisecond
	mostTimeout         = 24 * time.Hour
	mostOfflineTokens   = 1_000_000
	mostOfflineInterval = time.Hour
)

// An agent with either of these tools is told of the notes about its user, so
// many tokens of them, if the file does not say how many.
const (
	memorySave          = "memory_save"
	memorySearch        = "memory_search"
	defaultMemoryTokens = 1_000
)

// newAgent is an agent of that name with the defaults.
func newAgent(name string) Agent {
	return Agent{
		Name:            name,
		MaxIterations:   20,
		MaxOutputTokens: 4_096,
		MaxTokensPerRun: 50_000, MaxHistoryTokens: 16_000,
		MaxCostPerRun: model.Dollar / 2,
		Timeout:       5 * time.Minute,
	}
}

// offlinePace is how fast the built-in agent speaks while no model answers: as
// fast as many do, so that one can see it stream.
const offlinePace = 20 * time.Millisecond

// defaultAgent is the one that there is when the file names none.
func defaultAgent(providers []Provider) Agent {
	a := newAgent("default")
	a.Description = "Answers questions and does arithmetic."
	a.Models = []string{Offline}
	a.OfflineOptions.TokenInterval = offlinePace
	switch {
	case find(providers, OpenAI).APIKey != "":
		a.Models = []string{OpenAI + "/gpt-4o-mini"}
	case find(providers, Anthropic).APIKey != "":
		a.Models = []string{Anthropic + "/claude-haiku-5-5"}
	}
	a.SystemPrompt = "You are a helpful assistant. Use the calculator for arithmetic and current_time for dates " +
		"and times; do not guess them. Answer briefly, and say so when you do not know."
	a.Tools = []string{"calculator", "current_time"}
	return a
}

// agents reads `agents`, whose models may be those of the named providers.
func (v value) agents(providers []string) []Agent {
	var agents []Agent
	asks := asking{}
	if v.given() && v.node.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(v.node.Content); i += 2 {
			v.in.agents = append(v.in.agents, v.node.Content[i].Value)
		}
	}
	mapping := v.entries(func(name string, entry value) {
		agent := entry.agent(name, providers, asks) // for its mistakes, whatever its name
		if entry.named(name) {
			agents = append(agents, agent)
		}
	})
	asks.check()
	if v.node != nil && (!v.given() || mapping && len(v.node.Content) == 0) {
		v.lacks("no agent is named", "leave it out for the built-in agent")
	}
	slices.SortFunc(agents, func(a, b Agent) int { return strings.Compare(a.Name, b.Name) })
	return agents
}

func (v value) agent(name string, providers []string, asks asking) Agent {
	a := newAgent(name)
	var models, summarizers, options, notes value
	right := v.object(fields{
		"description":          text(&a.Description),
		"model":                keep(&models),
		"model_options":        keep(&options),
		"system_prompt":        text(&a.SystemPrompt),
		"tools":                func(tools value) { tools.tools(&a, asks) },
		"max_iterations":       whole(&a.MaxIterations, 1, mostIterations),
		"max_output_tokens":    whole(&a.MaxOutputTokens, 1, mostOutputTokens),
		"max_history_tokens":   whole(&a.MaxHistoryTokens, 0, mostTokensPerRun),
		"summary_model":        keep(&summarizers),
		"memory_tokens":        keep(&notes),
		"max_tokens_per_run":   whole(&a.MaxTokensPerRun, 1, mostTokensPerRun),
		"max_cost_usd_per_run": dollars(&a.MaxCostPerRun, 1, mostCost),
		"timeout":              duration(&a.Timeout, leastTimeout, mostTimeout),
	})
	if slices.Contains(a.Tools, memorySave) || slices.Contains(a.Tools, memorySearch) {
		a.MemoryTokens = defaultMemoryTokens
	}
	if notes.given() {
		whole(&a.MemoryTokens, 0, mostTokensPerRun)(notes)
	}
	a.Models = models.models(providers)
	if (right || !v.given()) && !models.given() {
		v.lacks("has no model", `add "model: openai/gpt-4o-mini" or "model: offline"`)
	}
	a.SummaryModels = summarizers.models(providers)
	if summarizers.given() && a.MaxHistoryTokens < model.LeastSummaryWindow {
		summarizers.lacks(fmt.Sprintf("a summary wants max_history_tokens of %d at least", model.LeastSummaryWindow),
			"raise them, or leave summary_model out")
	}
	options.object(fields{
		"tokens":            whole(&a.OfflineOptions.Tokens, 0, mostOfflineTokens),
		"token_interval":    duration(&a.OfflineOptions.TokenInterval, 0, mostOfflineInterval),
		"first_token_delay": duration(&a.OfflineOptions.FirstTokenDelay, 0, mostOfflineInterval),
		"fail_rate":         share(&a.OfflineOptions.FailRate),
	})
	if options.given() && len(a.Models) > 0 && !slices.Contains(slices.Concat(a.Models, a.SummaryModels), Offline) {
		options.lacks("only the model offline has options", "leave them out")
	}
	return a
}

// models reads one model or a list of them, and returns those that are right.
func (v value) models(providers []string) []string {
	var models []string
	read := func(v value) {
		s, ok := v.text()
		if !ok || !v.model(s, providers) {
			return
		}
		if slices.Contains(models, s) {
			v.wrong("the model is named twice", "keep one")
			return
		}
		models = append(models, s)
	}
	if v.given() && v.node.Kind != yaml.SequenceNode {
		read(v)
		return models
	}
	if v.given() && len(v.node.Content) > mostModels {
		v.wrong(fmt.Sprintf("wants at most %d models", mostModels), "")
		return nil
	}
	if v.list("a model", read) && len(v.node.Content) == 0 {
		v.wrong("no model is named", "name one, such as openai/gpt-4o-mini or offline")
	}
	return models
}

// model says whether s names a model, and takes a mistake if not.
func (v value) model(s string, providers []string) bool {
	provider, rest, slash := strings.Cut(s, "/")
	switch {
	case s == Offline:
		return true
	case provider == Offline:
		v.wrong("there is one offline model", `write "offline"`)
	case !slash && slices.Contains(providers, s):
		v.wrong("wants a model of that provider", `write it as "provider/model", such as "openai/gpt-4o-mini"`)
	case !slash && distance(s, Offline) <= 2:
		v.wrong("no model "+v.quoted(s), `did you mean "offline"?`)
	case !slash:
		v.wrong("no provider is named in "+v.quoted(s), `write it as "provider/model", such as "openai/gpt-4o-mini"`)
	case !slices.Contains(providers, provider):
		v.wrong("no provider "+v.quoted(provider), suggest(provider, providers))
	case rest == "" || strings.ContainsFunc(rest, notPrintedASCII):
		v.wrong("wants the model's name after the slash, without spaces", "")
	default:
		return true
	}
	return false
}

// tools reads names and globs into a: the names that they stand for, those of
// them that may also mean tools of MCP servers, and the agents among them.
func (v value) tools(a *Agent, asks asking) {
	v.list("a list such as [calculator]", func(item value) {
		pattern, ok := item.text()
		if !ok {
			return
		}
		if asked, is := strings.CutPrefix(pattern, model.AgentPrefix); is {
			item.asked(a, asked, asks)
			return
		}
		found := false
		for _, tool := range v.in.known.Tools {
			matched, err := path.Match(pattern, tool)
			if err != nil {
				item.wrong("not a pattern", `"*" stands for any characters`)
				return
			}
			found = found || matched
			if matched && !slices.Contains(a.Tools, tool) {
				a.Tools = append(a.Tools, tool)
			}
		}
		if slices.ContainsFunc(v.in.servers, func(server string) bool { return ofServer(pattern, server) }) {
			a.ServerTools = append(a.ServerTools, pattern)
			found = true
		}
		switch {
		case found:
		case pattern == HTTPGetTool:
			item.wrong("http_get may ask no host", `add "http_get: {hosts: [example.com]}" to the file`)
		default:
			item.wrong("no tool "+item.quoted(pattern), suggest(pattern, v.in.toolNames(a.Name)))
		}
	})
}
