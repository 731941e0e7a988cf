package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"time"

	"github.com/runwire/runwire/agent/model"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

// ask makes one model call, falling back to the agent's next model where one
// fails before it has said anything. The reply and the room it had are r's; a
// non-nil ending is the run's.
func (r *Run) ask(ctx context.Context) *ending {
	for attempt := int32(1); ; attempt++ {
		if attempt == 1 && r.recall(ctx) {
			return nil
		}
		if ctx.Err() != nil {
			return interrupted(ctx)
		}
		m := &r.agent.models[r.answerer]
		req := r.question(m)
		if end := r.bookCutOff(ctx, m, req); end != nil {
			return end
		}
		if r.room.output <= 0 {
			return &ending{reason: r.room.bound, why: r.room.why}
		}
		if end := r.reserve(ctx, m, req); end != nil {
			return end
		}
		if attempt == 1 {
			r.iterations++
		}
		spoke, err := r.attempt(ctx, m, req, r.say)
		r.spoke = r.spoke || err == nil
		last := spoke || r.answerer == len(r.agent.models)-1
		if end := r.keepReply(ctx, m, err, last); end != nil {
			return end
		}
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return interrupted(ctx)
		case last:
			return modelFailed(err)
		}
		r.fallBack(ctx, attempt+1, err)
	}
}

// keepReply journals what a model call has come to. A reply that ends the run
// needs no step of its own: it is kept with the run's end, unless that is only
// the end of a tool call.
func (r *Run) keepReply(ctx context.Context, m *pricedModel, err error, last bool) *ending {
	if err == nil && len(r.reply.ToolCalls) == 0 && r.parent == nil {
		return nil
	}
	step := &ModelStep{Model: m.Name(), Reply: r.reply}
	if err == nil {
		r.identify(r.reply.ToolCalls)
		step.Text = r.said.String()
	} else {
		step.Failed, step.FellBack = true, !last && ctx.Err() == nil
	}
	return r.keep(ctx, Step{Model: step})
}

// recall takes the model's next reply from what was done before, if it is
// there, and says whether it was.
func (r *Run) recall(ctx context.Context) bool {
	for {
		step := r.past.modelStep()
		if step == nil {
			return false
		}
		r.answerer = r.agent.modelIndex(step.Model)
		m := &r.agent.models[r.answerer]
		if step.Reply.Stop == model.StopLength {
			r.question(m) // for the bound that it has met
		}
		r.spend(m, step.Reply.Usage)
		if step.Failed {
			if r.answerer++; !step.FellBack || r.answerer == len(r.agent.models) {
				r.answerer = 0
			}
			continue
		}
		r.iterations++
		r.asked, r.spoke, r.recalled = m.Name(), true, true
		r.reply = step.Reply
		r.said.WriteString(step.Text)
		if step.Text != "" && !r.past.told(r.iterations) {
			r.events.speak(ctx, r.within, step.Text, false)
		}
		r.identify(r.reply.ToolCalls)
		return true
	}
}

// question is what m is asked next, in the room that the budget leaves.
func (r *Run) question(m *pricedModel) *model.Request {
	r.asked = m.Name()
	r.recalled = false
	req := &model.Request{System: r.system(), Messages: r.messages, Tools: r.tools.offered}
	if r.answer != nil {
		req.AnswerSchema = json.RawMessage(r.schema)
	}
	r.room = r.budget.fit(m, m.InputTokens(req), r.agent.MaxOutputTokens)
	req.MaxOutputTokens = r.room.output
	return req
}

// fallBack makes the agent's next model the one that is asked, and says so.
func (r *Run) fallBack(ctx context.Context, attempt int32, err error) {
	r.answerer++
	next := r.agent.models[r.answerer].Name()
	r.runner.log.WarnContext(ctx, "model failed, asking the next",
		slog.String("run_id", r.id), slog.String("next", next), slog.Any("error", err))
	r.tell(ctx, &agentv1.RunEvent{Event: &agentv1.RunEvent_Retrying{
		Retrying: &agentv1.Retrying{Attempt: attempt, Reason: publicReason(err) + "; asking " + next},
	}})
}

// usualAnswer is the room, in bytes, that an answer is given at first.
const usualAnswer = 512

// say takes a piece of the model's reply.
func (r *Run) say(ctx context.Context, d model.Delta) {
	r.spoke = true
	if d.Text != "" {
		if r.said.Cap() == 0 {
			r.said.Grow(usualAnswer)
		}
		r.said.WriteString(d.Text)
		r.events.speak(ctx, r.within, d.Text, false)
		return
	}
	r.events.speak(ctx, r.within, d.Reasoning, true)
}

// attempt asks one model once and books what that used, however it ended. Its
// reply is r's, and goes to say as it comes; spoke is whether it has said anything.
func (r *Run) attempt(
	ctx context.Context, m *pricedModel, req *model.Request, say func(context.Context, model.Delta),
) (spoke bool, err error) {
	begin := time.Now()
	c := chat{}
	ctx, span := r.runner.telemetry.startChat(ctx, r.span, m, req)
	asking, hangUp := context.WithCancelCause(ctx)
	defer hangUp(nil)
	patience := mostBytes(req.MaxOutputTokens)
	c.err = r.generate(asking, m, req, func(d model.Delta) {
		if patience -= len(d.Text) + len(d.Reasoning); patience < 0 {
			hangUp(errEndless)
			return
		}
		if c.firstChunk == 0 {
			c.firstChunk = max(time.Since(begin), 1)
		}
		say(ctx, d)
	})
	if patience < 0 {
		c.err, r.reply.Stop, r.reply.ToolCalls = nil, model.StopLength, nil
	}
	c.latency = time.Since(begin)
	c.cost, c.priced = r.spend(m, r.reply.Usage)
	r.booked(m, begin, r.reply.Usage, c.cost, c.priced)
	r.runner.telemetry.endChat(ctx, span, m, &r.reply, &c)
	return c.firstChunk > 0, c.err
}

// errEndless is the cause with which a reply is broken off that does not end
// where its max_tokens does.
var errEndless = errors.New("the reply is longer than its max_tokens allow")

// mostBytes is how long a reply of so many tokens can be. A token is four bytes
// of prose, and seldom more than 64 of anything.
func mostBytes(tokens int64) int {
	const perToken, anyway = 64, 4 << 10
	return int(min(tokens, math.MaxInt/perToken-anyway))*perToken + anyway
}

// generate calls the model and makes of a panic in it an error like another.
func (r *Run) generate(ctx context.Context, m *pricedModel, req *model.Request, speak func(model.Delta)) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = panicked(m, p)
		}
	}()
	r.reply = model.Reply{}
	r.reply, err = m.Generate(ctx, req, speak)
	return err
}

func panicked(m *pricedModel, value any) error {
	return &model.Error{
		Kind: model.KindBroken, Model: m.Name(), Err: fmt.Errorf("panic: %v\n%s", value, debug.Stack()),
	}
}

// modelFailed is how a run ends whose last model has failed. One that rejected
// the request is not down: asking again would be rejected again.
func modelFailed(err error) *ending {
	failed, ok := errors.AsType[*model.Error](err)
	return &ending{
		reason: agentv1.StopReason_STOP_REASON_MODEL_ERROR, why: publicReason(err), err: err,
		unavailable: !ok || failed.Kind != model.KindRejected,
	}
}

// publicReason is what callers are told of a model's failure; the cause is in the log.
func publicReason(err error) string {
	failed, ok := errors.AsType[*model.Error](err)
	if !ok {
		return "the model failed"
	}
	switch failed.Kind {
	case model.KindUnavailable:
		return "model " + failed.Model + " is unavailable"
	case model.KindRateLimited:
		return "model " + failed.Model + " is rate limited by its provider"
	case model.KindTimeout:
		return "model " + failed.Model + " fell silent"
	case model.KindRejected:
		return "model " + failed.Model + " rejected the request"
	default:
		return "model " + failed.Model + " broke off its answer"
	}
}

// log writes what operators must know of a run's end, and its content where
// that is asked for. The access log has the line of every run.
func (r *Run) log(ctx context.Context, end *ending) {
	if end.err != nil && (r.spoke || !end.unavailable || r.parent != nil) { // else the access log has it
		r.runner.log.WarnContext(ctx, "run ended by its model", slog.String("run_id", r.id), slog.Any("error", end.err))
	}
	if r.runner.logContent {
		r.runner.log.InfoContext(ctx, "run content", slog.String("run_id", r.id),
			slog.String("prompt", r.request), slog.String("answer", r.said.String()))
	}
}
