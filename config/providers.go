package config

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/runwire/runwire/agent/model"
	"go.yaml.in/yaml/v3"
)

const (
	leastProviderTimeout = time.Millisecond
	mostProviderTimeout  = time.Hour
	mostRetries          = 10
)

func newProvider(name string) Provider {
	return Provider{Name: name, Timeout: time.Minute, MaxRetries: 2}
}

// builtins are the providers that the environment configures, sorted by name.
func (r *reader) builtins() []Provider {
	return []Provider{r.builtin(Anthropic, "ANTHROPIC"), r.builtin(OpenAI, "OPENAI")}
}

// builtin is the provider of that name and type as the variables that begin
// with prefix have it.
func (r *reader) builtin(name, prefix string) Provider {
	p := newProvider(name)
	p.Type = name
	if key, ok := r.env(prefix + "_API_KEY"); ok {
		p.APIKey = Secret(strings.TrimSpace(key))
	}
	variable := prefix + "_BASE_URL"
	if address, ok := r.env(variable); ok && address != "" {
		if problem := addressProblem(address); problem != "" {
			r.add(Mistake{File: "environment", Path: variable, Problem: problem})
		}
		p.BaseURL = strings.TrimRight(address, "/")
	}
	return p
}

// find is the provider of that name; the zero value if there is none.
func find(providers []Provider, name string) Provider {
	for _, p := range providers {
		if p.Name == name {
			return p
		}
	}
	return Provider{}
}

// providers reads `providers`, where entries may change builtins. The names are
// all that a model may be of, also those of entries that are wrong.
func (v value) providers(builtins []Provider) (providers []Provider, names []string) {
	providers, names = slices.Clone(builtins), []string{Offline}
	for _, p := range builtins {
		names = append(names, p.Name)
	}
	v.entries(func(name string, entry value) {
		names = append(names, name)
		i := slices.IndexFunc(builtins, func(p Provider) bool { return p.Name == name })
		switch {
		case name == Offline:
			entry.lacks("offline is built in and has nothing to configure", "give an agent model_options instead")
		case i >= 0:
			providers[i] = entry.provider(builtins[i])
		case entry.named(name):
			providers = append(providers, entry.provider(newProvider(name)))
		}
	})
	slices.SortFunc(providers, func(a, b Provider) int { return strings.Compare(a.Name, b.Name) })
	return providers, names
}

func (v value) provider(p Provider) Provider {
	builtin := p.Type != ""
	var kind, address, thinking value
	right := v.object(fields{
		"type":        keep(&kind),
		"base_url":    keep(&address),
		"api_key":     secret(&p.APIKey),
		"timeout":     duration(&p.Timeout, leastProviderTimeout, mostProviderTimeout),
		"max_retries": whole(&p.MaxRetries, 0, mostRetries),
		"thinking":    keep(&thinking),
	})
	p.Type = kind.providerType(p)
	p.Thinking = thinking.thinking(p.Type)
	if s, ok := address.text(); ok {
		p.BaseURL = strings.TrimRight(s, "/")
		if problem := addressProblem(s); problem != "" {
			address.wrong(problem, address.schemeless(s))
		}
	}
	if !right && v.given() {
		return p
	}
	if !kind.given() && !builtin {
		v.lacks("has no type", `add "type: openai" or "type: anthropic"`)
	}
	// Nobody's prompts are to go to a provider because a line was forgotten.
	if !address.given() && !builtin {
		example := "http://127.0.0.1:11434/v1"
		if p.Type == Anthropic {
			example = model.DefaultAnthropicBaseURL
		}
		v.lacks("has no base_url", `add one, such as "base_url: `+example+`"`)
	}
	return p
}

// providerType reads the type of p, which a built-in provider has already.
func (v value) providerType(p Provider) string {
	s, ok := v.text()
	switch {
	case !ok:
		return p.Type
	case s != OpenAI && s != Anthropic:
		v.wrong("no type "+v.quoted(s), suggest(s, []string{OpenAI, Anthropic}))
	case p.Type != "" && s != p.Type:
		v.wrong("the built-in "+p.Name+" is of type "+p.Type, "call a provider of another type otherwise")
		return p.Type
	}
	return s
}

// thinking reads how much a provider's models think: a word or a number of tokens.
func (v value) thinking(kind string) int64 {
	const adaptive = "adaptive"
	switch {
	case !v.given():
		return model.ThinkingDefault
	case kind == OpenAI:
		v.wrong("only providers of type anthropic know it", "leave it out")
		return model.ThinkingDefault
	case v.node.Kind == yaml.ScalarNode && v.node.Tag == "!!str" && v.node.Value == adaptive:
		return model.ThinkingAdaptive
	case v.node.Kind == yaml.ScalarNode && v.node.Tag == "!!str" && !strings.Contains(v.node.Value, "${"):
		v.wrong("wants a number of tokens or "+adaptive+", not "+v.shown(), suggest(v.node.Value, []string{adaptive}))
		return model.ThinkingDefault
	}
	tokens := int64(model.ThinkingDefault)
	whole(&tokens, model.LeastThinking, mostOutputTokens)(v)
	return tokens
}

// addressProblem says why calls cannot go to address, without quoting it, for
// it may hold a password; empty if they can.
func addressProblem(address string) string {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return "wants an address such as http://127.0.0.1:11434/v1"
	case u.User != nil:
		return "an address must not hold a user or a password: they would be seen in logs"
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return "an address wants no query and no fragment"
	}
	return ""
}

// schemeless suggests a scheme where only that was left out.
func (v value) schemeless(address string) string {
	whole := "http://" + address
	if strings.Contains(address, "://") || strings.Contains(v.node.Value, "${") || addressProblem(whole) != "" {
		return ""
	}
	return "did you mean " + v.quoted(whole) + "?"
}
