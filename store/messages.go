package store

import (
	"context"
	"fmt"
	"time"
)

// Messages are what was said in a session, turn by turn. A turn is all that one
// run has added: what the user said, the answer, and what lies between them.
type Messages interface {
	// AppendTurn adds a turn at the session's end and releases the session, and
	// writes what the run has used. A turn that does not begin at the end is
	// ErrConflict; while another owner has the session it is ErrSessionBusy. A
	// session that does not exist is made for a turn at position 0 that names
	// the user, and is ErrNotFound otherwise.
	AppendTurn(ctx context.Context, turn Turn, usage ...UsageRow) error

	// RecentMessages returns the newest whole turns that have maxTokens
	// together at most, oldest message first; none for an unknown session.
	RecentMessages(ctx context.Context, tenant, sessionID string, maxTokens int64) ([]Message, error)

	// ListMessages returns up to limit messages with a position above after,
	// oldest first; none for an unknown session.
	ListMessages(ctx context.Context, tenant, sessionID string, after int64, limit int) ([]Message, error)
}

// Turn is what a run adds to its session.
type Turn struct {
	Tenant    string
	SessionID string
	// UserID is whose session it is, should it have to be made.
	UserID string
	// Owner is who has acquired the session. One whose time has run out may
	// still write as long as nobody else has acquired it.
	Owner string
	// Position is how many messages the session had when the run read it.
	Position int64
	RunID    string
	// Messages are what is added; Payload and Tokens of each are looked at.
	Messages []Message
}

// Message is one thing that was said.
type Message struct {
	// Position is its number in the session, from 1.
	Position int64
	// Tokens is what it takes of a model's window; not negative.
	Tokens     int64
	RunID      string
	CreateTime time.Time
	Payload    []byte
}

const messageColumns = "position, tokens, run_id, create_time, payload"

func (m *Message) columns() []any {
	return []any{&m.Position, &m.Tokens, &m.RunID, instant{&m.CreateTime}, &m.Payload}
}

// AppendTurn implements Messages.
func (d *DB) AppendTurn(ctx context.Context, turn Turn, usage ...UsageRow) error {
	return failing("appending a turn", d.engine.all(ctx, func(ctx context.Context, q querier) error {
		if err := writeUsage(ctx, q, usage); err != nil {
			return err
		}
		return d.writeTurn(ctx, q, turn)
	}))
}

func (d *DB) writeTurn(ctx context.Context, q querier, turn Turn) error {
	var tokens int64
	for _, message := range turn.Messages {
		if message.Tokens < 0 {
			return fmt.Errorf("%w: a message of %d tokens", ErrInvalid, message.Tokens)
		}
		tokens += message.Tokens
	}
	if turn.UserID != "" && turn.Position == 0 {
		_, err := q.exec(ctx, `INSERT INTO sessions (tenant, session_id, user_id, create_time, update_time)
			VALUES ($2, $3, $4, @now, @now) ON CONFLICT (tenant, session_id) DO NOTHING`,
			d.clock(), turn.Tenant, turn.SessionID, turn.UserID)
		if err != nil {
			return err
		}
	}
	written, err := query[Session](ctx, q, `UPDATE sessions
		SET messages = messages + $6, tokens = tokens + $7, update_time = @now, lock_owner = '', lock_until = 0
		WHERE tenant = $2 AND session_id = $3 AND messages = $5
			AND (lock_owner IN ('', $4) OR lock_until <= @now)
		RETURNING `+sessionColumns,
		d.clock(), turn.Tenant, turn.SessionID, turn.Owner, turn.Position, len(turn.Messages), tokens)
	if err != nil {
		return err
	}
	if len(written) == 0 {
		return turn.refused(ctx, q)
	}
	session := written[0]
	rows := make([][]any, 0, len(turn.Messages))
	for i, message := range turn.Messages {
		rows = append(rows, []any{
			turn.Tenant, turn.SessionID, turn.Position + int64(i) + 1, session.Tokens - tokens, message.Tokens,
			session.UpdateTime.UnixMicro(), turn.RunID, nonNil(message.Payload),
		})
	}
	return q.insert(ctx, "messages (tenant, session_id, position, tokens_before, tokens, create_time, run_id, payload)", rows, "")
}

// refused is why the turn found no session to go on with.
func (t Turn) refused(ctx context.Context, q querier) error {
	session, err := queryOne[Session](ctx, q,
		"SELECT "+sessionColumns+" FROM sessions WHERE tenant = $1 AND session_id = $2", t.Tenant, t.SessionID)
	if err != nil {
		return err
	}
	if session.Messages != t.Position {
		return ErrConflict
	}
	return ErrSessionBusy
}

// RecentMessages implements Messages.
func (d *DB) RecentMessages(ctx context.Context, tenant, sessionID string, maxTokens int64) (messages []Message, err error) {
	err = d.engine.read(ctx, func(ctx context.Context, q querier) error {
		messages, err = query[Message](ctx, q, "SELECT "+messageColumns+` FROM messages
			WHERE tenant = $1 AND session_id = $2 AND tokens_before >= (
				SELECT tokens FROM sessions WHERE tenant = $1 AND session_id = $2) - $3
			ORDER BY tokens_before, position`, tenant, sessionID, max(maxTokens, -1))
		return err
	})
	return messages, failing("reading recent messages", err)
}

// ListMessages implements Messages.
func (d *DB) ListMessages(ctx context.Context, tenant, sessionID string, after int64, limit int) (messages []Message, err error) {
	err = d.engine.read(ctx, func(ctx context.Context, q querier) error {
		messages, err = query[Message](ctx, q, "SELECT "+messageColumns+` FROM messages
			WHERE tenant = $1 AND session_id = $2 AND position > $3 ORDER BY position LIMIT $4`,
			tenant, sessionID, after, max(limit, 0))
		return err
	})
	return messages, failing("listing messages", err)
}
