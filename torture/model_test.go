//go:build linux

package torture

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// plan is what the model does in a task, by the task's number: so many tool
// calls, one a step, and then an answer made of their results.
type plan struct{ number int }

func (p plan) message() string { return fmt.Sprintf("task %d", p.number) }
func (p plan) key() string     { return fmt.Sprintf("key-%d", p.number) }

// calls is how many tool calls there are; the model is asked once more.
func (p plan) calls() int { return 2 + p.number%2 }

func (p plan) expression(step int) string { return fmt.Sprintf("%d*1000+%d", p.number, step) }
func (p plan) output(step int) string     { return fmt.Sprint(p.number*1000 + step) }

// slow is a task one of whose steps takes seconds, so that whoever is struck
// has something to lose.
func (p plan) slow(step int) bool { return p.number%5 == 0 && step == p.number%(p.calls()+1) }

// answer is what a task ends with.
func (p plan) answer() string {
	outputs := make([]string, p.calls())
	for step := range outputs {
		outputs[step] = p.output(step)
	}
	return answer(outputs)
}

func answer(outputs []string) string {
	return "The results are " + strings.Join(outputs, ", then ") + "."
}

// What the model says that a call has used.
func (p plan) inputTokens(step int) int64 { return int64(100*(step+1) + p.number%7) }

func (p plan) outputTokens(step int) int64 { return int64(10 + step) }

// slowStep is how long a slow step takes at least.
const slowStep = 2 * time.Second

// modelServer is a provider that speaks OpenAI's wire format, and knows what it
// was asked before.
type modelServer struct {
	*httptest.Server

	// journaled is how many model calls of a task are in its journal; negative
	// when nobody can say.
	journaled func(ctx context.Context, p plan) int

	mu     sync.Mutex
	asked  map[plan][]int // how often, by step
	whole  map[plan]int   // how many answers were sent to their end
	faults []string
	blind  int // how often nobody could say what was journaled
}

func newModelServer(t *testing.T) *modelServer {
	t.Helper()
	m := &modelServer{asked: make(map[plan][]int), whole: make(map[plan]int)}
	m.Server = httptest.NewServer(http.HandlerFunc(m.serve))
	t.Cleanup(m.Close)
	return m
}

// chatRequest is what is read of a request.
type chatRequest struct {
	Messages []struct {
		Role      string `json:"role"`
		Content   string `json:"content"`
		ToolCalls []struct {
			ID string `json:"id"`
		} `json:"tool_calls"`
		ToolCallID string `json:"tool_call_id"`
	} `json:"messages"`
}

func (m *modelServer) serve(w http.ResponseWriter, r *http.Request) {
	p, outputs, err := m.read(r)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return // who asked was killed in the middle
	}
	if err != nil {
		m.fault(err.Error())
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	step := len(outputs)
	journaled := m.journaled(r.Context(), p)
	m.mu.Lock()
	if m.asked[p] == nil {
		m.asked[p] = make([]int, p.calls()+1)
	}
	m.asked[p][step]++
	if journaled < 0 {
		m.blind++
	}
	m.mu.Unlock()
	if journaled > step {
		m.fault(fmt.Sprintf("%s: step %d is asked for again, and %d steps are journaled", p.message(), step, journaled))
	}
	if m.stream(w, r, p, outputs) {
		m.mu.Lock()
		m.whole[p]++
		m.mu.Unlock()
	}
}

// read takes a request apart and holds it against the task's plan.
func (m *modelServer) read(r *http.Request) (p plan, outputs []string, err error) {
	var req chatRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		return p, nil, fmt.Errorf("reading a request: %w", err)
	}
	waiting := ""
	for _, message := range req.Messages {
		switch message.Role {
		case "user":
			if _, err := fmt.Sscanf(message.Content, "task %d", &p.number); err != nil {
				return p, nil, fmt.Errorf("reading %q: %w", message.Content, err)
			}
		case "assistant":
			if len(message.ToolCalls) != 1 || waiting != "" {
				return p, nil, fmt.Errorf("%s: a conversation out of order", p.message())
			}
			waiting = message.ToolCalls[0].ID
		case "tool":
			if step := len(outputs); message.ToolCallID != waiting || message.Content != p.output(step) {
				return p, nil, fmt.Errorf("%s: call %q of step %d has the result %q of call %q",
					p.message(), waiting, step, message.Content, message.ToolCallID)
			}
			waiting = ""
			outputs = append(outputs, message.Content)
		}
	}
	if p.number == 0 || waiting != "" || len(outputs) > p.calls() {
		return p, nil, fmt.Errorf("%s: a conversation that its plan does not have", p.message())
	}
	return p, outputs, nil
}

// stream says the answer of a step word by word, and whether it could.
func (m *modelServer) stream(w http.ResponseWriter, r *http.Request, p plan, outputs []string) bool {
	step := len(outputs)
	text, ending := answer(outputs), "stop"
	if step < p.calls() {
		text, ending = fmt.Sprintf("Let me work out step %d of %s first.", step, p.message()), "tool_calls"
	}
	words := strings.SplitAfter(text, " ")
	every := time.Millisecond
	if p.slow(step) {
		every = slowStep / time.Duration(len(words))
	}
	w.Header().Set("Content-Type", "text/event-stream")
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for _, word := range words {
		select {
		case <-r.Context().Done():
			return false
		case <-ticker.C:
		}
		send(w, map[string]any{"content": word}, nil, nil)
	}
	if step < p.calls() {
		arguments := fmt.Sprintf(`{"expression":%q}`, p.expression(step))
		send(w, map[string]any{"tool_calls": []any{map[string]any{
			"index": 0, "id": fmt.Sprintf("call_%d_%d", p.number, step), "type": "function",
			"function": map[string]any{"name": "calculator", "arguments": arguments},
		}}}, nil, nil)
	}
	send(w, map[string]any{}, ending, nil)
	input, output := p.inputTokens(step), p.outputTokens(step)
	last := send(w, nil, nil, map[string]any{
		"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output,
	})
	_, done := fmt.Fprint(w, "data: [DONE]\n\n")
	return cmp.Or(last, done) == nil
}

// send writes one server-sent event: of a choice, or of the usage.
func send(w http.ResponseWriter, delta map[string]any, ending, usage any) error {
	choices := []any{}
	if delta != nil {
		choices = append(choices, map[string]any{"index": 0, "delta": delta, "finish_reason": ending})
	}
	event, err := json.Marshal(map[string]any{"id": "r", "model": "m", "choices": choices, "usage": usage})
	if err != nil {
		return fmt.Errorf("encoding an event: %w", err)
	}
	if _, err := fmt.Fprintf(w, "data: %s\n\n", event); err != nil {
		return fmt.Errorf("writing an event: %w", err)
	}
	return http.NewResponseController(w).Flush()
}

func (m *modelServer) fault(text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = append(m.faults, text)
}
