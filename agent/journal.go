package agent

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/runwire/runwire/agent/model"
)

// Journal keeps what a run has done, so that who takes it over pays for
// nothing again.
type Journal interface {
	// Append makes steps durable, with the model calls that they have paid for
	// and all events emitted so far, and returns once they are. An error ends
	// the run at once, without `finished`: it is no longer this caller's.
	Append(ctx context.Context, steps []Step, calls []ModelCall) error
}

// Step is something that a run has done: one of its fields. A journal holds
// each message once, since a step refers to what came before it by its place.
type Step struct {
	// Model is a model call that has ended.
	Model *ModelStep `json:"model,omitempty"`
	// Summary is a call for a summary of the session that has ended.
	Summary *SummaryStep `json:"summary,omitempty"`
	// Begun is the id of a tool call that was about to be made and must not be
	// made twice.
	Begun string `json:"begun,omitempty"`
	// Tool is a tool call that has ended.
	Tool *ToolStep `json:"tool,omitempty"`
	// Asked is the try in which the run paused, with all its events kept, until
	// a person has decided about tool calls.
	Asked int32 `json:"asked,omitempty"`
	// Decided is what the person has said to one of them.
	Decided *Decision `json:"decided,omitempty"`
	// Within is the tool call in which an agent was asked that has done it, as
	// events have it; empty for the run itself. Ids in the other fields are that
	// agent's own, but for Decided.
	Within string `json:"within,omitempty"`
}

// ModelStep is a model call that has ended.
type ModelStep struct {
	// Model is the name of the one that was asked.
	Model string `json:"model"`
	// Agent is whose it is; empty for the run's own.
	Agent string `json:"agent,omitempty"`
	// Failed: there is no reply, only usage.
	Failed bool `json:"failed,omitempty"`
	// FellBack: the agent's next model was asked instead.
	FellBack bool `json:"fell_back,omitempty"`
	// Text is what the model said.
	Text string `json:"text,omitempty"`
	// Reply is what else came of it.
	Reply model.Reply `json:"reply"`
}

// SummaryStep is a call for a summary of the session that has ended.
type SummaryStep struct {
	// Model is the name of the one that was asked.
	Model string `json:"model"`
	// Messages is how many the summary stands for, from the session's first.
	Messages int64 `json:"messages"`
	// Text is the summary; empty where none came.
	Text  string      `json:"text,omitempty"`
	Usage model.Usage `json:"usage"`
}

// ToolStep is a tool call that has ended.
type ToolStep struct {
	ID      string        `json:"id"`
	Output  string        `json:"output,omitempty"`
	Error   string        `json:"error,omitempty"`
	Latency time.Duration `json:"latency"`
}

// ModelCall is what a model was paid for.
type ModelCall struct {
	// ID is unique in all runs, and the same for a call that is told of twice.
	ID string
	// Agent is who has asked: the run's, or one that it has asked in turn.
	Agent string
	Model string
	Time  time.Time
	Usage model.Usage
	// Cost is meaningless unless Priced.
	Cost   model.Money
	Priced bool
	// Reserved: it is paid for out of the run's Allowance.
	Reserved bool
}

// Resume is how a run goes on that was interrupted.
type Resume struct {
	// Attempt is which try this is; the first was 1.
	Attempt int32
	// Reason says to those who watch why there is another.
	Reason string
	// Steps are all that was journaled.
	Steps []Step
	// CutOff is what was kept of a reply that was lost together with whoever
	// asked for it; it was paid for all the same.
	CutOff string
	// Told is whether `started` is among the events that are kept.
	Told bool
	// Skipped is how many sequence numbers may have been given to events that
	// nobody kept.
	Skipped int64
}

// JournalError says that a run could not go on since its journal would not be
// written.
type JournalError struct {
	// Err is what the journal said.
	Err error
}

// Error gives the cause.
func (e *JournalError) Error() string { return "journaling the run: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *JournalError) Unwrap() error { return e.Err }

// past is what of a run was done by those who had it before.
type past struct {
	steps []Step
	// whole is how many of its iterations are: those are not told again.
	whole int32
	// paused is the iteration in which the last try waited for a person, and
	// that was told up to there; 0 for none.
	paused int32
}

// newPast finds out how many iterations are whole: their model has replied,
// and each of their tool calls has ended.
func newPast(steps []Step, attempt int32) past {
	p := past{steps: slices.Clone(steps)}
	open := -1 // tool calls that the last reply still waits for; -1 before the first
	asked := int32(0)
	for _, step := range steps {
		switch {
		case step.Model != nil && !step.Model.Failed:
			open, asked = len(step.Model.Reply.ToolCalls), 0
		case step.Tool != nil:
			open--
		case step.Asked > 0:
			asked = step.Asked
			continue
		default:
			continue
		}
		if open == 0 {
			p.whole++
		}
	}
	if open > 0 && asked > 0 && asked == attempt-1 {
		p.paused = p.whole + 1
	}
	return p
}

// told says whether all of an iteration up to its tool calls was told before.
func (p *past) told(iteration int32) bool { return iteration <= p.whole || iteration == p.paused }

// modelStep takes the next step if it is a model's.
func (p *past) modelStep() *ModelStep {
	if len(p.steps) == 0 || p.steps[0].Model == nil {
		return nil
	}
	step := p.steps[0].Model
	p.steps = p.steps[1:]
	return step
}

// summarySteps takes the steps of summaries, which come before all others.
func (p *past) summarySteps() []*SummaryStep {
	var taken []*SummaryStep
	for len(p.steps) > 0 && p.steps[0].Summary != nil {
		taken = append(taken, p.steps[0].Summary)
		p.steps = p.steps[1:]
	}
	return taken
}

// toolSteps is what was done about a reply's tool calls, by their ids.
type toolSteps struct {
	ended   map[string]*ToolStep
	begun   map[string]bool
	decided map[string]*Decision
}

// toolSteps takes all steps of tools up to the next model's.
func (p *past) toolSteps() toolSteps {
	var done toolSteps
	if len(p.steps) == 0 {
		return done
	}
	done = toolSteps{
		ended: make(map[string]*ToolStep), begun: make(map[string]bool), decided: make(map[string]*Decision),
	}
	for len(p.steps) > 0 && p.steps[0].Model == nil {
		switch step := p.steps[0]; {
		case step.Tool != nil:
			done.ended[step.Tool.ID] = step.Tool
		case step.Decided != nil:
			done.decided[step.Decided.ID] = step.Decided
		case step.Begun != "":
			done.begun[step.Begun] = true
		}
		p.steps = p.steps[1:]
	}
	return done
}

// keep journals steps, and the model calls that were not journaled yet. It
// does so also when ctx has ended: what was paid for is kept. A non-nil ending
// is the run's.
func (r *Run) keep(ctx context.Context, steps ...Step) *ending {
	if r.journal == nil || len(steps) == 0 {
		return nil
	}
	for i := range steps {
		steps[i].Within = r.within
		if m := steps[i].Model; m != nil && r.within != "" {
			m.Agent = r.agent.Name
		}
	}
	calls := r.root.calls
	r.root.calls = nil
	if err := r.journal.Append(context.WithoutCancel(ctx), steps, calls); err != nil {
		r.root.calls = calls
		return &ending{lost: &JournalError{Err: err}}
	}
	return nil
}

// bookCutOff books the reply that was lost, by an estimate, before it is asked
// for again.
func (r *Run) bookCutOff(ctx context.Context, m *pricedModel, req *model.Request) *ending {
	resume := r.root.resume
	if resume == nil || resume.CutOff == "" {
		return nil
	}
	usage := model.Usage{Estimated: true}
	for _, message := range req.Messages {
		usage.InputTokens += model.EstimateTokens(message)
	}
	usage.InputTokens += model.EstimateTokens(model.Message{Text: req.System})
	usage.OutputTokens = model.EstimateTokens(model.Message{Text: resume.CutOff})
	resume.CutOff = ""
	cost, priced := r.spend(m, usage)
	r.booked(m, time.Now(), usage, cost, priced)
	return r.keep(ctx, Step{Model: &ModelStep{Model: m.Name(), Failed: true, Reply: model.Reply{Usage: usage}}})
}

// booked notes a model call that has ended, for the journal or for Calls.
func (r *Run) booked(m *pricedModel, begin time.Time, usage model.Usage, cost model.Money, priced bool) {
	r.root.calls = append(r.root.calls, ModelCall{
		ID: r.callID(r.root.budget.calls), Agent: r.agent.Name, Model: m.Name(), Time: begin,
		Usage: usage, Cost: cost, Priced: priced, Reserved: r.metered(m),
	})
}

// callID is the id of the run's model call of that number, the same on every try.
func (r *Run) callID(number int64) string { return r.id + "-" + strconv.FormatInt(number, 10) }

// Calls are the model calls that no journal has been told of, once the run has
// been executed: all of them where there is none.
func (r *Run) Calls() []ModelCall { return r.calls }

// Turn is what the run adds to its session, once it has been executed: what
// the user said, the answer, and what lies between them; notes are no part of it.
// It is empty for a run that said nothing, and for one that waits for a person.
func (r *Run) Turn() []model.Message {
	turn := slices.Clone(r.messages[r.history:])
	if r.repairs > 0 { // answers that did not fit are none
		turn = turn[:r.drafts-r.history]
	}
	if len(turn) > 0 {
		turn[0].Notes = "" // the next run has its own
	}
	if said := r.said.String(); said != "" {
		turn = append(turn, model.Message{Role: model.RoleAssistant, Text: said})
	}
	if len(turn) == 1 || r.waits {
		return nil
	}
	return turn
}
