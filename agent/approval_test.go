package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/agent/tool"
)

// guarded is a tool that a person must agree to.
func guarded(t *testing.T, name string, called *atomic.Int32) *tool.Tool {
	t.Helper()
	made, err := tool.New(tool.Definition{
		Name: name, RequiresApproval: true,
		Parameters: json.RawMessage(`{"type":"object","properties":{"to":{"type":"string"}}}`),
	}, func(context.Context, json.RawMessage) (string, error) {
		called.Add(1)
		return "sent", nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// Who has no journal cannot wait: the call ends, calls nothing and leaves
// nothing in the session, but what it used is told.
func TestACallCannotWaitForAPerson(t *testing.T) {
	t.Parallel()
	var called, looked atomic.Int32
	mail := guarded(t, "mail", &called)
	look := aTool(t, "look_up", func(context.Context, json.RawMessage) (string, error) {
		looked.Add(1)
		return "found", nil
	})
	asked := &script{name: "test/m", turns: []turn{{
		say: []string{"Let me."}, calls: []model.ToolCall{{ID: "a", Name: "look_up"}, {ID: "b", Name: "mail"}}, usage: used(10, 1),
	}}}
	a := anAgent(asked)
	a.Tools = []*tool.Tool{mail, look}
	var turnKept []model.Message
	var paid []agent.ModelCall
	result, events, err := execute(t.Context(), t, newRunner(t, agent.Config{Agents: []agent.Agent{a}}), agent.Request{
		Message: "Mail.", Ended: func(run *agent.Run) { turnKept, paid = run.Turn(), run.Calls() },
	})
	needed := (*agent.ApprovalError)(nil)
	if !errors.As(err, &needed) || result != nil || len(needed.Calls) != 1 || needed.Calls[0].ID != "b" {
		t.Fatalf("got %v, %v", result, err)
	}
	if got, want := err.Error(), `the tool "mail" needs a person's approval`; got != want {
		t.Errorf("got %q", got)
	}
	if diff := cmp.Diff([]string{"started", "text"}, kinds(events)); diff != "" {
		t.Error(diff)
	}
	if called.Load()+looked.Load() != 0 || len(turnKept) != 0 || len(paid) != 1 {
		t.Errorf("%d and %d calls, kept %v, paid %v", called.Load(), looked.Load(), turnKept, paid)
	}
}

// Nobody is asked about a call that the tool would refuse.
func TestNobodyIsAskedInVain(t *testing.T) {
	t.Parallel()
	var called atomic.Int32
	asked := &script{name: "test/m", turns: []turn{
		{calls: []model.ToolCall{{ID: "a", Name: "mail", Arguments: `{"to":7}`}, {ID: "b", Name: "post"}}}, {say: []string{"Oh."}},
	}}
	a := anAgent(asked)
	a.Tools = []*tool.Tool{guarded(t, "mail", &called)}
	result, _, err := execute(t.Context(), t, newRunner(t, agent.Config{Agents: []agent.Agent{a}}), agent.Request{Message: "Mail."})
	if err != nil || result.GetContent() != "Oh." || called.Load() != 0 {
		t.Errorf("got %v, %v", result, err)
	}
}

// A run that has paused goes on in any later try; only the one right behind
// the pause need not tell again what was told.
func TestARunGoesOnBehindItsPause(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		attempt  int32
		decision agent.Decision
		want     []string
		told     string
		calls    int32
	}{
		"approved": {2, agent.Decision{ID: "b", Approved: true}, []string{"done mail", "iteration", "text", "iteration", "finished"}, "sent", 1},
		"rejected": {2, agent.Decision{ID: "b", Note: "no"}, []string{
			"done mail", "iteration", "text", "iteration", "finished",
		}, "error: a person rejected the call: no", 0},
		"later": {3, agent.Decision{ID: "b", Approved: true}, []string{
			"retrying", "text", "call look_up", "call mail", "done look_up", "done mail", "iteration", "text", "iteration", "finished",
		}, "sent", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var called, looked atomic.Int32
			look := aTool(t, "look_up", func(context.Context, json.RawMessage) (string, error) {
				looked.Add(1)
				return "found", nil
			})
			asked := &script{name: "test/m", turns: []turn{{
				say: []string{"Let me."}, calls: []model.ToolCall{{ID: "a", Name: "look_up"}, {ID: "b", Name: "mail"}},
			}, {say: []string{"Done."}}}}
			a := anAgent(asked)
			a.Tools = []*tool.Tool{guarded(t, "mail", &called), look}
			runner := newRunner(t, agent.Config{Agents: []agent.Agent{a}})
			kept := &journal{dies: -1}
			_, events, err := execute(t.Context(), t, runner, agent.Request{Message: "Mail.", Journal: kept})
			needed := (*agent.ApprovalError)(nil)
			if !errors.As(err, &needed) {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"started", "text", "call look_up", "call mail", "done look_up", "ask mail"}, kinds(events)); diff != "" {
				t.Error(diff)
			}
			if err := kept.Append(t.Context(), []agent.Step{needed.Pause, {Decided: &test.decision}}, nil); err != nil {
				t.Fatal(err)
			}
			result, events, err := execute(t.Context(), t, runner, agent.Request{Message: "Mail.", Journal: kept, Resume: &agent.Resume{
				Attempt: test.attempt, Steps: kept.kept(t), Told: true,
			}})
			if err != nil || result.GetContent() != "Done." || len(result.GetToolCallsMade()) != 2 {
				t.Errorf("got %v, %v", result, err)
			}
			if diff := cmp.Diff(test.want, kinds(events)); diff != "" {
				t.Error(diff)
			}
			messages := asked.requests()[1].Messages
			if got := messages[len(messages)-1].Text; got != test.told {
				t.Errorf("the model is told %q", got)
			}
			if called.Load() != test.calls || looked.Load() != 1 || len(asked.requests()) != 2 {
				t.Errorf("%d and %d calls, %d requests", called.Load(), looked.Load(), len(asked.requests()))
			}
		})
	}
}

// A run that ends while calls wait leaves none of them without an answer.
func TestARunThatEndsDoesNotWait(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var called atomic.Int32
	stop := aTool(t, "stop", func(context.Context, json.RawMessage) (string, error) {
		cancel()
		return "stopped", nil
	})
	asked := &script{name: "test/m", turns: []turn{{calls: []model.ToolCall{{ID: "a", Name: "mail"}, {ID: "b", Name: "stop"}}}}}
	a := anAgent(asked)
	a.Tools = []*tool.Tool{guarded(t, "mail", &called), stop}
	run, err := newRunner(t, agent.Config{Agents: []agent.Agent{a}}).NewRun(agent.Request{Message: "Mail.", Journal: &journal{dies: -1}})
	if err != nil {
		t.Fatal(err)
	}
	result, err := run.Execute(ctx, nil)
	if err != nil || result.GetStopReason() != cancelled || called.Load() != 0 {
		t.Errorf("got %v, %v", result, err)
	}
	answered := 0
	for _, message := range run.Turn() {
		if message.Role == model.RoleTool {
			answered++
		}
	}
	if answered != 2 {
		t.Errorf("%d calls have an answer: %v", answered, run.Turn())
	}
}
