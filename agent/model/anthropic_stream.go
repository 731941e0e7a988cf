package model

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/anthropics/anthropic-sdk-go/packages/ssestream"
)

// anthropicStream is one reply while it is being read.
type anthropicStream struct {
	reading

	state    anthropicState
	blocks   []anthropicPart
	usage    anthropicUsage
	reported bool // the usage is that of the whole reply
}

// read speaks the reply to its end. Types of events, blocks and deltas that
// are not known are passed over, as Anthropic asks its callers to do.
func (s *anthropicStream) read(res *http.Response) error {
	for events := ssestream.NewDecoder(res); ; {
		if !events.Next() {
			if err := events.Err(); err != nil {
				return fmt.Errorf("reading the reply: %w", err)
			}
			return fmt.Errorf("the stream ended without an end: %w", errShape)
		}
		data := events.Event().Data
		if len(data) == 0 {
			continue
		}
		var event anthropicEvent
		if err := json.Unmarshal(data, &event); err != nil {
			return fmt.Errorf("reading an event: %w: %w", errShape, err)
		}
		if said, failed := errorIn(event.Error); failed || event.Type == "error" {
			return said
		}
		if ended, err := s.take(&event); ended || err != nil {
			return err
		}
	}
}

// take reads one event, and says whether it is the last.
func (s *anthropicStream) take(event *anthropicEvent) (ended bool, err error) {
	switch event.Type {
	case "message_start":
		s.billed = true
		s.reply.ResponseID, s.reply.ResponseModel = event.Message.ID, event.Message.Model
		s.usage.add(event.Message.Usage)
	case "content_block_start":
		s.begin(event.Index, &event.ContentBlock)
	case "content_block_delta":
		return false, s.add(event.Index, &event.Delta)
	case "message_delta":
		s.usage.add(event.Usage)
		s.reported = s.reported || event.Usage != nil && event.Usage.OutputTokens != nil
		if event.Delta.StopReason != "" {
			s.finished = true
			s.reply.Stop = anthropicStop(event.Delta.StopReason)
		}
	case "message_stop":
		s.finished = s.billed || s.begun
		if !s.finished {
			return true, fmt.Errorf("no message before its end: %w", errShape)
		}
		return true, nil
	}
	return false, nil
}

// begin opens a block, which may have content already.
func (s *anthropicStream) begin(index int, block *anthropicBlock) {
	s.billed, s.begun = true, true
	s.blocks = append(s.blocks, anthropicPart{Type: block.Type, Data: block.Data, index: index})
	part := &s.blocks[len(s.blocks)-1]
	if block.Type == toolUseBlock {
		part.call = &partialToolCall{id: block.ID, name: block.Name}
		if string(block.Input) != "{}" && string(block.Input) != "null" {
			part.call.arguments = append(part.call.arguments, block.Input...) // some servers send it whole
		}
		s.calls.begun = append(s.calls.begun, part.call)
	}
	s.grow(part, &anthropicDelta{Text: block.Text, Thinking: block.Thinking, Signature: block.Signature})
}

// add gives the block at index more content.
func (s *anthropicStream) add(index int, delta *anthropicDelta) error {
	for i := len(s.blocks) - 1; i >= 0; i-- {
		if s.blocks[i].index == index {
			s.grow(&s.blocks[i], delta)
			return nil
		}
	}
	return fmt.Errorf("content of a block that has not begun: %w", errShape)
}

func (s *anthropicStream) grow(part *anthropicPart, delta *anthropicDelta) {
	switch part.Type {
	case textBlock:
		part.Bytes += len(delta.Text)
		s.say(Delta{Text: delta.Text})
	case thinkingBlock:
		part.thinking = append(part.thinking, delta.Thinking...)
		part.Signature += delta.Signature
		s.say(Delta{Reasoning: delta.Thinking})
	case toolUseBlock:
		part.call.arguments = append(part.call.arguments, delta.PartialJSON...)
	}
}

// anthropicStop is what a stop_reason means. pause_turn ends a turn at a bound
// of the provider's, and one that is not published ends an answer.
func anthropicStop(reason string) Stop {
	switch reason {
	case "max_tokens", "model_context_window_exceeded", "pause_turn":
		return StopLength
	case "refusal":
		return StopContentFilter
	default: // end_turn, stop_sequence; tool_use is told by the calls themselves
		return StopEnd
	}
}

// whole is the reply after its end.
func (s *anthropicStream) whole(req *Request) Reply {
	reply := s.end(s.used(req))
	if len(reply.ToolCalls) > 0 {
		s.state.Blocks = s.blocks
		reply.Opaque = s.state.opaque()
	}
	return reply
}

// used is what the provider said, else an estimate. The input is told at the
// start, the output only at the end.
func (s *anthropicStream) used(req *Request) Usage {
	usage, ok := s.usage.usage()
	if !ok {
		usage = Usage{InputTokens: requestTokens(req, guessTokens)}
	}
	silent := usage.OutputTokens == 0 && s.spoken > 0
	if !ok || !s.reported || silent {
		usage.OutputTokens = max(usage.OutputTokens, s.spoken+s.calls.tokens())
		usage.Estimated = true
	}
	return usage
}
