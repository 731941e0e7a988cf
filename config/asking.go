package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/runwire/runwire/agent/model"
)

// mostNested is how deep agents may ask agents, as the program has it.
const mostNested = 5

// asking is which agents an agent has as tools, by its name.
type asking map[string]*asker

type asker struct {
	asks []asked
	// nesting is how deep the agents are nested that it asks; 1 for none, 0 is
	// not known yet.
	nesting int
}

// asked is an agent that is named as a tool, and where.
type asked struct {
	name string
	item value
}

// asked takes an agent that a names as a tool.
func (v value) asked(a *Agent, name string, asks asking) {
	switch {
	case strings.ContainsAny(name, `*?[\`):
		v.wrong("agents are named one by one, not by a pattern", `write each, such as "agent.researcher"`)
		return
	case !slices.Contains(v.in.agents, name):
		others := slices.DeleteFunc(v.in.toolNames(a.Name), func(tool string) bool {
			return !strings.HasPrefix(tool, model.AgentPrefix)
		})
		v.wrong("no agent "+v.quoted(name), suggest(model.AgentPrefix+name, others))
		return
	case slices.Contains(a.Agents, name):
		return
	}
	a.Agents = append(a.Agents, name)
	if asks[a.Name] == nil {
		asks[a.Name] = &asker{}
	}
	asks[a.Name].asks = append(asks[a.Name].asks, asked{name: name, item: v})
}

// check takes a mistake for each circle, and where agents are nested too deep.
func (a asking) check() {
	for _, name := range slices.Sorted(maps.Keys(a)) {
		a.measure(name, nil)
	}
}

// measure returns how deep the agents are nested that an agent asks, which
// above ask.
func (a asking) measure(name string, above []string) int {
	agent := a[name]
	if agent == nil {
		return 1
	}
	if agent.nesting > 0 {
		return agent.nesting
	}
	above = append(above, name)
	deepest := 0
	for _, next := range agent.asks {
		if i := slices.Index(above, next.name); i >= 0 {
			circle := strings.Join(slices.Concat(above[i:], []string{next.name}), " → ")
			next.item.wrong("agents ask each other in a circle: "+circle, "leave one of them out")
			continue
		}
		below := a.measure(next.name, above)
		if below == mostNested+1 {
			next.item.wrong(fmt.Sprintf("agents ask agents more than %d deep", mostNested), "")
		}
		deepest = max(deepest, below)
	}
	agent.nesting = deepest + 1
	return agent.nesting
}
