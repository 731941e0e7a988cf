package agent

import (
	"context"
	"log/slog"
	"time"

	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/agent/tool"
)

// notesTimeout bounds how long a run waits for its notes: it goes on without.
const notesTimeout = 2 * time.Second

// notes are what was saved about the user that goes with a message, as the
// model is told; empty without a memory. They are the best that fit into the
// agent's MemoryTokens, whole.
func (r *Runner) notes(ctx context.Context, a *Agent, message string) string {
	memory := tool.MemoryFrom(ctx)
	if memory == nil || a.MemoryTokens == 0 {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, notesTimeout)
	defer cancel()
	found, err := memory.Search(ctx, message)
	if err != nil {
		r.log.WarnContext(ctx, "run goes on without notes", slog.String("agent", a.Name), slog.Any("error", err))
		return ""
	}
	block := ""
	var told []string
	for _, note := range found {
		with := tool.QuoteNotes(append(told, note))
		if model.EstimateTokens(model.Message{Notes: with}) <= a.MemoryTokens {
			told, block = append(told, note), with
		}
	}
	return block
}
