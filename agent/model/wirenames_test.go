package model

import (
	"net"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var wireNamePattern = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// Whatever tools are called, providers take their names, tell them apart, and
// mean the tool that they were told of.
func TestWireNamesAreTakenAndToldApart(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(
			rapid.StringMatching(`[a-b]?[._/ü][ab_.]{0,2}`), rapid.StringMatching(`[ab]{60,70}`), rapid.StringMatching(`[a-c_]{1,2}(_2)?`), rapid.StringN(1, 70, 200),
		)
		var tools []Tool
		for _, n := range rapid.SliceOfNDistinct(name, 1, 30, rapid.ID[string]).Draw(t, "names") {
			tools = append(tools, Tool{Name: n})
		}
		names, again := newWireNames(tools), newWireNames(tools)
		wires := make(map[string]string)
		for _, tool := range tools {
			wire := names.wire(tool.Name)
			if !wireNamePattern.MatchString(wire) {
				t.Fatalf("%q is %q on the wire", tool.Name, wire)
			}
			if other, taken := wires[wire]; taken {
				t.Fatalf("%q and %q are both %q", tool.Name, other, wire)
			}
			wires[wire] = tool.Name
			if back := names.ours(wire); back != tool.Name {
				t.Fatalf("%q comes back as %q", tool.Name, back)
			}
			if again.wire(tool.Name) != wire {
				t.Fatalf("%q has two names", tool.Name)
			}
		}
	})
}

func TestNamesThatFitAreLeftAlone(t *testing.T) {
	t.Parallel()
	if names := newWireNames([]Tool{{Name: "calculator"}, {Name: "current_time"}}); names != nil {
		t.Errorf("names %+v", names)
	}
	names := newWireNames([]Tool{{Name: "a.b"}, {Name: "a_b"}})
	if names.wire("a_b") != "a_b" || names.wire("a.b") != "a_b_2" {
		t.Errorf("a_b is %q and a.b %q", names.wire("a_b"), names.wire("a.b"))
	}
}

func TestOpenAIToolNames(t *testing.T) {
	t.Parallel()
	w := &wire{answers: []func(net.Conn){write(streamHead,
		event(`{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"files_read","arguments":"{}"}}]}}]}`)+ended("tool_calls"))}}
	req := hello()
	req.Tools = []Tool{{Name: "files.read"}}
	req.Messages = append(req.Messages,
		Message{Role: RoleAssistant, ToolCalls: []ToolCall{{"z", "files.read", "{}"}}}, Message{Role: RoleTool, ToolCallID: "z"})
	reply, err := newTestOpenAI(t, w.client()).Generate(t.Context(), req, func(Delta) {})
	if want := []ToolCall{{"a", "files.read", "{}"}}; err != nil || !reflect.DeepEqual(reply.ToolCalls, want) {
		t.Errorf("calls %+v, error %v; want %+v", reply.ToolCalls, err, want)
	}
	if body := w.sent()[0].body; strings.Contains(body, "files.read") || strings.Count(body, `"files_read"`) != 2 {
		t.Errorf("sent %s", body)
	}
}
