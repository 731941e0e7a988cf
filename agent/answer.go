package agent

import (
	"context"
	"fmt"

	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/agent/tool"
	agentv1 "github.com/runwire/runwire/gen/agent/v1"
)

// mostRepairs is how often a model is asked again for an answer that fits.
const mostRepairs = 2

// SchemaError says that a response schema cannot be used.
type SchemaError struct {
	// Err says why, for the caller.
	Err error
}

// Error gives the reason.
func (e *SchemaError) Error() string { return "response_schema: " + e.Err.Error() }

// Unwrap returns the reason.
func (e *SchemaError) Unwrap() error { return e.Err }

// CheckSchema says why no run could have this response schema; its error is a
// *SchemaError. None at all is all right.
func CheckSchema(schema string) error {
	_, err := answerSchema(schema)
	return err
}

func answerSchema(schema string) (*tool.AnswerSchema, error) {
	if schema == "" {
		return nil, nil //nolint:nilnil // an answer of any kind
	}
	compiled, err := tool.NewAnswerSchema(schema)
	if err != nil {
		return nil, &SchemaError{Err: err}
	}
	return compiled, nil
}

// misfit says why the answer that the model has ended does not fit the run's
// schema; empty when it does, and when the answer is not whole anyway.
func (r *Run) misfit() string {
	if r.answer == nil || len(r.reply.ToolCalls) > 0 || r.answered().reason != agentv1.StopReason_STOP_REASON_COMPLETED {
		return ""
	}
	return r.answer.Misfit(r.said.String())
}

// repair tells the model what is wrong with its answer, so that it answers
// again. A non-nil ending is the run's.
func (r *Run) repair(ctx context.Context, wrong string) *ending {
	why := "the answer does not fit response_schema: " + wrong
	if r.repairs++; r.repairs > mostRepairs {
		r.finishIteration(ctx)
		return &ending{reason: agentv1.StopReason_STOP_REASON_MODEL_ERROR, why: why}
	}
	if r.repairs == 1 {
		r.drafts = len(r.messages)
	}
	if !r.recalled {
		step := Step{Model: &ModelStep{Model: r.asked, Text: r.said.String(), Reply: r.reply}}
		if end := r.keep(ctx, step); end != nil {
			return end
		}
	}
	r.tell(ctx, &agentv1.RunEvent{Event: &agentv1.RunEvent_Retrying{
		Retrying: &agentv1.Retrying{Attempt: r.repairs + 1, Reason: why},
	}})
	if said := r.said.String(); said != "" {
		r.messages = append(r.messages, model.Message{Role: model.RoleAssistant, Text: said, Opaque: r.reply.Opaque})
	}
	r.messages = append(r.messages, model.Message{Role: model.RoleUser, Text: fmt.Sprintf(
		"Your answer does not fit the JSON Schema: %s. Answer again, with the JSON alone.", wrong)})
	r.said.Reset()
	return nil
}

// system is the run's system prompt.
func (r *Run) system() string {
	prompt := r.agent.SystemPrompt
	if r.answer == nil {
		return prompt
	}
	if prompt != "" {
		prompt += "\n\n"
	}
	return prompt + "Your answer must be JSON alone, without any text or code fence around it, " +
		"and must fit this JSON Schema:\n" + r.schema
}
