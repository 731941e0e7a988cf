package agent_test

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/agent/tool"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

// script is a model that plays its turns in order, one a call, and remembers
// what it was asked.
type script struct {
	name  string
	input int64 // what InputTokens says
	turns []turn

	mu    sync.Mutex
	asked []model.Request
}

// turn is one reply: says what, asks for what, and ends how.
type turn struct {
	say   []string
	think []string
	pause time.Duration // before each piece
	calls []model.ToolCall
	stop  model.Stop
	usage model.Usage
	err   error
	panic any
}

func (s *script) Name() string { return s.name }

func (s *script) InputTokens(*model.Request) int64 { return s.input }

func (s *script) Generate(ctx context.Context, req *model.Request, speak func(model.Delta)) (model.Reply, error) {
	s.mu.Lock()
	t := s.turns[min(len(s.asked), len(s.turns)-1)]
	s.asked = append(s.asked, model.Request{
		System: req.System, Messages: slices.Clone(req.Messages), Tools: req.Tools, MaxOutputTokens: req.MaxOutputTokens,
	})
	s.mu.Unlock()
	for _, thought := range t.think {
		speak(model.Delta{Reasoning: thought})
	}
	for _, piece := range t.say {
		if err := wait(ctx, t.pause); err != nil {
			return model.Reply{Usage: t.usage}, err
		}
		speak(model.Delta{Text: piece})
	}
	if t.panic != nil {
		panic(t.panic)
	}
	if t.err != nil {
		return model.Reply{Usage: t.usage}, t.err
	}
	stop := t.stop
	if stop == "" {
		stop = model.StopEnd
		if len(t.calls) > 0 {
			stop = model.StopToolCalls
		}
	}
	return model.Reply{ToolCalls: slices.Clone(t.calls), Stop: stop, Usage: t.usage}, nil
}

func (s *script) requests() []model.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func wait(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// forever is a turn that speaks until its context ends.
func forever() turn {
	return turn{say: slices.Repeat([]string{"again "}, 1_000_000), pause: time.Second}
}

// anAgent is an agent with generous limits.
func anAgent(models ...model.Model) agent.Agent {
	return agent.Agent{
		Name: agent.DefaultName, SystemPrompt: "Be brief.", Models: models,
		MaxIterations: 20, MaxOutputTokens: 4096, MaxTokens: 50_000,
		MaxCost: model.Dollar / 2, Timeout: 5 * time.Minute,
	}
}

// aTool is a tool that takes any object.
func aTool(t *testing.T, name string, call tool.Func) *tool.Tool {
	t.Helper()
	made, err := tool.New(tool.Definition{
		Name: name, Description: "For tests.", Parameters: json.RawMessage(`{"type":"object"}`), Timeout: time.Minute,
	}, call)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func newRunner(t *testing.T, cfg agent.Config) *agent.Runner {
	t.Helper()
	r, err := agent.NewRunner(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// execute runs an agent and collects its events as they come.
func execute(ctx context.Context, t *testing.T, r *agent.Runner, req agent.Request) (*agentv1.RunResult, []*agentv1.RunEvent, error) {
	t.Helper()
	run, err := r.NewRun(req)
	if err != nil {
		t.Fatal(err)
	}
	events := agent.NewEvents()
	var got []*agentv1.RunEvent
	read := make(chan struct{})
	go func() {
		defer close(read)
		for {
			event, err := events.Next(context.WithoutCancel(ctx))
			if err != nil {
				return
			}
			got = append(got, event)
		}
	}()
	result, err := run.Execute(ctx, events)
	<-read
	return result, got, err
}

// kinds names the events, deltas joined into one.
func kinds(events []*agentv1.RunEvent) []string {
	var names []string
	for _, e := range events {
		name := "?"
		switch e.GetEvent().(type) {
		case *agentv1.RunEvent_Started:
			name = "started"
		case *agentv1.RunEvent_TextDelta:
			name = "text"
		case *agentv1.RunEvent_ReasoningDelta:
			name = "reasoning"
		case *agentv1.RunEvent_ToolCallStarted:
			name = "call " + e.GetToolCallStarted().GetTool()
		case *agentv1.RunEvent_ToolCallFinished:
			name = "done " + e.GetToolCallFinished().GetTool()
		case *agentv1.RunEvent_HistorySummarized:
			name = "summary"
		case *agentv1.RunEvent_ApprovalRequested:
			name = "ask " + e.GetApprovalRequested().GetTool()
		case *agentv1.RunEvent_IterationFinished:
			name = "iteration"
		case *agentv1.RunEvent_Retrying:
			name = "retrying"
		case *agentv1.RunEvent_Finished:
			name = "finished"
		}
		if len(names) == 0 || names[len(names)-1] != name || (name != "text" && name != "reasoning") {
			names = append(names, name)
		}
	}
	return names
}
