// Package agent is the core: the loop that asks a model, calls its tools and
// asks again, within a budget, and the events that tell what happens. It knows
// models and tools by their interfaces, and no server, no database, no queue.
package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/agent/tool"
)

// DefaultName is the agent that runs when a request names none.
const DefaultName = "default"

// Agent is what a team has written down: who answers, with which tools, and
// what a run may cost. It must not change once a Runner has it.
type Agent struct {
	// Name is how a request asks for it.
	Name string
	// Description is for those who choose among agents.
	Description string
	// SystemPrompt opens every conversation; may be empty.
	SystemPrompt string
	// Models are asked in order: the next one where one fails before it has
	// said anything. At least one.
	Models []model.Model
	// Tools may be called by the model.
	Tools []*tool.Tool
	// Sources are tools that come and go; a run has those that are there when it
	// begins.
	Sources []tool.Source
	// Agents are the names of agents that the model may ask, each by the tool
	// that ToolName gives. None may ask back, not by way of others either.
	Agents []string
	// MaxIterations bounds the model calls of a run; positive.
	MaxIterations int
	// MaxOutputTokens bounds each reply; positive.
	MaxOutputTokens int64
	// MaxTokens bounds the tokens of a run, input and output; positive.
	MaxTokens int64
	// MaxCost bounds what a run may cost; positive. A model without a known
	// price is not bound by it.
	MaxCost model.Money
	// Timeout bounds a run's time; positive.
	Timeout time.Duration
	// HistoryTokens bounds what a run is told of its session, newest turns
	// first. 0 is an agent without a memory: its runs have no session.
	HistoryTokens int64
	// SummaryModels sum up what lies before that, asked in order as Models are;
	// none leaves it out. They want model.LeastSummaryWindow HistoryTokens.
	SummaryModels []model.Model
	// MemoryTokens bounds what a run is told of the notes about its user that go
	// with its message, best first. 0 is nothing.
	MemoryTokens int64
}

func (a *Agent) validate() error {
	switch {
	case a.Name == "":
		return errors.New("agent without a name")
	case len(a.Models) == 0:
		return fmt.Errorf("agent %q: no model", a.Name)
	case a.MaxIterations <= 0, a.MaxOutputTokens <= 0, a.MaxTokens <= 0, a.MaxCost <= 0, a.Timeout <= 0:
		return fmt.Errorf("agent %q: every limit must be positive", a.Name)
	case len(a.SummaryModels) > 0 && a.HistoryTokens < model.LeastSummaryWindow:
		return fmt.Errorf("agent %q: a summary wants a history of %d tokens at least", a.Name, model.LeastSummaryWindow)
	}
	return nil
}

// toolset is an agent's tools as the model sees them and as the loop finds
// them. Each name is in one of the maps.
type toolset struct {
	offered []model.Tool
	byName  map[string]*tool.Tool
	agents  map[string]*configured
	names   []string
}

func newToolset(tools []*tool.Tool, agents []*configured) (toolset, error) {
	set := toolset{byName: make(map[string]*tool.Tool, len(tools)), agents: make(map[string]*configured, len(agents))}
	add := func(offered model.Tool) error {
		if slices.Contains(set.names, offered.Name) {
			return fmt.Errorf("tool %q is given twice", offered.Name)
		}
		set.names = append(set.names, offered.Name)
		set.offered = append(set.offered, offered)
		return nil
	}
	for _, t := range tools {
		def := t.Definition()
		if err := add(model.Tool{Name: def.Name, Description: def.Description, Parameters: def.Parameters}); err != nil {
			return toolset{}, err
		}
		set.byName[def.Name] = t
	}
	for _, a := range agents {
		if err := add(a.asTool()); err != nil {
			return toolset{}, err
		}
		set.agents[ToolName(a.Name)] = a
	}
	slices.Sort(set.names)
	slices.SortFunc(set.offered, func(a, b model.Tool) int { return strings.Compare(a.Name, b.Name) })
	return set, nil
}
