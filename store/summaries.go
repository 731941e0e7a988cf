package store

import (
	"context"
	"fmt"
	"time"
)

// Summaries stand for the first messages of sessions, one a session.
type Summaries interface {
	// SaveSummary keeps a summary in place of the session's last one. One of more
	// messages than there are, or of fewer than the last one's, is ErrConflict;
	// while another owner has the session it is ErrSessionBusy, and ErrNotFound
	// when there is no such session.
	SaveSummary(ctx context.Context, summary Summary, owner string) error

	// GetSummary returns a session's summary, or ErrNotFound.
	GetSummary(ctx context.Context, tenant, sessionID string) (Summary, error)
}

// Summary is the begin of a session in few words.
type Summary struct {
	Tenant    string
	SessionID string
	// Messages is how many it stands for, from the first; positive.
	Messages int64
	// Tokens is what it takes of a model's window; not negative.
	Tokens int64
	// Model is who wrote it.
	Model      string
	CreateTime time.Time // the store's own
	Payload    []byte
}

const summaryColumns = "tenant, session_id, messages, tokens, model, create_time, payload"

func (s *Summary) columns() []any {
	return []any{&s.Tenant, &s.SessionID, &s.Messages, &s.Tokens, &s.Model, instant{&s.CreateTime}, &s.Payload}
}

// SaveSummary implements Summaries.
func (d *DB) SaveSummary(ctx context.Context, summary Summary, owner string) error {
	return failing("saving a summary", d.engine.all(ctx, func(ctx context.Context, q querier) error {
		if summary.Messages <= 0 || summary.Tokens < 0 {
			return fmt.Errorf("%w: a summary of %d messages in %d tokens", ErrInvalid, summary.Messages, summary.Tokens)
		}
		// It changes the row in any case, which holds off whoever acquires the
		// session until all is written.
		held, err := q.exec(ctx, `UPDATE sessions SET lock_owner = lock_owner
			WHERE tenant = $2 AND session_id = $3 AND messages >= $4 AND (lock_owner IN ('', $5) OR lock_until <= @now)`,
			d.clock(), summary.Tenant, summary.SessionID, summary.Messages, owner)
		if err != nil {
			return err
		}
		if held == 0 {
			return summary.refused(ctx, q)
		}
		saved, err := q.exec(ctx, `INSERT INTO summaries (`+summaryColumns+`) VALUES ($2, $3, $4, $5, $6, @now, $7)
			ON CONFLICT (tenant, session_id) DO UPDATE SET messages = excluded.messages, tokens = excluded.tokens,
				model = excluded.model, create_time = excluded.create_time, payload = excluded.payload
			WHERE summaries.messages <= excluded.messages`,
			d.clock(), summary.Tenant, summary.SessionID, summary.Messages, summary.Tokens, summary.Model, nonNil(summary.Payload))
		if err == nil && saved == 0 {
			err = ErrConflict
		}
		return err
	}))
}

// refused is why the summary found no session to stand in.
func (s *Summary) refused(ctx context.Context, q querier) error {
	session, err := queryOne[Session](ctx, q,
		"SELECT "+sessionColumns+" FROM sessions WHERE tenant = $1 AND session_id = $2", s.Tenant, s.SessionID)
	if err != nil {
		return err
	}
	if session.Messages < s.Messages {
		return ErrConflict
	}
	return ErrSessionBusy
}

// GetSummary implements Summaries.
func (d *DB) GetSummary(ctx context.Context, tenant, sessionID string) (summary Summary, err error) {
	err = d.engine.read(ctx, func(ctx context.Context, q querier) error {
		summary, err = queryOne[Summary](ctx, q,
			"SELECT "+summaryColumns+" FROM summaries WHERE tenant = $1 AND session_id = $2", tenant, sessionID)
		return err
	})
	return summary, failing("getting a summary", err)
}
