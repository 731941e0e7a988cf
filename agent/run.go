package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/agent/tool"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Run is one run of an agent. It is executed once, by one goroutine.
type Run struct {
	runner  *Runner
	agent   *configured
	id      string
	session string
	user    string
	request string
	timeout time.Duration
	resume  *Resume
	journal Journal
	lastTry bool
	memory  tool.Memory // nil is the context's
	older   *model.Older
	summary SummaryKeeper
	ended   func(*Run)

	allowance Allowance // nil is none
	deadline  time.Time // of the root: when it ends at last

	root   *Run              // r itself, unless it is within a tool call of another
	parent *Run              // nil for the root
	within string            // the tool call in which it runs
	nested map[string][]Step // of the root: what was done within its tool calls before

	events *Events
	span   trace.Span
	budget budget
	past   past
	calls  []ModelCall // that are not journaled

	tools      *toolset
	found      map[string]found // by name, what else the calls of now want
	messages   []model.Message
	history    int         // how many of messages were there before the run
	answerer   int         // index of the model that is asked now
	asked      string      // that model's name
	room       room        // what its reply may have
	reply      model.Reply // what came of it
	iterations int32
	toolCalls  []string
	callIDs    map[string]struct{}
	said       strings.Builder // since the last tool call
	spoke      bool            // anything at all has come of a model
	recalled   bool            // the reply is from before
	schema     string          // that the answer must fit
	answer     *tool.AnswerSchema
	repairs    int32 // how many answers did not fit
	drafts     int   // how many messages were there before the first
	waits      bool  // it can not go on without a person
}

// errTimeout is the cause of a context that ended at the run's own deadline.
var errTimeout = errors.New("the run's time is up")

// ID is the run's id.
func (r *Run) ID() string { return r.id }

// Agent is the name of the agent that runs.
func (r *Run) Agent() string { return r.agent.Name }

// ending is how a run came to its end.
type ending struct {
	reason agentv1.StopReason
	why    string // empty on success
	err    error  // the model's last error, if that is what ended the run
	// unavailable: no model could be reached, or none has answered.
	unavailable bool
	// lost: the run is no longer this caller's.
	lost *JournalError
	// approval: a person must decide before the run goes on.
	approval *ApprovalError
	// spent: the next call does not fit into what is left of the allowance.
	spent *SpentError
}

// Execute runs the agent to its end. It writes the run's events to events, of
// which the last is `finished`, and returns the same result.
//
// When ctx ends, the run ends with STOP_REASON_TIMEOUT or _CANCELLED and keeps
// what it has; ctx's own deadline is met with a margin, so that the result can
// still be delivered. The only errors are an *UnavailableError, a *SpentError, a
// *JournalError and an *ApprovalError, with which the events end without
// `finished`, and what a bug makes. A *SpentError is of a run without a journal
// that has asked no model; another ends with STOP_REASON_COST_BUDGET.
func (r *Run) Execute(ctx context.Context, events *Events) (*agentv1.RunResult, error) {
	begin := time.Now()
	defer events.close()
	ctx, cancel := r.bound(ctx, begin)
	defer cancel()
	r.events = events
	ctx, r.span = r.runner.telemetry.startRun(ctx, r)
	defer r.span.End()

	if r.memory != nil {
		ctx = tool.WithMemory(ctx, r.memory)
	}
	end := r.play(ctx)
	if end.lost != nil {
		return nil, end.lost
	}
	if end.approval != nil {
		return nil, r.wait(end.approval)
	}
	latency := time.Since(begin)
	r.runner.telemetry.endRun(ctx, r, end, latency)
	r.log(ctx, end)
	if r.ended != nil {
		r.ended(r)
	}
	if end.unavailable && !r.spoke && !r.lastTry || end.unavailable && r.journal != nil && !r.lastTry {
		return nil, &UnavailableError{Err: end.err}
	}
	if end.spent != nil && r.budget.calls == 0 && r.journal == nil {
		return nil, end.spent
	}
	result := r.result(end, latency)
	r.finish(ctx, result)
	return result, nil
}

// play goes from `started` to the run's ending.
func (r *Run) play(ctx context.Context) *ending {
	r.asked = r.agent.models[0].Name()
	r.begin(ctx)
	r.messages = append(r.messages, model.Message{
		Role: model.RoleUser, Notes: r.runner.notes(ctx, &r.agent.Agent, r.request), Text: r.request,
	})
	if end := r.summarize(ctx); end != nil {
		return end
	}
	return r.loop(ctx)
}

// finish tells how the run has ended.
func (r *Run) finish(ctx context.Context, result *agentv1.RunResult) {
	if r.events == nil {
		return
	}
	r.emit(ctx, &agentv1.RunEvent{Event: &agentv1.RunEvent_Finished{Finished: &agentv1.RunFinished{Result: result}}})
}

// wait leaves the run to a person.
func (r *Run) wait(needed *ApprovalError) error {
	r.waits = true
	r.runner.telemetry.pauseRun(r)
	if r.ended != nil {
		r.ended(r)
	}
	return needed
}

// begin tells that the run has begun, or begins again. One that goes on behind a
// person's decision tells nothing.
func (r *Run) begin(ctx context.Context) {
	if r.parent != nil && r.past.paused > 0 {
		return
	}
	if r.events != nil && (r.resume == nil || !r.resume.Told) {
		started := &agentv1.RunEvent{Event: &agentv1.RunEvent_Started{Started: &agentv1.RunStarted{
			RunId: r.id, SessionId: r.session, Agent: r.agent.Name, Model: r.asked,
		}}}
		if r.resume != nil {
			started.Merged = r.resume.Skipped
		}
		r.emit(ctx, started)
	}
	if r.resume == nil {
		return
	}
	var own []Step
	own, r.nested = sortSteps(r.resume.Steps)
	if r.past = newPast(own, r.resume.Attempt); r.past.paused > 0 {
		return // nothing was lost
	}
	retrying := &agentv1.RunEvent{Event: &agentv1.RunEvent_Retrying{
		Retrying: &agentv1.Retrying{Attempt: r.resume.Attempt, Reason: r.resume.Reason},
	}}
	if r.resume.Told {
		retrying.Merged = r.resume.Skipped
	}
	r.emit(ctx, retrying)
}

// tell emits an event, unless it is of an iteration that was told before.
func (r *Run) tell(ctx context.Context, event *agentv1.RunEvent) {
	if r.iterations > r.past.whole {
		r.emit(ctx, event)
	}
}

func (r *Run) emit(ctx context.Context, event *agentv1.RunEvent) {
	event.ToolCallId = r.within
	r.events.emit(ctx, event)
}

// spend books what a model call has used, here and in the runs that this one is
// a part of.
func (r *Run) spend(m *pricedModel, u model.Usage) (cost model.Money, known bool) {
	for run := r; run != nil; run = run.parent {
		cost, known = run.budget.spend(m, u)
	}
	return cost, known
}

// bound gives a run its time: the agent's, and what the caller's deadline
// leaves after a margin of a twentieth, at most 250 ms, for the result's way back.
func (r *Run) bound(ctx context.Context, begin time.Time) (context.Context, context.CancelFunc) {
	const maxMargin = 250 * time.Millisecond
	deadline := begin.Add(r.timeout)
	if callers, ok := ctx.Deadline(); ok {
		margin := min(callers.Sub(begin)/20, maxMargin)
		if early := callers.Add(-margin); early.Before(deadline) {
			deadline = early
		}
	}
	r.deadline = deadline
	return context.WithDeadlineCause(ctx, deadline, errTimeout)
}

// loop asks the model until it answers without calling a tool.
func (r *Run) loop(ctx context.Context) *ending {
	for int(r.iterations) < r.agent.MaxIterations {
		if end := r.ask(ctx); end != nil {
			return end
		}
		if wrong := r.misfit(); wrong != "" {
			if end := r.repair(ctx, wrong); end != nil {
				return end
			}
			continue
		}
		if len(r.reply.ToolCalls) == 0 {
			r.finishIteration(ctx)
			return r.answered()
		}
		if end := r.callTools(ctx, r.reply.ToolCalls); end != nil {
			return end
		}
		if ctx.Err() != nil {
			return interrupted(ctx)
		}
	}
	return &ending{
		reason: agentv1.StopReason_STOP_REASON_MAX_ITERATIONS,
		why:    fmt.Sprintf("the agent may ask its model %d times, and has", r.agent.MaxIterations),
	}
}

func (r *Run) finishIteration(ctx context.Context) {
	if r.events == nil {
		return
	}
	r.tell(ctx, &agentv1.RunEvent{Event: &agentv1.RunEvent_IterationFinished{
		IterationFinished: &agentv1.IterationFinished{Iteration: r.iterations, Usage: r.budget.usage()},
	}})
}

// answered says how the run ends whose model has ended its reply without a tool call.
func (r *Run) answered() *ending {
	switch r.reply.Stop {
	case model.StopLength:
		return &ending{reason: r.room.bound, why: r.room.why}
	case model.StopContentFilter:
		return &ending{
			reason: agentv1.StopReason_STOP_REASON_CONTENT_FILTER,
			why:    "the model's provider withheld the answer",
		}
	default:
		return &ending{reason: agentv1.StopReason_STOP_REASON_COMPLETED}
	}
}

// interrupted says how a run ends whose context has ended.
func interrupted(ctx context.Context) *ending {
	if cause := context.Cause(ctx); errors.Is(cause, errTimeout) || errors.Is(cause, context.DeadlineExceeded) {
		return &ending{reason: agentv1.StopReason_STOP_REASON_TIMEOUT, why: errTimeout.Error()}
	}
	return &ending{reason: agentv1.StopReason_STOP_REASON_CANCELLED, why: "the run was cancelled"}
}

func (r *Run) result(end *ending, latency time.Duration) *agentv1.RunResult {
	return &agentv1.RunResult{
		RunId:         r.id,
		SessionId:     r.session,
		Agent:         r.agent.Name,
		Model:         r.asked,
		Content:       r.said.String(),
		Success:       end.reason == agentv1.StopReason_STOP_REASON_COMPLETED,
		StopReason:    end.reason,
		Error:         end.why,
		Iterations:    r.iterations,
		ToolCallsMade: r.toolCalls,
		Usage:         r.budget.usage(),
		Latency:       durationpb.New(latency),
	}
}
