package server

import (
	"context"
	"errors"
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

	writing sync.Mutex // held while a batch is

	mu      sync.Mutex
	next    *usageBatch // that is being filled; nil for none
	waiting []store.UsageRow
}

// usageBatch is what runs have used that end while another batch is written:
// so many runs share one write.
type usageBatch struct {
	rows []store.UsageRow
	done chan struct{} // closed when it is written, or is not
	err  error
}

func newLedger(s *store.DB, log *slog.Logger) *ledger { return &ledger{store: s, usage: s, log: log} }

// writeTimeout bounds how long a run's end waits for the store.
const writeTimeout = 10 * time.Second

// write writes a run's usage, and its turn unless that is nil.
func (l *ledger) write(ctx context.Context, turn *store.Turn, rows []store.UsageRow) error {
	until := time.Now().Add(writeTimeout)
	var lost error
	if turn != nil {
		if lost = l.append(ctx, until, *turn, rows); lost == nil {
			return nil
		}
	}
	if len(rows) == 0 {
		return lost
	}
	err := l.together(ctx, until, rows)
	if errors.Is(err, store.ErrInvalid) { // perhaps another's rows are
		err = l.book(ctx, until, rows)
	}
	switch {
	case err == nil:
	case errors.Is(err, store.ErrInvalid):
		l.log.ErrorContext(ctx, "usage cannot be kept", slog.Int("rows", len(rows)), slog.Any("error", err))
	default:
		l.log.WarnContext(ctx, "usage waits to be written", slog.Int("rows", len(rows)), slog.Any("error", err))
		l.mu.Lock()
		l.waiting = append(l.waiting, rows...)
		l.mu.Unlock()
	}
	return lost
}

func (l *ledger) append(ctx context.Context, until time.Time, turn store.Turn, rows []store.UsageRow) error {
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), until)
	defer cancel()
	return l.store.AppendTurn(ctx, turn, rows...)
}

func (l *ledger) book(ctx context.Context, until time.Time, rows []store.UsageRow) error {
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), until)
	defer cancel()
	return l.usage.AppendUsage(ctx, rows)
}

// together writes rows with those of others, and returns once they are.
func (l *ledger) together(ctx context.Context, until time.Time, rows []store.UsageRow) error {
	l.mu.Lock()
	batch, first := l.next, l.next == nil
	if first {
		batch = &usageBatch{done: make(chan struct{})}
		l.next = batch
	}
	batch.rows = append(batch.rows, rows...)
	l.mu.Unlock()
	if !first {
		<-batch.done
		return batch.err
	}
	l.writing.Lock() // others join until it is this batch's turn
	defer l.writing.Unlock()
	l.mu.Lock()
	l.next = nil
	l.mu.Unlock()
	defer close(batch.done)
	batch.err = l.book(ctx, until, batch.rows)
	return batch.err
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
	if err := l.book(ctx, time.Now().Add(writeTimeout), rows); err != nil {
		l.mu.Lock()
		l.waiting = append(rows, l.waiting...)
		l.mu.Unlock()
		return fmt.Errorf("%d usage rows are lost: %w", len(rows), err)
	}
	return nil
}
