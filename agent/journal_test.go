package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/agent/tool"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

// journal keeps steps as a store would, and ends the run at a given one.
type journal struct {
	mu    sync.Mutex
	steps [][]byte
	calls []agent.ModelCall
	// dies is how many steps are kept before the run is lost; negative is never.
	dies int
}

var errDied = errors.New("died")

func (j *journal) Append(_ context.Context, steps []agent.Step, calls []agent.ModelCall) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dies >= 0 && len(j.steps) >= j.dies {
		return errDied
	}
	for _, step := range steps {
		encoded, err := json.Marshal(step)
		if err != nil {
			return err
		}
		j.steps = append(j.steps, encoded)
	}
	j.calls = append(j.calls, calls...)
	return nil
}

func (j *journal) kept(t *testing.T) []agent.Step {
	t.Helper()
	steps := make([]agent.Step, len(j.steps))
	for i, encoded := range j.steps {
		if err := json.Unmarshal(encoded, &steps[i]); err != nil {
			t.Fatal(err)
		}
	}
	return steps
}

// threeSteps asks for two tools, then for one that must not be called twice,
// then answers.
func threeSteps(t *testing.T, called *sync.Map) (*script, []*tool.Tool) {
	t.Helper()
	asked := &script{name: "test/m", turns: []turn{
		{say: []string{"First."}, calls: []model.ToolCall{{ID: "a", Name: "look_up"}, {ID: "b", Name: "look_up"}}, usage: used(10, 1)},
		{say: []string{"Then."}, calls: []model.ToolCall{{ID: "c", Name: "pay"}}, usage: used(20, 2)},
		{say: []string{"Do", "ne."}, usage: used(30, 3)},
	}}
	count := func(name string) tool.Func {
		return func(ctx context.Context, _ json.RawMessage) (string, error) {
			n, _ := called.LoadOrStore(name+" "+tool.CallKey(ctx), 0)
			called.Store(name+" "+tool.CallKey(ctx), n.(int)+1)
			return name + "!", nil
		}
	}
	schema := json.RawMessage(`{"type":"object"}`)
	lookUp, err := tool.New(tool.Definition{Name: "look_up", Parameters: schema, Effect: tool.Pure}, count("look_up"))
	if err != nil {
		t.Fatal(err)
	}
	pay, err := tool.New(tool.Definition{Name: "pay", Parameters: schema}, count("pay"))
	if err != nil {
		t.Fatal(err)
	}
	return asked, []*tool.Tool{lookUp, pay}
}

// Wherever a run is lost, the next one goes on behind the last step that was
// kept: no reply is paid for twice, the result is the same, and those who drop
// a step that is tried again have read the same.
func TestARunGoesOnFromItsJournal(t *testing.T) {
	t.Parallel()
	for dies := range 6 {
		var called sync.Map
		asked, tools := threeSteps(t, &called)
		a := anAgent(asked)
		a.Tools = tools
		runner := newRunner(t, agent.Config{Agents: []agent.Agent{a}})
		j := &journal{dies: dies}
		request := agent.Request{RunID: "run_1", SessionID: "s", Journal: j}

		_, before, err := execute(t.Context(), t, runner, request)
		if lost := (*agent.JournalError)(nil); !errors.As(err, &lost) || !errors.Is(err, errDied) {
			t.Fatalf("%d: %v", dies, err)
		}
		if n := len(before); n > 0 && before[n-1].GetIterationFinished() != nil {
			before = before[:n-1] // whoever keeps the journal tells of it with the step
		}
		kept := j.kept(t)
		replies := countReplies(kept)
		if len(asked.requests()) != replies && len(asked.requests()) != replies+1 {
			t.Errorf("%d: %d replies kept of %d", dies, replies, len(asked.requests()))
		}
		// The script answers by how often it was asked.
		asked.mu.Lock()
		asked.asked = asked.asked[:replies]
		asked.mu.Unlock()
		j.dies = -1
		request.Resume = &agent.Resume{Attempt: 2, Reason: "lost", Steps: kept, Told: len(before) > 0, Skipped: 100}
		result, after, err := execute(t.Context(), t, runner, request)
		if err != nil {
			t.Fatalf("%d: %v", dies, err)
		}
		if len(asked.requests()) != 3 {
			t.Errorf("%d: the model was asked %d times", dies, len(asked.requests()))
		}
		if result.GetContent() != "Done." || result.GetIterations() != 3 || result.GetUsage().GetTotalTokens() != 66 ||
			result.GetUsage().GetLlmCalls() != 3 || !slices.Equal(result.GetToolCallsMade(), []string{"look_up", "look_up", "pay"}) {
			t.Errorf("%d: %v", dies, result)
		}
		if n, ok := called.Load("pay run_1/c"); ok && n != 1 {
			t.Errorf("%d: paid %v times", dies, n)
		}
		last := asked.requests()[2].Messages
		if got := last[len(last)-1].Text; got != "pay!" && !strings.Contains(got, "unknown") {
			t.Errorf("%d: the model was told %q", dies, got)
		}
		if diff := cmp.Diff(view(before, after), view(wholeRun(t))); diff != "" &&
			!strings.Contains(diff, "unknown") {
			t.Errorf("%d: %s", dies, diff)
		}
	}
}

func countReplies(steps []agent.Step) int {
	n := 0
	for _, step := range steps {
		if step.Model != nil && !step.Model.Failed {
			n++
		}
	}
	return n
}

// wholeRun is the same run, uninterrupted.
func wholeRun(t *testing.T) []*agentv1.RunEvent {
	t.Helper()
	var called sync.Map
	asked, tools := threeSteps(t, &called)
	a := anAgent(asked)
	a.Tools = tools
	_, events, err := execute(t.Context(), t, newRunner(t, agent.Config{Agents: []agent.Agent{a}}), agent.Request{})
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// view is what somebody has read who drops what `retrying` says to drop.
func view(parts ...[]*agentv1.RunEvent) []string {
	var read []string
	step := 0
	for _, event := range slices.Concat(parts...) {
		switch e := event.GetEvent().(type) {
		case *agentv1.RunEvent_TextDelta:
			read = append(read, e.TextDelta.GetText())
		case *agentv1.RunEvent_ToolCallStarted:
			read = append(read, "<"+e.ToolCallStarted.GetToolCallId())
		case *agentv1.RunEvent_ToolCallFinished:
			read = append(read, e.ToolCallFinished.GetToolCallId()+e.ToolCallFinished.GetOutput()+e.ToolCallFinished.GetError()+">")
		case *agentv1.RunEvent_Started, *agentv1.RunEvent_IterationFinished:
			step = len(read)
		case *agentv1.RunEvent_Retrying:
			read = read[:step]
		}
	}
	return strings.Split(strings.Join(read, ""), "<")
}

// What a dead worker had heard of a reply was paid for.
func TestAReplyThatWasCutOffIsBooked(t *testing.T) {
	t.Parallel()
	a := anAgent(&script{name: "test/m", turns: []turn{{say: []string{"Done."}, usage: used(10, 1)}}})
	j := &journal{dies: -1}
	result, _, err := execute(t.Context(), t, newRunner(t, agent.Config{Agents: []agent.Agent{a}}), agent.Request{
		Journal: j, Resume: &agent.Resume{Attempt: 2, CutOff: "a few words of it", Told: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	if usage := result.GetUsage(); usage.GetLlmCalls() != 2 || !usage.GetEstimated() || usage.GetOutputTokens() < 4 {
		t.Errorf("%v", usage)
	}
	if len(j.calls) != 1 || !j.calls[0].Usage.Estimated {
		t.Errorf("%v", j.calls)
	}
}
