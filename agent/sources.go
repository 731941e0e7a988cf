package agent

import (
	"fmt"
	"slices"

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
	set, err := newToolset(slices.Concat(append([][]*tool.Tool{c.Tools}, now...)...))
	if err != nil {
		return nil, fmt.Errorf("agent %q: %w", c.Name, err)
	}
	mixed := &mixture{of: now, set: set}
	c.mixed.Store(mixed)
	return &mixed.set, nil
}

// sameSlice says whether two slices are one: sources hand out what they keep.
func sameSlice(a, b []*tool.Tool) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}
