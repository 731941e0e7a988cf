package store

import (
	"context"
	"errors"
	"time"
)

// Sessions are conversations, and who may write to one now.
type Sessions interface {
	// AcquireSession gives a session to owner for as long as ttl, so that two
	// runs do not interleave, and returns it; a session that does not exist is
	// made, for the user. The same owner may acquire it again, which renews
	// it. While another has it, it is ErrSessionBusy; another user's session is
	// ErrNotFound.
	AcquireSession(ctx context.Context, tenant, id, userID, owner string, ttl time.Duration) (Session, error)

	// RenewSession makes what AcquireSession gave to owner last as long as ttl
	// from now; ErrSessionBusy when owner has it no longer, or it was deleted.
	RenewSession(ctx context.Context, tenant, id, owner string, ttl time.Duration) error

	// ReleaseSession ends what AcquireSession gave to owner, if it still has it.
	ReleaseSession(ctx context.Context, tenant, id, owner string) error

	// GetSession returns a session, or ErrNotFound.
	GetSession(ctx context.Context, tenant, id string) (Session, error)

	// ListSessions returns a page of a user's sessions, those made last first,
	// and the next page's token, empty at the end. A token it has not made is
	// ErrPageToken.
	ListSessions(ctx context.Context, tenant, userID string, page Page) (sessions []Session, next string, err error)

	// DeleteSession deletes a session, its messages and their summary, its tasks
	// with all that belongs to them, and the memories that were saved in it. It returns
	// ErrNotFound when there is neither the session nor such a memory. Usage is
	// kept, for it has been paid for. Whoever runs in the session finds itself
	// fenced off.
	DeleteSession(ctx context.Context, tenant, id string) error
}

// Session is a conversation.
type Session struct {
	Tenant string
	ID     string
	UserID string
	// Messages is how many there are, Tokens how many those have.
	Messages   int64
	Tokens     int64
	CreateTime time.Time
	// UpdateTime is when it was made or last written to.
	UpdateTime time.Time
}

const sessionColumns = "sessions.tenant, sessions.session_id, sessions.user_id, sessions.messages, sessions.tokens, " +
	"sessions.create_time, sessions.update_time"

func (s *Session) columns() []any {
	return []any{
		&s.Tenant, &s.ID, &s.UserID, &s.Messages, &s.Tokens, instant{&s.CreateTime}, instant{&s.UpdateTime},
	}
}

const acquireSession = `INSERT INTO sessions (tenant, session_id, user_id, create_time, update_time, lock_owner, lock_until)
	VALUES ($2, $3, $4, @now, @now, $5, @now + $6)
	ON CONFLICT (tenant, session_id) DO UPDATE SET lock_owner = excluded.lock_owner, lock_until = excluded.lock_until
		WHERE sessions.user_id = excluded.user_id
			AND (sessions.lock_owner IN ('', excluded.lock_owner) OR sessions.lock_until <= @now)
	RETURNING ` + sessionColumns

// AcquireSession implements Sessions.
func (d *DB) AcquireSession(ctx context.Context, tenant, id, userID, owner string, ttl time.Duration) (session Session, err error) {
	const doing = "acquiring a session"
	err = d.engine.one(ctx, func(ctx context.Context, q querier) error {
		session, err = queryOne[Session](ctx, q, acquireSession, d.clock(), tenant, id, userID, owner, ttl.Microseconds())
		return err
	})
	if !errors.Is(err, ErrNotFound) {
		return session, failing(doing, err)
	}
	if session, err = d.GetSession(ctx, tenant, id); err != nil && !errors.Is(err, ErrNotFound) {
		return Session{}, failing(doing, err)
	}
	// One that was deleted meanwhile was busy before.
	if err == nil && session.UserID != userID {
		return Session{}, failing(doing, ErrNotFound)
	}
	return Session{}, failing(doing, ErrSessionBusy)
}

// RenewSession implements Sessions.
func (d *DB) RenewSession(ctx context.Context, tenant, id, owner string, ttl time.Duration) error {
	return failing("renewing a session", d.engine.one(ctx, func(ctx context.Context, q querier) error {
		changed, err := q.exec(ctx, `UPDATE sessions SET lock_until = @now + $5
			WHERE tenant = $2 AND session_id = $3 AND lock_owner = $4`, d.clock(), tenant, id, owner, ttl.Microseconds())
		if err == nil && changed == 0 {
			err = ErrSessionBusy
		}
		return err
	}))
}

// ReleaseSession implements Sessions.
func (d *DB) ReleaseSession(ctx context.Context, tenant, id, owner string) error {
	return failing("releasing a session", d.engine.one(ctx, func(ctx context.Context, q querier) error {
		_, err := q.exec(ctx, `UPDATE sessions SET lock_owner = '', lock_until = 0
			WHERE tenant = $1 AND session_id = $2 AND lock_owner = $3`, tenant, id, owner)
		return err
	}))
}

// GetSession implements Sessions.
func (d *DB) GetSession(ctx context.Context, tenant, id string) (session Session, err error) {
	err = d.engine.read(ctx, func(ctx context.Context, q querier) error {
		session, err = queryOne[Session](ctx, q,
			"SELECT "+sessionColumns+" FROM sessions WHERE tenant = $1 AND session_id = $2", tenant, id)
		return err
	})
	return session, failing("getting a session", err)
}

// ListSessions implements Sessions.
func (d *DB) ListSessions(ctx context.Context, tenant, userID string, page Page) ([]Session, string, error) {
	const doing = "listing sessions"
	l := list("SELECT "+sessionColumns+" FROM sessions WHERE tenant = $1", tenant)
	l.and("user_id = ?", userID)
	if err := l.newest(page, "create_time", "session_id"); err != nil {
		return nil, "", failing(doing, err)
	}
	sessions, next, err := readPage(ctx, d, l, page, func(s Session) cursor {
		return cursor{s.CreateTime.UnixMicro(), s.ID}
	})
	return sessions, next, failing(doing, err)
}

// DeleteSession implements Sessions.
func (d *DB) DeleteSession(ctx context.Context, tenant, id string) error {
	return failing("deleting a session", d.engine.all(ctx, func(ctx context.Context, q querier) error {
		// Tasks first: their ends lock a task before its session, too.
		if _, err := q.exec(ctx, "DELETE FROM tasks WHERE tenant = $1 AND session_id = $2", tenant, id); err != nil {
			return err
		}
		forgotten, err := q.exec(ctx,
			"DELETE FROM memories WHERE tenant = $1 AND session_id = $2 AND session_id <> ''", tenant, id)
		if err != nil {
			return err
		}
		deleted, err := q.exec(ctx, "DELETE FROM sessions WHERE tenant = $1 AND session_id = $2", tenant, id)
		if err == nil && deleted+forgotten == 0 {
			err = ErrNotFound
		}
		return err
	}))
}
