package agent_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/runwire/runwire/agent"
	"github.com/runwire/runwire/agent/model"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

const citySchema = `{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}`

func TestAnAnswerFitsItsSchema(t *testing.T) {
	t.Parallel()
	const fits = `{"city": "Bern"}`
	for name, test := range map[string]struct {
		turns   []turn
		change  func(*agent.Agent)
		stop    agentv1.StopReason
		content string
		why     string
		events  string
		told    []string // what the model hears of its answers
	}{
		"at once": {
			turns: []turn{{say: []string{`{"city": `, `"Bern"}`}}}, stop: completed, content: fits,
			events: "started text iteration finished",
		},
		"at the second try": {
			turns: []turn{{say: []string{"Bern."}}, {say: []string{fits}}}, stop: completed, content: fits,
			events: "started text retrying text iteration finished", told: []string{"it is not valid JSON"},
		},
		"at the third": {
			turns: []turn{{}, {say: []string{`{"city": 7}`}}, {say: []string{fits}}}, stop: completed, content: fits,
			events: "started retrying text retrying text iteration finished",
			told:   []string{"unexpected end of JSON", `type: 7 has type "integer", want "string"`},
		},
		"never": {
			turns: []turn{{say: []string{`{}`}}}, stop: modelError, content: "{}",
			why:    "the answer does not fit response_schema: ",
			events: "started text retrying text retrying text iteration finished", told: []string{"city", "city"},
		},
		"not when it is cut": {
			turns: []turn{{say: []string{`{"city"`}, stop: model.StopLength}}, stop: tokenBudget, content: `{"city"`,
			why: "4096 tokens that one reply", events: "started text iteration finished",
		},
		"not beyond the iterations": {
			turns: []turn{{say: []string{"Bern."}}}, change: func(a *agent.Agent) { a.MaxIterations = 2 },
			stop: maxIterations, why: "2 times", events: "started text retrying text retrying finished", told: []string{"JSON"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := &script{name: "test/m", turns: test.turns}
			a := anAgent(asked)
			if test.change != nil {
				test.change(&a)
			}
			result, events, err := execute(t.Context(), t, newRunner(t, agent.Config{Agents: []agent.Agent{a}}), agent.Request{
				Message: "Where?", ResponseSchema: citySchema,
			})
			if err != nil || result.GetStopReason() != test.stop || result.GetContent() != test.content ||
				!strings.Contains(result.GetError(), test.why) || result.GetSuccess() != (test.stop == completed) {
				t.Errorf("got %v, %v", result, err)
			}
			if diff := cmp.Diff(strings.Fields(test.events), kinds(events)); diff != "" {
				t.Error(diff)
			}
			requests := asked.requests()
			if len(requests) != len(test.told)+1 {
				t.Fatalf("%d requests", len(requests))
			}
			for i, want := range test.told {
				messages := requests[i+1].Messages
				if got := messages[len(messages)-1]; got.Role != model.RoleUser || !strings.Contains(got.Text, want) {
					t.Errorf("the model is told %q, want %q", got.Text, want)
				}
			}
			if first := requests[0]; !strings.HasPrefix(first.System, "Be brief.\n\n") || !strings.HasSuffix(first.System, citySchema) {
				t.Errorf("the system prompt is %q", first.System)
			}
		})
	}
}

// Answers that did not fit are paid for once, and no part of the session.
func TestARepairedAnswerIsNotRepairedAgain(t *testing.T) {
	t.Parallel()
	asked := &script{name: "test/m", turns: []turn{
		{say: []string{"Bern."}, usage: used(10, 1)}, {say: []string{`{"city": "Bern"}`}, usage: used(20, 2)},
	}}
	runner := newRunner(t, agent.Config{Agents: []agent.Agent{anAgent(asked)}})
	first := &journal{dies: -1}
	request := agent.Request{Message: "Where?", ResponseSchema: citySchema, Journal: first}
	if _, _, err := execute(t.Context(), t, runner, request); err != nil {
		t.Fatal(err)
	}
	if len(first.steps) != 1 {
		t.Fatalf("%d steps", len(first.steps))
	}
	again := &journal{dies: -1}
	request.Journal, request.Resume = again, &agent.Resume{Attempt: 2, Steps: first.kept(t), Told: true}
	run, err := runner.NewRun(request)
	if err != nil {
		t.Fatal(err)
	}
	result, err := run.Execute(t.Context(), nil)
	if err != nil || result.GetContent() != `{"city": "Bern"}` || result.GetUsage().GetTotalTokens() != 33 ||
		result.GetIterations() != 2 || len(again.steps) != 0 || len(asked.requests()) != 3 {
		t.Errorf("got %v, %v, %d steps, %d requests", result, err, len(again.steps), len(asked.requests()))
	}
	if turn := run.Turn(); len(turn) != 2 || turn[1].Text != `{"city": "Bern"}` {
		t.Errorf("the session gets %v", turn)
	}
}

func TestASchemaIsChecked(t *testing.T) {
	t.Parallel()
	runner := newRunner(t, agent.Config{Agents: []agent.Agent{anAgent(&script{name: "test/m", turns: []turn{{}}})}})
	for schema, want := range map[string]string{
		"":                                 "",
		"true":                             "must be a JSON object",
		`{"type":"array"}`:                 "",
		"Bern":                             "reading the JSON Schema",
		`{"$ref":"https://example.com/s"}`: "not of the form",
		`{"$ref":"#"}`:                     "in a circle",
		`{"pattern":"("}`:                  "compiling the JSON Schema",
	} {
		_, err := runner.NewRun(agent.Request{Message: "Where?", ResponseSchema: schema})
		wrong := (*agent.SchemaError)(nil)
		if errors.As(err, &wrong) != (want != "") || want != "" && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", schema, err, want)
		}
	}
}
