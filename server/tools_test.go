package server

import (
	"strings"
	"testing"

	"github.com/runwire/runwire/agent/tool"
	"github.com/runwire/runwire/config"
)

func TestBuiltinTools(t *testing.T) {
	t.Parallel()
	hosts := &config.HTTPGet{Hosts: []string{"example.com"}}
	for _, name := range append(tool.BuiltinNames(), config.HTTPGetTool) {
		made, err := builtinTool(name, hosts)
		if err != nil || made.Definition().Name != name {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := builtinTool(config.HTTPGetTool, nil); err == nil {
		t.Error("http_get may ask whom nobody has named")
	}
	_, err := builtinTool(config.HTTPGetTool, &config.HTTPGet{Hosts: []string{"127.1"}})
	if err == nil || !strings.Contains(err.Error(), `the host "127.1"`) {
		t.Errorf("an address that is none: %v", err)
	}
}
