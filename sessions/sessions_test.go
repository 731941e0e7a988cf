package sessions_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"reflect"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/runwire/runwire/agent/model"
	"github.com/runwire/runwire/sessions"
	"github.com/runwire/runwire/store"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T) (*store.DB, *sessions.Keeper) {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "runwire.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db, sessions.NewKeeper(db, slog.New(slog.DiscardHandler))
}

func key(owner string) sessions.Key {
	return sessions.Key{Tenant: "acme", ID: "chat", User: "ann", Owner: owner}
}

// add opens the session as owner, says something in it, and returns what was
// said before.
func add(t *testing.T, db *store.DB, k *sessions.Keeper, owner, text string, window int64) []model.Message {
	t.Helper()
	session, err := k.Open(t.Context(), key(owner), sessions.Window{Tokens: window})
	if err != nil {
		t.Fatal(err)
	}
	turn, err := session.Turn(owner, []model.Message{
		{Role: model.RoleUser, Text: text},
		{Role: model.RoleAssistant, ToolCalls: []model.ToolCall{{ID: "a", Name: "look", Arguments: "{}"}}},
		{Role: model.RoleTool, ToolCallID: "a", Text: "there"},
		{Role: model.RoleAssistant, Text: "Yes: " + text},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.AppendTurn(t.Context(), *turn), session.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	return session.History
}

func TestARunIsToldWhatWasSaidBefore(t *testing.T) {
	t.Parallel()
	db, k := open(t)
	if before := add(t, db, k, "r1", "one", 1000); before != nil {
		t.Errorf("before the first there was %v", before)
	}
	want := []model.Message{
		{Role: model.RoleUser, Text: "one"},
		{Role: model.RoleAssistant, ToolCalls: []model.ToolCall{{ID: "a", Name: "look", Arguments: "{}"}}},
		{Role: model.RoleTool, ToolCallID: "a", Text: "there"},
		{Role: model.RoleAssistant, Text: "Yes: one"},
	}
	if before := add(t, db, k, "r2", "two", 1000); !reflect.DeepEqual(before, want) {
		t.Errorf("got %v", before)
	}
	// A window takes whole turns.
	if before := add(t, db, k, "r3", "three", 50); len(before) != 4 || before[0].Text != "two" {
		t.Errorf("got %v", before)
	}
}

func TestASessionIsOneRunsAtATime(t *testing.T) {
	t.Parallel()
	_, k := open(t)
	first, err := k.Open(t.Context(), key("r1"), sessions.Window{Tokens: 10})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.Open(t.Context(), key("r2"), sessions.Window{Tokens: 10}); !errors.Is(err, store.ErrSessionBusy) {
		t.Errorf("beside another: %v", err)
	}
	stranger := key("r2")
	stranger.User = "bob"
	if _, err := k.Open(t.Context(), stranger, sessions.Window{Tokens: 10}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another user's: %v", err)
	}
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	second, err := k.Open(t.Context(), key("r2"), sessions.Window{Tokens: 10})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// counted is a store that only counts renewals.
type counted struct {
	sessions.Store

	renewed atomic.Int64
}

func (c *counted) AcquireSession(context.Context, string, string, string, string, time.Duration) (store.Session, error) {
	return store.Session{}, nil
}
func (c *counted) ReleaseSession(context.Context, string, string, string) error { return nil }
func (c *counted) RenewSession(context.Context, string, string, string, time.Duration) error {
	c.renewed.Add(1)
	return nil
}

func TestASessionIsHeldUntilItIsClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &counted{}
		k := sessions.NewKeeper(c, slog.New(slog.DiscardHandler))
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- k.Run(ctx) }()
		session, err := k.Open(ctx, key("r1"), sessions.Window{Tokens: 10})
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(61 * time.Second)
		if n := c.renewed.Load(); n != 6 {
			t.Errorf("renewed %d times in a minute", n)
		}
		if err := session.Close(ctx); err != nil {
			t.Error(err)
		}
		<-time.After(time.Minute)
		if n := c.renewed.Load(); n != 6 {
			t.Errorf("renewed %d times after the end", n-6)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
