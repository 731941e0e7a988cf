package server

import (
	"fmt"

	"github.com/runwire/runwire/agent/tool"
	"github.com/runwire/runwire/config"
)

// builtinTool makes the built-in tool of that name, as the file has it.
func builtinTool(name string, httpGet *config.HTTPGet) (*tool.Tool, error) {
	if name == config.HTTPGetTool && httpGet != nil {
		return tool.HTTPGet(tool.HTTPGetConfig(*httpGet))
	}
	t, ok := tool.Builtin(name)
	if !ok {
		return nil, fmt.Errorf("no tool %q", name)
	}
	return t, nil
}
