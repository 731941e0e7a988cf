package server

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/runwire/runwire/store"
)

// ledger writes what runs of calls have used. What the store cannot take now
// waits until it can.
type ledger struct {
	store store.Conversations
	usage store.Usage
	log   *slog.Logger

	mu      sync.Mutex
	waiting []store.UsageRow
}

func newLedger(s *store.DB, log *slog.Logger) *ledger { return &ledger{store: s, usage: s, log: log} }

// writeTimeout bounds how long a run's end waits for the store.
const writeTimeout = 10 * time.Second

// write writes a run's usage, and its turn unless that is nil.
func (l *ledger) write(ctx context.Context, turn *store.Turn, rows []store.UsageRow) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	var lost error
	if turn != nil {
		if lost = l.store.AppendTurn(ctx, *turn, rows...); lost == nil {
			return nil
		}
	}
	if len(rows) == 0 {
		return lost
	}
	if err := l.usage.AppendUsage(ctx, rows); err != nil {
		l.log.WarnContext(ctx, "usage waits to be written", slog.Int("rows", len(rows)), slog.Any("error", err))
		l.mu.Lock()
		l.waiting = append(l.waiting, rows...)
		l.mu.Unlock()
	}
	return lost
}

// Run writes what waits, until ctx ends; then once more.
func (l *ledger) Run(ctx context.Context) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return l.flush(context.WithoutCancel(ctx))
		case <-ticker.C:
			_ = l.flush(ctx) // the next time, then
		}
	}
}

func (l *ledger) flush(ctx context.Context) error {
	l.mu.Lock()
	rows := l.waiting
	l.waiting = nil
	l.mu.Unlock()
	if len(rows) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := l.usage.AppendUsage(ctx, rows); err != nil {
		l.mu.Lock()
		l.waiting = append(rows, l.waiting...)
		l.mu.Unlock()
		return fmt.Errorf("%d usage rows are lost: %w", len(rows), err)
	}
	return nil
}
