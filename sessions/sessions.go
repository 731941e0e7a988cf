// Package sessions carries conversations from the store to runs and back, and
// keeps two runs from writing to one at a time. It must not know how an agent
// runs, nor of gRPC.
package sessions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/store"
)

const (
	// hold is how long a session stays with a run whose process has died.
	hold = 30 * time.Second
	// renewal is how often those that live say so.
	renewal = hold / 3
)

// Store is what the keeper asks of the store.
type Store interface {
	AcquireSession(ctx context.Context, tenant, id, userID, owner string, ttl time.Duration) (store.Session, error)
	RenewSession(ctx context.Context, tenant, id, owner string, ttl time.Duration) error
	ReleaseSession(ctx context.Context, tenant, id, owner string) error
	RecentMessages(ctx context.Context, tenant, sessionID string, maxTokens int64) ([]store.Message, error)
	ListMessages(ctx context.Context, tenant, sessionID string, after int64, limit int) ([]store.Message, error)
	store.Summaries
}

// Keeper opens sessions and holds them until they are closed. Safe for
// concurrent use.
type Keeper struct {
	store Store
	log   *slog.Logger

	mu   sync.Mutex
	held map[*Session]struct{}
}

// NewKeeper returns a keeper that holds nothing yet. Sessions are held for
// longer than half a minute only while Run runs.
func NewKeeper(s Store, log *slog.Logger) *Keeper {
	return &Keeper{store: s, log: log, held: make(map[*Session]struct{})}
}

// Session is a conversation in the hands of one run.
type Session struct {
	keeper                  *Keeper
	tenant, id, user, owner string
	position                int64
	fresh                   bool

	mu     sync.Mutex // held while it is renewed
	closed bool

	// History is what was said before, within the window, oldest first.
	History []model.Message
	// Older is what lies before History; nil where nothing is told of it.
	Older *model.Older
}

// Key says whose session it is and who has it.
type Key struct {
	Tenant, ID, User string
	// Owner is the run; the same again opens it again.
	Owner string
}

// Fresh is a session that nobody else can know of yet: it is made when its
// first turn is written.
func (k *Keeper) Fresh(key Key) *Session {
	return &Session{keeper: k, tenant: key.Tenant, id: key.ID, user: key.User, owner: key.Owner, fresh: true}
}

// Open gives a session to a run and reads what of it is in the window. While
// another run has it, it is store.ErrSessionBusy; another user's is
// store.ErrNotFound. The caller closes it.
func (k *Keeper) Open(ctx context.Context, key Key, window Window) (*Session, error) {
	opened, err := k.store.AcquireSession(ctx, key.Tenant, key.ID, key.User, key.Owner, hold)
	if err != nil {
		return nil, fmt.Errorf("opening a session: %w", err)
	}
	s := k.Fresh(key)
	s.fresh, s.position = false, opened.Messages
	k.mu.Lock()
	k.held[s] = struct{}{}
	k.mu.Unlock()
	if opened.Messages == 0 {
		return s, nil
	}
	if err = s.read(ctx, window); err != nil {
		return nil, errors.Join(fmt.Errorf("reading a session: %w", err), s.Close(ctx))
	}
	return s, nil
}

// Turn is what a run adds, ready to be written at the session's end, soon, for
// the session is no longer renewed; nil for nothing. Writing it releases the
// session.
func (s *Session) Turn(runID string, messages []model.Message) (*store.Turn, error) {
	if len(messages) == 0 {
		return nil, nil //nolint:nilnil // nothing is added.
	}
	s.forget()
	turn := &store.Turn{
		Tenant: s.tenant, SessionID: s.id, Owner: s.owner, Position: s.position, RunID: runID,
		Messages: make([]store.Message, len(messages)),
	}
	if s.fresh {
		turn.UserID = s.user // who may make it; one that was deleted stays so
	}
	for i, message := range messages {
		payload, err := Encode(message)
		if err != nil {
			return nil, err
		}
		turn.Messages[i] = store.Message{Tokens: model.EstimateTokens(message), Payload: payload}
	}
	return turn, nil
}

// forget stops holding the session.
func (s *Session) forget() {
	s.keeper.mu.Lock()
	delete(s.keeper.held, s)
	s.keeper.mu.Unlock()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
}

// Close gives the session back. It is needed unless a turn was written, and
// does no harm then.
func (s *Session) Close(ctx context.Context) error {
	s.forget()
	if s.fresh {
		return nil
	}
	if err := s.keeper.store.ReleaseSession(ctx, s.tenant, s.id, s.owner); err != nil {
		return fmt.Errorf("closing a session: %w", err)
	}
	return nil
}

// Run renews what is held until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	ticker := time.NewTicker(renewal)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			k.renew(ctx)
		}
	}
}

func (k *Keeper) renew(ctx context.Context) {
	k.mu.Lock()
	held := make([]*Session, 0, len(k.held))
	for s := range k.held {
		held = append(held, s)
	}
	k.mu.Unlock()
	for _, s := range held {
		// One that was lost is found out when its turn is written.
		if err := s.renew(ctx); err != nil {
			k.log.WarnContext(ctx, "session could not be held", slog.String("session_id", s.id), slog.Any("error", err))
		}
	}
}

func (s *Session) renew(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	return s.keeper.store.RenewSession(ctx, s.tenant, s.id, s.owner, hold)
}

// Encode is a message as the store keeps it.
func Encode(message model.Message) ([]byte, error) {
	payload, err := json.Marshal(message)
	if err != nil {
		return nil, fmt.Errorf("encoding a message: %w", err)
	}
	return payload, nil
}

// Decode is the message that Encode was given.
func Decode(payload []byte) (message model.Message, err error) {
	if err := json.Unmarshal(payload, &message); err != nil {
		return model.Message{}, fmt.Errorf("decoding a message: %w", err)
	}
	return message, nil
}
