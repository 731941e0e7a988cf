package model

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/openai/openai-go/v3/packages/ssestream"
)

// openAIStream is one reply while it is being read.
type openAIStream struct {
	reading

	refused bool // the model said that it will not answer
	usage   *openAIUsage
}

// read speaks the reply to its end. An error after s.finished costs nothing
// but the provider's count of tokens.
func (s *openAIStream) read(res *http.Response) error {
	for events := ssestream.NewDecoder(res); ; {
		if !events.Next() {
			if err := events.Err(); err != nil {
				return fmt.Errorf("reading the reply: %w", err)
			}
			return fmt.Errorf("the stream ended without an end: %w", errShape)
		}
		event := events.Event()
		if bytes.HasPrefix(event.Data, []byte("[DONE]")) {
			s.finished = s.begun
			return fmt.Errorf("no choice before the end: %w", errShape)
		}
		var chunk openAIChunk
		if err := json.Unmarshal(event.Data, &chunk); err != nil {
			return fmt.Errorf("reading an event: %w: %w", errShape, err)
		}
		if said, failed := chunk.said(); failed {
			return said
		}
		s.take(&chunk)
	}
}

func (s *openAIStream) take(chunk *openAIChunk) {
	if chunk.ID != "" {
		s.reply.ResponseID = chunk.ID
	}
	if chunk.Model != "" {
		s.reply.ResponseModel = chunk.Model
	}
	if chunk.Usage != nil {
		s.usage = chunk.Usage
		_, told := chunk.Usage.usage()
		s.billed = s.billed || told
	}
	for i := range chunk.Choices {
		if chunk.Choices[i].Index == 0 { // we ask for one
			s.choose(&chunk.Choices[i])
		}
	}
}

func (s *openAIStream) choose(choice *openAIChoice) {
	s.billed, s.begun = true, true
	delta := &choice.Delta
	s.say(Delta{Reasoning: delta.Reasoning})
	if delta.ReasoningContent != delta.Reasoning { // a server may send both
		s.say(Delta{Reasoning: delta.ReasoningContent})
	}
	s.say(Delta{Text: delta.Content})
	s.say(Delta{Text: delta.Refusal})
	s.refused = s.refused || delta.Refusal != ""
	for i := range delta.ToolCalls {
		s.calls.add(&delta.ToolCalls[i])
	}
	if choice.FinishReason != "" {
		s.finished = true
		s.reply.Stop = openAIStop(choice.FinishReason)
	}
}

// openAIStop is what a finish_reason means; one that is not published ends an answer.
func openAIStop(reason string) Stop {
	switch reason {
	case "length", "max_tokens":
		return StopLength
	case "content_filter":
		return StopContentFilter
	default:
		return StopEnd
	}
}

// whole is the reply after its end. A refusal is an answer that was withheld.
func (s *openAIStream) whole(req *Request) Reply {
	if s.refused {
		s.reply.Stop = StopContentFilter
	}
	return s.end(s.used(req))
}

// used is what the provider said, else an estimate.
func (s *openAIStream) used(req *Request) Usage {
	if usage, ok := s.usage.usage(); ok {
		return usage
	}
	return Usage{
		InputTokens:  requestTokens(req, guessTokens),
		OutputTokens: s.spoken + s.calls.tokens(),
		Estimated:    true,
	}
}
