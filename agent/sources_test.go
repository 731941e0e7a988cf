package agent_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/agent/tool"
)

// source is tools that come and go.
type source struct{ now atomic.Pointer[[]*tool.Tool] }

func (s *source) Tools() []*tool.Tool { return *s.now.Load() }

func TestARunHasTheToolsThatAreThereWhenItBegins(t *testing.T) {
	t.Parallel()
	asked := &script{name: "test/m", turns: []turn{
		{calls: []model.ToolCall{{ID: "a", Name: "late"}}}, {say: []string{"Done."}},
	}}
	a := anAgent(asked)
	s := &source{}
	s.now.Store(&[]*tool.Tool{})
	a.Sources = []tool.Source{s}
	runner := newRunner(t, agent.Config{Agents: []agent.Agent{a}})
	offered := func() string {
		asked.mu.Lock()
		asked.asked = nil
		asked.mu.Unlock()
		result, _, err := execute(t.Context(), t, runner, agent.Request{})
		if err != nil || !result.GetSuccess() {
			t.Fatalf("%v, %v", result, err)
		}
		requests := asked.requests()
		last := requests[1].Messages
		names := make([]string, 0, len(requests[0].Tools))
		for _, offered := range requests[0].Tools {
			names = append(names, offered.Name)
		}
		return strings.Join(append(names, last[len(last)-1].Text), " ")
	}
	if got := offered(); !strings.Contains(got, `there is no tool "late"`) {
		t.Errorf("before: %s", got)
	}
	late := aTool(t, "late", func(context.Context, json.RawMessage) (string, error) { return "I am here", nil })
	s.now.Store(&[]*tool.Tool{late})
	if got := offered(); got != "late I am here" {
		t.Errorf("then: %s", got)
	}
	gone := slices.Clone([]*tool.Tool{})
	s.now.Store(&gone)
	if got := offered(); !strings.Contains(got, `there is no tool "late"`) {
		t.Errorf("after: %s", got)
	}
}
