package config

import (
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	leastProviderTimeout = time.Millisecond
	mostProviderTimeout  = time.Hour
	mostRetries          = 10
)

func newProvider(name string) Provider {
	return Provider{Name: name, Timeout: time.Minute, MaxRetries: 2}
}

// builtinOpenAI is OpenAI as the environment has it.
func (r *reader) builtinOpenAI() Provider {
	p := newProvider(OpenAI)
	p.Type = OpenAI
	if key, ok := r.env("OPENAI_API_KEY"); ok {
		p.APIKey = Secret(strings.TrimSpace(key))
	}
	const variable = "OPENAI_BASE_URL"
	if address, ok := r.env(variable); ok && address != "" {
		if problem := addressProblem(address); problem != "" {
			r.add(Mistake{File: "environment", Path: variable, Problem: problem})
		}
		p.BaseURL = strings.TrimRight(address, "/")
	}
	return p
}

// providers reads `providers`, where an entry may change builtin. The names are
// all that a model may be of, also those of entries that are wrong.
func (v value) providers(builtin Provider) (providers []Provider, names []string) {
	providers, names = []Provider{builtin}, []string{OpenAI, Offline}
	v.entries(func(name string, entry value) {
		names = append(names, name)
		switch {
		case name == Offline:
			entry.lacks("offline is built in and has nothing to configure", "give an agent model_options instead")
		case name == OpenAI:
			providers[0] = entry.provider(builtin)
		case entry.named(name):
			providers = append(providers, entry.provider(newProvider(name)))
		}
	})
	slices.SortFunc(providers, func(a, b Provider) int { return strings.Compare(a.Name, b.Name) })
	return providers, names
}

func (v value) provider(p Provider) Provider {
	var kind, address value
	right := v.object(fields{
		"type":        keep(&kind),
		"base_url":    keep(&address),
		"api_key":     secret(&p.APIKey),
		"timeout":     duration(&p.Timeout, leastProviderTimeout, mostProviderTimeout),
		"max_retries": whole(&p.MaxRetries, 0, mostRetries),
	})
	if s, ok := kind.text(); ok {
		p.Type = s
		if s != OpenAI {
			kind.wrong("no type "+kind.quoted(s), suggest(s, []string{OpenAI}))
		}
	}
	if s, ok := address.text(); ok {
		p.BaseURL = strings.TrimRight(s, "/")
		if problem := addressProblem(s); problem != "" {
			address.wrong(problem, address.schemeless(s))
		}
	}
	if !right && v.given() {
		return p
	}
	if !kind.given() && p.Type == "" {
		v.lacks("has no type", `add "type: openai"`)
	}
	// Nobody's prompts are to go to OpenAI because a line was forgotten.
	if !address.given() && p.Name != OpenAI {
		v.lacks("has no base_url", `add one, such as "base_url: http://127.0.0.1:11434/v1"`)
	}
	return p
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
