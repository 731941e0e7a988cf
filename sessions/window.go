package sessions

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/store"
)

// Window is how much of a session a run is told: whole turns, the newest.
type Window struct {
	// Tokens is the most that they may have.
	Tokens int64
	// Summarized: a summary stands for those before them, within Tokens too.
	//
	// The turns behind the summary are told word for word until they overflow the
	// window. Then it is emptied to about half: the summary is due that takes the
	// rest. So what a run is told only grows from one run to the next, but for the
	// one in many that makes a summary, and each message is summed up once.
	Summarized bool
}

const (
	// A summary has a share of its window, up to mostSummary tokens.
	summaryShare = 4
	mostSummary  = 1024
	// mostRead is up to how many windows one summary takes in: the next run's goes
	// on with a session that has more.
	mostRead = 2
	// leastInput is how many tokens a summary's writer may read at least; it is
	// given a window to read.
	leastInput = 1000
)

// summary is how many tokens a summary may have.
func (w Window) summary() int64 { return min(w.Tokens/summaryShare, mostSummary) }

// read reads what of the session is in the window.
func (s *Session) read(ctx context.Context, window Window) error {
	var last store.Summary
	if window.Summarized {
		var err error
		last, err = s.keeper.store.GetSummary(ctx, s.tenant, s.id)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	// One that was made for a window so much wider does not fit.
	tooLong := last.Tokens > window.Tokens/2
	if tooLong {
		last = store.Summary{}
	}
	rows, err := s.keeper.store.RecentMessages(ctx, s.tenant, s.id, window.Tokens-last.Tokens)
	if err != nil {
		return err
	}
	for len(rows) > 0 && rows[0].Position <= last.Messages {
		rows = rows[1:]
	}
	if s.History, err = decode(rows); err != nil || !window.Summarized || tooLong {
		return err
	}
	if last.Messages > 0 {
		s.Older = &model.Older{Summary: string(last.Payload)}
	}
	if s.position-int64(len(rows)) == last.Messages {
		return nil // all is told
	}
	s.Older = &model.Older{
		Summary: string(last.Payload), MaxTokens: window.summary(), MaxInput: max(window.Tokens, leastInput),
	}
	return s.overflow(ctx, window, last.Messages, rows)
}

// overflow finds what the next summary takes in, of messages after those of the
// last one; recent are those that still fit.
func (s *Session) overflow(ctx context.Context, window Window, after int64, recent []store.Message) error {
	stay := newest(recent, window)
	rows, err := s.turns(ctx, after, s.position-int64(len(recent)-stay), mostRead*window.Tokens)
	if err != nil {
		return err
	}
	older := s.Older
	if older.Messages, err = decode(rows); err != nil {
		return err
	}
	older.Through = after + int64(len(rows))
	var tokens int64
	for _, row := range recent {
		tokens += row.Tokens
	}
	// Of turns that this summary does not reach, as many stay as fit beside it.
	for older.Dropped < stay {
		row := recent[older.Dropped]
		if row.Position > older.Through && begins(recent, older.Dropped) && tokens <= window.Tokens-window.summary() {
			break
		}
		tokens -= row.Tokens
		older.Dropped++
	}
	return nil
}

// newest is the index of the first of the messages that stay behind the next
// summary: whole turns that fill half the window with it, or the last one alone.
func newest(recent []store.Message, window Window) int {
	first, tokens := len(recent), int64(0)
	for i, row := range slices.Backward(recent) {
		tokens += row.Tokens
		if !begins(recent, i) {
			continue
		}
		if half := window.Tokens/2 - window.summary(); tokens > half &&
			(first < len(recent) || tokens > window.Tokens-window.summary()) {
			break
		}
		first = i
	}
	return first
}

// begins says whether a turn begins with a message.
func begins(rows []store.Message, i int) bool { return i == 0 || rows[i].RunID != rows[i-1].RunID }

// turns reads the whole turns between two positions, the first up to the one
// that fills so many tokens.
func (s *Session) turns(ctx context.Context, after, last, enough int64) ([]store.Message, error) {
	const page = 256
	var rows []store.Message
	var tokens int64
	for after < last {
		read, err := s.keeper.store.ListMessages(ctx, s.tenant, s.id, after, int(min(page, last-after)))
		if err != nil {
			return nil, err
		}
		if len(read) == 0 {
			return nil, fmt.Errorf("%w: messages are missing", store.ErrNotFound) // the session was deleted
		}
		for _, row := range read {
			if n := len(rows); n > 0 && row.RunID != rows[n-1].RunID && tokens >= enough {
				return rows, nil
			}
			rows = append(rows, row)
			tokens += row.Tokens
			after = row.Position
		}
	}
	return rows, nil
}

// SaveSummary keeps a summary of the session's first messages for the runs to come.
func (s *Session) SaveSummary(ctx context.Context, summary model.Summary) error {
	return s.keeper.store.SaveSummary(ctx, store.Summary{
		Tenant: s.tenant, SessionID: s.id, Messages: summary.Messages, Tokens: summary.Tokens,
		Model: summary.Model, Payload: []byte(summary.Text),
	}, s.owner)
}

func decode(rows []store.Message) ([]model.Message, error) {
	messages := make([]model.Message, len(rows))
	for i, row := range rows {
		var err error
		if messages[i], err = Decode(row.Payload); err != nil {
			return nil, err
		}
	}
	return messages, nil
}
