package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/agent/tool"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

// purse is an allowance of so much money.
type purse struct {
	left model.Money
	err  error

	mu    sync.Mutex
	asked []agent.Reservation
}

func (p *purse) Reserve(_ context.Context, r agent.Reservation) (agent.Grant, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.Ended = slices.Clone(r.Ended)
	p.asked = append(p.asked, r)
	switch {
	case p.err != nil:
		return agent.Grant{}, p.err
	case p.left < r.Least:
		return agent.Grant{}, &agent.SpentError{Limits: []agent.SpentLimit{{Subject: "user:ann", Description: "$1 a day for a user"}}}
	case p.left < r.Most:
		return agent.Grant{Amount: p.left, Limit: "$1 a day for a user"}, nil
	default:
		return agent.Grant{Amount: r.Most}, nil
	}
}

const micro = model.Dollar / 1e6

// spending runs an agent whose model reads 100 tokens a call, for a microdollar
// each, and writes for two.
func spending(t *testing.T, p *purse, req agent.Request, turns ...turn) (*script, *agentv1.RunResult, error) {
	t.Helper()
	m := &script{name: "test/priced", turns: turns, input: 100}
	a := anAgent(m)
	a.Tools = []*tool.Tool{aTool(t, "look", func(context.Context, json.RawMessage) (string, error) { return "seen", nil })}
	if p != nil {
		req.Allowance = p
	}
	result, _, err := execute(t.Context(), t, newRunner(t, agent.Config{Agents: []agent.Agent{a}, Prices: prices}), req)
	return m, result, err
}

func TestEachCallIsReservedAtItsWorst(t *testing.T) {
	t.Parallel()
	p := &purse{left: model.Dollar}
	looks := turn{calls: []model.ToolCall{{ID: "1", Name: "look", Arguments: "{}"}}, usage: model.Usage{InputTokens: 50, OutputTokens: 10}}
	_, result, err := spending(t, p, agent.Request{RunID: "run_1", Timeout: time.Minute}, looks, turn{say: []string{"Done."}})
	if err != nil || !result.GetSuccess() {
		t.Fatal(result, err)
	}
	if len(p.asked) != 2 {
		t.Fatalf("reserved %d times", len(p.asked))
	}
	for i, r := range p.asked {
		if r.CallID != "run_1-"+string(rune('1'+i)) || r.Least != 102*micro || r.Most != (100+2*4096)*micro {
			t.Errorf("call %d: reserved %+v", i, r)
		}
		if r.Within <= 0 || r.Within > time.Minute {
			t.Errorf("call %d: for %v", i, r.Within)
		}
	}
	ended := p.asked[1].Ended
	if len(ended) != 1 || ended[0].ID != "run_1-1" || ended[0].Cost != 70*micro || !ended[0].Reserved {
		t.Errorf("the second call knows of the first: %+v", ended)
	}
}

func TestWhatIsLeftShortensTheAnswer(t *testing.T) {
	t.Parallel()
	m, result, err := spending(t, &purse{left: 250 * micro}, agent.Request{}, turn{say: []string{"So"}, stop: model.StopLength})
	if err != nil {
		t.Fatal(err)
	}
	if got := m.requests()[0].MaxOutputTokens; got != 75 {
		t.Errorf("max tokens of the call: %d", got)
	}
	if result.GetStopReason() != agentv1.StopReason_STOP_REASON_COST_BUDGET || !strings.Contains(result.GetError(), "$1 a day for a user") {
		t.Errorf("ended with %v: %s", result.GetStopReason(), result.GetError())
	}
}

func TestNothingLeftRefusesARunThatHasNotBegun(t *testing.T) {
	t.Parallel()
	m, _, err := spending(t, &purse{left: 101 * micro}, agent.Request{}, turn{say: []string{"No."}})
	if spent := (*agent.SpentError)(nil); !errors.As(err, &spent) || spent.Limits[0].Subject != "user:ann" {
		t.Fatalf("got error %v", err)
	}
	if len(m.requests()) > 0 {
		t.Error("the model was asked")
	}
}

func TestNothingLeftEndsARunThatHasBegun(t *testing.T) {
	t.Parallel()
	p := &purse{left: model.Dollar}
	m := &script{name: "test/priced", input: 100, turns: []turn{{
		say: []string{"Let me look."}, calls: []model.ToolCall{{ID: "1", Name: "look", Arguments: "{}"}},
	}}}
	a := anAgent(m)
	a.Tools = []*tool.Tool{aTool(t, "look", func(context.Context, json.RawMessage) (string, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.left = 0
		return "seen", nil
	})}
	runner := newRunner(t, agent.Config{Agents: []agent.Agent{a}, Prices: prices})
	result, _, err := execute(t.Context(), t, runner, agent.Request{Allowance: p})
	if err != nil || result.GetStopReason() != agentv1.StopReason_STOP_REASON_COST_BUDGET || result.GetUsage().GetLlmCalls() != 1 ||
		!strings.Contains(result.GetError(), "$1 a day for a user") {
		t.Errorf("ended with %v, %v", result, err)
	}
}

func TestATaskEndsWhereNothingIsLeft(t *testing.T) {
	t.Parallel()
	_, result, err := spending(t, &purse{}, agent.Request{Journal: &journal{dies: -1}}, turn{say: []string{"No."}})
	if err != nil || result.GetStopReason() != agentv1.StopReason_STOP_REASON_COST_BUDGET || result.GetSuccess() {
		t.Errorf("ended with %v, %v", result, err)
	}
}

func TestNobodyIsAskedWhileNobodyKnowsWhatIsLeft(t *testing.T) {
	t.Parallel()
	broken := errors.New("the database is down")
	m, _, err := spending(t, &purse{err: broken}, agent.Request{}, turn{say: []string{"No."}})
	if unavailable := (*agent.UnavailableError)(nil); !errors.As(err, &unavailable) || !errors.Is(err, broken) {
		t.Fatalf("got error %v", err)
	}
	if len(m.requests()) > 0 {
		t.Error("the model was asked")
	}
}

func TestWhatIsFreeNeedsNoAllowance(t *testing.T) {
	t.Parallel()
	for name, prices := range map[string]model.Prices{"free": {"test/model": {}}, "without a price": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &purse{}
			runner := newRunner(t, agent.Config{Prices: prices, Agents: []agent.Agent{anAgent(&script{name: "test/model", turns: []turn{{say: []string{"Yes."}}}})}})
			result, _, err := execute(t.Context(), t, runner, agent.Request{Allowance: p})
			if err != nil || !result.GetSuccess() || len(p.asked) > 0 {
				t.Errorf("got %v, %v after %d reservations", result, err, len(p.asked))
			}
			if least, err := runner.LeastCost("", "Hello?"); err != nil || least != 0 {
				t.Errorf("it costs %v, %v", least, err)
			}
		})
	}
}

func TestACutOffReplyIsPaidForByWhatWasReservedForIt(t *testing.T) {
	t.Parallel()
	p, kept := &purse{left: model.Dollar}, &journal{dies: -1}
	resume := &agent.Resume{Attempt: 2, CutOff: "It was the best of", Told: true}
	_, result, err := spending(t, p, agent.Request{RunID: "run_1", Journal: kept, Resume: resume}, turn{say: []string{"It was."}})
	if err != nil || !result.GetSuccess() {
		t.Fatal(result, err)
	}
	if booked := kept.calls[0]; booked.ID != "run_1-1" || !booked.Reserved || booked.Cost == 0 {
		t.Errorf("the cut off call is %+v", booked)
	}
	if len(p.asked) != 1 || p.asked[0].CallID != "run_1-2" {
		t.Errorf("reserved %+v", p.asked)
	}
}
