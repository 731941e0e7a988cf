package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/agent/tool"
)

// mixture is an agent's tools at one time: its own, and those of its sources.
type mixture struct {
	of  [][]*tool.Tool // what the sources had
	set toolset
}

// toolsNow is what the agent has now. It is worked out anew only when a source
// has changed.
func (c *configured) toolsNow() (*toolset, error) {
	if len(c.Sources) == 0 {
		return &c.tools, nil
	}
	now := make([][]*tool.Tool, len(c.Sources))
	for i, source := range c.Sources {
		now[i] = source.Tools()
	}
	if last := c.mixed.Load(); last != nil && slices.EqualFunc(last.of, now, sameSlice) {
		return &last.set, nil
	}
	set, err := newToolset(slices.Concat(append([][]*tool.Tool{c.Tools}, now...)...), c.asks)
	if err != nil {
		return nil, fmt.Errorf("agent %q: %w", c.Name, err)
	}
	mixed := &mixture{of: now, set: set}
	c.mixed.Store(mixed)
	return &mixed.set, nil
}

// found is what has come of looking for a tool that was not there when the run
// began.
type found struct {
	tool *tool.Tool // nil is none
	err  *tool.Error
}

// find looks for the tools of calls that are yet to be made and whose tools
// were not there when the run began: what a person has approved may be called
// by another process than asked, which has yet to connect to the tool's server.
func (r *Run) find(ctx context.Context, calls []model.ToolCall, done *toolSteps) {
	r.found = nil
	for _, call := range calls {
		if done.ended[call.ID] != nil || done.begun[call.ID] {
			continue
		}
		if _, known := r.tools.byName[call.Name]; known || r.tools.agents[call.Name] != nil {
			continue
		}
		if _, looked := r.found[call.Name]; looked {
			continue
		}
		if r.found == nil {
			r.found = make(map[string]found)
		}
		r.found[call.Name] = r.look(ctx, call.Name)
	}
}

func (r *Run) look(ctx context.Context, name string) found {
	for _, source := range r.agent.Sources {
		switch t, err := source.Find(ctx, name); {
		case ctx.Err() != nil:
			return found{err: &tool.Error{Type: tool.Cancelled, Message: "the run ended before the call was made"}}
		case err != nil:
			return found{err: &tool.Error{Type: tool.Failed, Message: err.Error()}}
		case t != nil:
			return found{tool: t}
		}
	}
	return found{err: &tool.Error{
		Type:    tool.UnknownTool,
		Message: fmt.Sprintf("there is no tool %q; there are: %s", name, strings.Join(r.tools.names, ", ")),
	}}
}

// tool is the one of that name that the run can call.
func (r *Run) tool(name string) (t *tool.Tool, known bool) {
	if t, known = r.tools.byName[name]; known {
		return t, true
	}
	t = r.found[name].tool
	return t, t != nil
}

// sameSlice says whether two slices are one: sources hand out what they keep.
func sameSlice(a, b []*tool.Tool) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}
