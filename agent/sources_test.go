package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/agent/tool"
)

// source is tools that come and go.
type source struct {
	now atomic.Pointer[[]*tool.Tool]
	// What is found of those that are not there now.
	later *tool.Tool
	err   error
}

func (s *source) Tools() []*tool.Tool { return *s.now.Load() }

func (s *source) Find(context.Context, string) (*tool.Tool, error) { return s.later, s.err }

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

// Whoever goes on behind an approval may have none of the tools of who asked.
func TestAnApprovedCallFindsItsTool(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		back  bool
		err   error
		told  string
		calls int32
	}{
		"whose server comes back": {back: true, told: "sent", calls: 1},
		"whose server is away":    {err: errors.New("the server is away"), told: "error: the server is away"},
		"that is gone for good":   {told: `error: there is no tool "mail"; there are: `},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var called atomic.Int32
			mail := guarded(t, "mail", &called)
			s := &source{}
			s.now.Store(&[]*tool.Tool{mail})
			asked := &script{name: "test/m", turns: []turn{{calls: []model.ToolCall{{ID: "a", Name: "mail"}}}, {say: []string{"Done."}}}}
			a := anAgent(asked)
			a.Sources = []tool.Source{s}
			runner := newRunner(t, agent.Config{Agents: []agent.Agent{a}})
			kept := &journal{dies: -1}
			_, _, err := execute(t.Context(), t, runner, agent.Request{Message: "Mail.", Journal: kept})
			needed := (*agent.ApprovalError)(nil)
			if !errors.As(err, &needed) {
				t.Fatal(err)
			}
			s.now.Store(&[]*tool.Tool{})
			if s.err = test.err; test.back {
				s.later = mail
			}
			if err := kept.Append(t.Context(), []agent.Step{needed.Pause, {Decided: &agent.Decision{ID: "a", Approved: true}}}, nil); err != nil {
				t.Fatal(err)
			}
			result, _, err := execute(t.Context(), t, runner, agent.Request{Message: "Mail.", Journal: kept, Resume: &agent.Resume{
				Attempt: 2, Steps: kept.kept(t), Told: true,
			}})
			if err != nil || result.GetContent() != "Done." {
				t.Errorf("got %v, %v", result, err)
			}
			messages := asked.requests()[1].Messages
			if got := messages[len(messages)-1].Text; got != test.told || called.Load() != test.calls {
				t.Errorf("the model is told %q after %d calls", got, called.Load())
			}
		})
	}
}

// A tool that is found late is a person's to allow like any other.
func TestAToolThatIsFoundNeedsApprovalToo(t *testing.T) {
	t.Parallel()
	var called atomic.Int32
	s := &source{later: guarded(t, "mail", &called)}
	s.now.Store(&[]*tool.Tool{})
	asked := &script{name: "test/m", turns: []turn{{calls: []model.ToolCall{{ID: "a", Name: "mail"}, {ID: "b", Name: "mail"}}}}}
	a := anAgent(asked)
	a.Sources = []tool.Source{s}
	_, _, err := execute(t.Context(), t, newRunner(t, agent.Config{Agents: []agent.Agent{a}}), agent.Request{Message: "Mail."})
	needed := (*agent.ApprovalError)(nil)
	if !errors.As(err, &needed) || len(needed.Calls) != 2 || called.Load() != 0 {
		t.Errorf("got %v after %d calls", err, called.Load())
	}
}
