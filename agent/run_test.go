package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/agent/tool"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

const (
	completed     = agentv1.StopReason_STOP_REASON_COMPLETED
	tokenBudget   = agentv1.StopReason_STOP_REASON_TOKEN_BUDGET
	costBudget    = agentv1.StopReason_STOP_REASON_COST_BUDGET
	maxIterations = agentv1.StopReason_STOP_REASON_MAX_ITERATIONS
	timedOut      = agentv1.StopReason_STOP_REASON_TIMEOUT
	cancelled     = agentv1.StopReason_STOP_REASON_CANCELLED
	modelError    = agentv1.StopReason_STOP_REASON_MODEL_ERROR
	filtered      = agentv1.StopReason_STOP_REASON_CONTENT_FILTER
)

func used(in, out int64) model.Usage { return model.Usage{InputTokens: in, OutputTokens: out} }

// A microdollar a token of input, two a token of output.
var prices = model.Prices{"test/priced": {Input: model.Dollar, CachedInput: model.Dollar, CacheWrite: model.Dollar, Output: 2 * model.Dollar}}

func TestRunEnds(t *testing.T) {
	t.Parallel()
	lookUp := []model.ToolCall{{ID: "a", Name: "look_up", Arguments: `{}`}}
	broken := &model.Error{Kind: model.KindBroken, Model: "test/m", Err: errors.New("cut")}
	tests := map[string]struct {
		turns   []turn
		input   int64
		request agent.Request
		change  func(*agent.Agent)

		stop       agentv1.StopReason
		content    string
		iterations int32
		events     string
		why        string
	}{
		"with the answer": {
			turns: []turn{{say: []string{"Four", "."}, usage: used(10, 2)}},
			stop:  completed, content: "Four.", iterations: 1,
			events: "started text iteration finished",
		},
		"with the answer after thinking": {
			turns: []turn{{think: []string{"2+2", "=4"}, say: []string{"4"}}},
			stop:  completed, content: "4", iterations: 1,
			events: "started reasoning text iteration finished",
		},
		"with the answer after a tool": {
			turns: []turn{{say: []string{"Let me see."}, calls: lookUp}, {say: []string{"Found."}}},
			stop:  completed, content: "Found.", iterations: 2,
			events: "started text call look_up done look_up iteration text iteration finished",
		},
		"when the loop has turned often enough": {
			turns:  []turn{{calls: lookUp}},
			change: func(a *agent.Agent) { a.MaxIterations = 3 },
			stop:   maxIterations, iterations: 3,
			events: "started" + strings.Repeat(" call look_up done look_up iteration", 3) + " finished",
			why:    "3 times",
		},
		"when a reply is as long as the agent allows": {
			turns: []turn{{say: []string{"I was"}, stop: model.StopLength}},
			stop:  tokenBudget, content: "I was", iterations: 1,
			events: "started text iteration finished", why: "4096 tokens that one reply",
		},
		"before a call that cannot fit into the tokens": {
			turns: []turn{{say: []string{"never"}}}, input: 100,
			request: agent.Request{MaxTokens: 100},
			stop:    tokenBudget, iterations: 0, events: "started finished", why: "budget of 100 tokens",
		},
		"before the call after which the tokens are used up": {
			turns: []turn{{say: []string{"Hm."}, calls: lookUp, usage: used(60, 30)}}, input: 20,
			request: agent.Request{MaxTokens: 100},
			stop:    tokenBudget, iterations: 1,
			events: "started text call look_up done look_up iteration finished", why: "90 used",
		},
		"when the provider withholds the answer": {
			turns: []turn{{say: []string{"Well, "}, stop: model.StopContentFilter}},
			stop:  filtered, content: "Well, ", iterations: 1, events: "started text iteration finished", why: "withheld",
		},
		"when the model breaks off": {
			turns: []turn{{say: []string{"Once upon"}, err: broken, usage: used(5, 2)}},
			stop:  modelError, content: "Once upon", iterations: 1, events: "started text finished", why: "broke off",
		},
		"when the model panics in the middle": {
			turns: []turn{{say: []string{"Oh"}, panic: "bug"}},
			stop:  modelError, content: "Oh", iterations: 1, events: "started text finished", why: "broke off",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := anAgent(&script{name: "test/m", turns: tt.turns, input: tt.input})
			a.Tools = []*tool.Tool{aTool(t, "look_up", func(context.Context, json.RawMessage) (string, error) { return "it", nil })}
			if tt.change != nil {
				tt.change(&a)
			}
			r := newRunner(t, agent.Config{Agents: []agent.Agent{a}})
			result, events, err := execute(t.Context(), t, r, tt.request)
			if err != nil {
				t.Fatal(err)
			}
			if result.GetStopReason() != tt.stop || result.GetContent() != tt.content || result.GetIterations() != tt.iterations {
				t.Errorf("got %v", result)
			}
			if result.GetSuccess() != (tt.stop == completed) || (result.GetError() == "") != result.GetSuccess() ||
				!strings.Contains(result.GetError(), tt.why) {
				t.Errorf("success %v, error %q", result.GetSuccess(), result.GetError())
			}
			if got := strings.Join(kinds(events), " "); got != tt.events {
				t.Errorf("events: %s\nwant:   %s", got, tt.events)
			}
			checkStream(t, events, result)
		})
	}
}

// checkStream checks what every stream of events promises.
func checkStream(t *testing.T, events []*agentv1.RunEvent, result *agentv1.RunResult) {
	t.Helper()
	var last int64
	var content strings.Builder
	for _, e := range events {
		if e.GetSequence() != last+1+e.GetMerged() {
			t.Errorf("sequence %d with %d merged follows %d", e.GetSequence(), e.GetMerged(), last)
		}
		last = e.GetSequence()
		if e.GetToolCallStarted() != nil {
			content.Reset()
		}
		content.WriteString(e.GetTextDelta().GetText())
	}
	if content.String() != result.GetContent() {
		t.Errorf("the deltas make %q, the content is %q", content.String(), result.GetContent())
	}
	if got := events[len(events)-1].GetFinished().GetResult(); got != result {
		t.Errorf("finished carries %v", got)
	}
}

func TestRunEndsInTime(t *testing.T) {
	t.Parallel()
	leave := errors.New("gone")
	tests := map[string]struct {
		timeout  time.Duration
		deadline time.Duration
		cancel   time.Duration
		stop     agentv1.StopReason
		after    time.Duration
	}{
		"at the agent's limit":                {timeout: 10 * time.Second, stop: timedOut, after: 10 * time.Second},
		"a little before a short deadline":    {timeout: time.Hour, deadline: 2 * time.Second, stop: timedOut, after: 1900 * time.Millisecond},
		"250 ms before a long deadline":       {timeout: time.Hour, deadline: time.Minute, stop: timedOut, after: 59750 * time.Millisecond},
		"at once when the caller goes away":   {timeout: time.Hour, cancel: 3 * time.Second, stop: cancelled, after: 3 * time.Second},
		"at the limit, whatever the deadline": {timeout: time.Second, deadline: time.Minute, stop: timedOut, after: time.Second},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := anAgent(&script{name: "test/m", turns: []turn{forever()}})
				a.Timeout = tt.timeout
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				if tt.deadline > 0 {
					var stop context.CancelFunc
					ctx, stop = context.WithTimeout(ctx, tt.deadline)
					defer stop()
				}
				if tt.cancel > 0 {
					time.AfterFunc(tt.cancel, func() { cancel(leave) })
				}
				begin := time.Now()
				result, events, err := execute(ctx, t, newRunner(t, agent.Config{Agents: []agent.Agent{a}}), agent.Request{})
				if err != nil {
					t.Fatal(err)
				}
				if result.GetStopReason() != tt.stop || time.Since(begin) != tt.after {
					t.Errorf("%v after %v", result.GetStopReason(), time.Since(begin))
				}
				checkStream(t, events, result)
			})
		})
	}
}

func TestRunFallsBackBeforeTheFirstTokenOnly(t *testing.T) {
	t.Parallel()
	down := func(name string) *model.Error {
		return &model.Error{Kind: model.KindUnavailable, Model: name, Err: errors.New("secret address refused")}
	}
	tests := map[string]struct {
		first, second []turn
		events        string
		answerer      string
		stop          agentv1.StopReason
		unavailable   bool
	}{
		"the next model answers": {
			first: []turn{{err: down("test/first")}}, second: []turn{{say: []string{"Hello."}}},
			events: "started retrying text iteration finished", answerer: "test/second", stop: completed,
		},
		"the model that works is asked from then on": {
			first:    []turn{{err: down("test/first")}},
			second:   []turn{{calls: []model.ToolCall{{Name: "none"}}}, {say: []string{"Hello."}}},
			events:   "started retrying call none done none iteration text iteration finished",
			answerer: "test/second", stop: completed,
		},
		"a model that has spoken is not replaced": {
			first: []turn{{say: []string{"He"}, err: down("test/first")}}, second: []turn{{say: []string{"Hello."}}},
			events: "started text finished", answerer: "test/first", stop: modelError,
		},
		"none works": {
			first: []turn{{err: down("test/first")}}, second: []turn{{err: down("test/second")}},
			events: "started retrying", unavailable: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := anAgent(&script{name: "test/first", turns: tt.first}, &script{name: "test/second", turns: tt.second})
			result, events, err := execute(t.Context(), t, newRunner(t, agent.Config{Agents: []agent.Agent{a}}), agent.Request{})
			if unavailable := new(*agent.UnavailableError); errors.As(err, unavailable) != tt.unavailable {
				t.Fatal(err)
			}
			if got := strings.Join(kinds(events), " "); got != tt.events {
				t.Errorf("events: %s\nwant:   %s", got, tt.events)
			}
			if result.GetStopReason() != tt.stop || result.GetModel() != tt.answerer {
				t.Errorf("got %v", result)
			}
			if said := fmt.Sprint(events); strings.Contains(said, "secret") {
				t.Errorf("the cause is told: %s", said)
			}
		})
	}
}

func TestRunCallsToolsInParallelAndTellsInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := func(d time.Duration) tool.Func {
			return func(ctx context.Context, _ json.RawMessage) (string, error) { return d.String(), wait(ctx, d) }
		}
		calls := []model.ToolCall{{ID: "x", Name: "slow"}, {ID: "x", Name: "quick"}, {Name: "slow"}, {Name: "missing"}}
		m := &script{name: "test/m", turns: []turn{{calls: calls}, {say: []string{"Done."}}}}
		a := anAgent(m)
		a.Tools = []*tool.Tool{aTool(t, "slow", slow(3*time.Second)), aTool(t, "quick", slow(time.Second))}
		begin := time.Now()
		result, events, err := execute(t.Context(), t, newRunner(t, agent.Config{Agents: []agent.Agent{a}}), agent.Request{})
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 3*time.Second {
			t.Errorf("took %v", took)
		}
		if want := []string{"slow", "quick", "slow", "missing"}; !slices.Equal(result.GetToolCallsMade(), want) {
			t.Errorf("tool calls made: %v", result.GetToolCallsMade())
		}
		var ids, told []string
		for _, e := range events {
			if done := e.GetToolCallFinished(); done != nil {
				ids = append(ids, done.GetToolCallId())
			}
		}
		if unique := slices.Compact(slices.Sorted(slices.Values(ids))); len(unique) != 4 {
			t.Errorf("ids %v", ids)
		}
		for _, message := range m.requests()[1].Messages[2:] {
			told = append(told, message.ToolCallID+" "+message.Text)
		}
		want := []string{ids[0] + " 3s", ids[1] + " 1s", ids[2] + " 3s", ids[3] + ` error: there is no tool "missing"; there are: quick, slow`}
		if diff := cmp.Diff(want, told); diff != "" {
			t.Error(diff)
		}
	})
}

// A provider that ignores max_tokens is hung up on: neither memory nor money
// hangs on its good will.
func TestRunBreaksOffAnEndlessReply(t *testing.T) {
	t.Parallel()
	a := anAgent(&script{name: "test/m", turns: []turn{{
		say: slices.Repeat([]string{strings.Repeat("x", 1000)}, 1_000_000), usage: used(5, 1_000_000),
	}}})
	a.MaxOutputTokens = 100
	result, events, err := execute(t.Context(), t, newRunner(t, agent.Config{Agents: []agent.Agent{a}}), agent.Request{})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(result.GetContent()); result.GetStopReason() != tokenBudget || n == 0 || n > 100*64+4<<10 {
		t.Errorf("%v after %d bytes", result.GetStopReason(), n)
	}
	checkStream(t, events, result)
}

func TestRunCallsSoManyToolsAtOnceAndNoMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := anAgent(&script{name: "test/m", turns: []turn{
			{calls: slices.Repeat([]model.ToolCall{{Name: "second"}}, 40)}, {say: []string{"Done."}},
		}})
		var now, most atomic.Int32
		a.Tools = []*tool.Tool{aTool(t, "second", func(ctx context.Context, _ json.RawMessage) (string, error) {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			defer now.Add(-1)
			return "", wait(ctx, time.Second)
		})}
		begin := time.Now()
		if _, _, err := execute(t.Context(), t, newRunner(t, agent.Config{Agents: []agent.Agent{a}}), agent.Request{}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took != 3*time.Second || most.Load() != 16 {
			t.Errorf("40 calls of a second took %v, %d at once", took, most.Load())
		}
	})
}

func TestRunGoesOnAfterAToolHasFailed(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		tool tool.Func
		told string
	}{
		"by an error": {func(context.Context, json.RawMessage) (string, error) { return "", errors.New("no such file") }, "error: no such file"},
		"by a panic":  {func(context.Context, json.RawMessage) (string, error) { panic("secret") }, "error: the tool has a bug"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &script{name: "test/m", turns: []turn{{calls: []model.ToolCall{{Name: "it"}}}, {say: []string{"Sorry."}}}}
			a := anAgent(m)
			a.Tools = []*tool.Tool{aTool(t, "it", tt.tool)}
			result, _, err := execute(t.Context(), t, newRunner(t, agent.Config{Agents: []agent.Agent{a}}), agent.Request{})
			if err != nil || !result.GetSuccess() {
				t.Fatal(result, err)
			}
			if got := m.requests()[1].Messages[2].Text; got != tt.told {
				t.Errorf("the model is told %q", got)
			}
		})
	}
}

func TestRunNeverAppendsElsewhereThanAtTheEnd(t *testing.T) {
	t.Parallel()
	m := &script{name: "test/m", turns: []turn{
		{calls: []model.ToolCall{{Name: "a"}}}, {say: []string{"Hm."}, calls: []model.ToolCall{{Name: "b"}, {Name: "a"}}}, {say: []string{"Yes."}},
	}}
	if _, _, err := execute(t.Context(), t, newRunner(t, agent.Config{Agents: []agent.Agent{anAgent(m)}}), agent.Request{Message: "Well?"}); err != nil {
		t.Fatal(err)
	}
	asked := m.requests()
	for i := 1; i < len(asked); i++ {
		before, after := asked[i-1].Messages, asked[i].Messages
		if diff := cmp.Diff(before, after[:len(before)]); diff != "" {
			t.Errorf("call %d changed the prefix: %s", i+1, diff)
		}
	}
}

func TestRunnersConfigurationIsChecked(t *testing.T) {
	t.Parallel()
	m := &script{name: "test/m"}
	nameless, modelless, limitless := anAgent(m), anAgent(), anAgent(m)
	nameless.Name, limitless.MaxTokens = "", 0
	twice := anAgent(m)
	twice.Tools = []*tool.Tool{aTool(t, "x", noTool), aTool(t, "x", noTool)}
	for name, agents := range map[string][]agent.Agent{
		"no name": {nameless}, "no model": {modelless}, "no limit": {limitless},
		"a name twice": {anAgent(m), anAgent(m)}, "a tool twice": {twice},
	} {
		if _, err := agent.NewRunner(agent.Config{Agents: agents}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	_, err := newRunner(t, agent.Config{Agents: []agent.Agent{anAgent(m)}}).NewRun(agent.Request{Agent: "other"})
	if unknown := new(*agent.UnknownAgentError); !errors.As(err, unknown) || (*unknown).Name != "other" {
		t.Error(err)
	}
}

func noTool(context.Context, json.RawMessage) (string, error) { return "", nil }

func TestRunWithoutEventsEndsAlike(t *testing.T) {
	t.Parallel()
	var made atomic.Int32
	a := anAgent(&script{name: "test/m", turns: []turn{{calls: []model.ToolCall{{Name: "count"}}}, {say: []string{"One."}}}})
	a.Tools = []*tool.Tool{aTool(t, "count", func(context.Context, json.RawMessage) (string, error) {
		made.Add(1)
		return "1", nil
	})}
	run, err := newRunner(t, agent.Config{Agents: []agent.Agent{a}}).NewRun(agent.Request{SessionID: "s"})
	if err != nil {
		t.Fatal(err)
	}
	result, err := run.Execute(t.Context(), nil)
	if err != nil || result.GetContent() != "One." || result.GetSessionId() != "s" || made.Load() != 1 {
		t.Error(result, err, made.Load())
	}
}
