package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/runwire/runwire/store"
)

func sessionTests() map[string]func(*testing.T, *world) {
	return map[string]func(*testing.T, *world){
		"a session is made when it is first acquired":      acquireNew,
		"a session is one run's at a time":                 acquireBusy,
		"a session is its user's":                          acquireAnothers,
		"a session is held for longer by who has it":       renewSession,
		"sessions are listed newest first, page by page":   listSessions,
		"all of a session is deleted":                      deleteSession,
		"a run whose session is deleted can write nothing": deleteBusySession,
	}
}

func messageTests() map[string]func(*testing.T, *world) {
	return map[string]func(*testing.T, *world){
		"turns are kept in their order":                   appendTurns,
		"a turn goes to the end or nowhere":               appendTurnElsewhere,
		"a turn is written by who has the session":        appendTurnByOthers,
		"the first turn makes its session":                appendFirstTurn,
		"the newest whole turns within a window are read": recentMessages,
		"messages are read from where a reader stopped":   readMessages,
	}
}

func (w *world) acquire(t *testing.T, id, owner string) store.Session {
	t.Helper()
	session, err := w.AcquireSession(t.Context(), tenant, id, "ann", owner, lease)
	succeeds(t, err)
	return session
}

func (w *world) turn(t *testing.T, session, owner string, messages ...store.Message) {
	t.Helper()
	s := w.acquire(t, session, owner)
	succeeds(t, w.AppendTurn(t.Context(), store.Turn{
		Tenant: tenant, SessionID: session, Owner: owner, Position: s.Messages, RunID: "run of " + owner, Messages: messages,
	}))
}

func texts(messages []store.Message) []string {
	return ids(messages, func(m store.Message) string { return fmt.Sprintf("%d %s", m.Position, m.Payload) })
}

func (w *world) messages(t *testing.T, session string) []string {
	t.Helper()
	messages, err := w.ListMessages(t.Context(), tenant, session, 0, 1000)
	succeeds(t, err)
	return texts(messages)
}

func acquireNew(t *testing.T, w *world) {
	_, err := w.GetSession(t.Context(), tenant, "chat")
	fails(t, err, store.ErrNotFound)
	want := store.Session{
		Tenant: tenant, ID: "chat", UserID: "ann", CreateTime: w.clock.Now(), UpdateTime: w.clock.Now(),
	}
	same(t, "the answer", w.acquire(t, "chat", "a"), want)
	w.clock.advance(time.Second)
	same(t, "the same again", w.acquire(t, "chat", "a"), want)
	session, err := w.GetSession(t.Context(), tenant, "chat")
	succeeds(t, err)
	same(t, "what is kept", session, want)
}

func acquireBusy(t *testing.T, w *world) {
	busy := func(owner string) {
		t.Helper()
		_, err := w.AcquireSession(t.Context(), tenant, "chat", "ann", owner, lease)
		fails(t, err, store.ErrSessionBusy)
	}
	w.acquire(t, "chat", "a")
	busy("b")
	succeeds(t, w.ReleaseSession(t.Context(), tenant, "chat", "b"))
	busy("b")
	w.clock.advance(lease / 2)
	w.acquire(t, "chat", "a")
	w.clock.advance(lease - time.Microsecond)
	busy("b")
	w.clock.advance(time.Microsecond)
	w.acquire(t, "chat", "b")
	busy("a")
	succeeds(t, w.ReleaseSession(t.Context(), tenant, "chat", "b"))
	w.acquire(t, "chat", "a")
	succeeds(t, w.ReleaseSession(t.Context(), tenant, "none", "a"))
}

func acquireAnothers(t *testing.T, w *world) {
	w.acquire(t, "chat", "a")
	succeeds(t, w.ReleaseSession(t.Context(), tenant, "chat", "a"))
	_, err := w.AcquireSession(t.Context(), tenant, "chat", "bob", "b", lease)
	fails(t, err, store.ErrNotFound)
}

func listSessions(t *testing.T, w *world) {
	names := numbered("s", 7)
	for _, id := range names {
		w.acquire(t, id, "a")
		w.clock.advance(time.Second)
	}
	_, err := w.AcquireSession(t.Context(), tenant, "bobs", "bob", "a", lease)
	succeeds(t, err)
	var listed []string
	for page := (store.Page{Size: 3}); ; {
		sessions, next, err := w.ListSessions(t.Context(), tenant, "ann", page)
		succeeds(t, err)
		listed = append(listed, ids(sessions, func(s store.Session) string { return s.ID })...)
		if page.Token = next; next == "" {
			break
		}
	}
	same(t, "all pages", listed, newestFirst(names))
	_, _, err = w.ListSessions(t.Context(), tenant, "ann", store.Page{Token: "forged"})
	fails(t, err, store.ErrPageToken)
}

func deleteSession(t *testing.T, w *world) {
	task := w.claimIn(t, "chat", "t1")
	succeeds(t, w.AppendProgress(t.Context(), task.Ref(), store.Progress{Steps: [][]byte{{1}}}))
	w.finish(t, task, w.ending(w.acquire(t, "chat", "t1"), "t1"))
	w.turn(t, "mail", "a", message("stays", 1))
	other := spec("t2")
	other.SessionID = "mail"
	_, _, err := w.SubmitTask(t.Context(), other)
	succeeds(t, err)

	succeeds(t, w.DeleteSession(t.Context(), tenant, "chat"))
	_, err = w.GetSession(t.Context(), tenant, "chat")
	fails(t, err, store.ErrNotFound)
	same(t, "messages", w.messages(t, "chat"), []string{})
	w.gone(t, "t1")
	same(t, "another session's messages", w.messages(t, "mail"), []string{"1 stays"})
	same(t, "another session's task", w.task(t, "t2").ID, "t2")
	sums, err := w.SumUsage(t.Context(), store.UsageFilter{Tenant: tenant})
	succeeds(t, err)
	same(t, "usage that was paid for", sums[0].Calls, int64(1))
	fails(t, w.DeleteSession(t.Context(), tenant, "chat"), store.ErrNotFound)
}

func deleteBusySession(t *testing.T, w *world) {
	task := w.claimIn(t, "chat", "t1")
	session := w.acquire(t, "chat", "t1")
	succeeds(t, w.DeleteSession(t.Context(), tenant, "chat"))
	err := w.FinishTask(t.Context(), task.Ref(), w.ending(session, "t1"))
	fails(t, err, store.ErrFenced)
	fails(t, w.AppendTurn(t.Context(), *w.ending(session, "t1").Turn), store.ErrNotFound)
	same(t, "messages", w.messages(t, "chat"), []string{})
}

func appendTurns(t *testing.T, w *world) {
	w.turn(t, "chat", "a", message("one", 10), message("two", 20))
	w.clock.advance(time.Second)
	w.turn(t, "chat", "b", message("three", 5))
	messages, err := w.ListMessages(t.Context(), tenant, "chat", 0, 10)
	succeeds(t, err)
	now := w.clock.Now()
	same(t, "messages", messages, []store.Message{
		{Position: 1, Tokens: 10, RunID: "run of a", CreateTime: now.Add(-time.Second), Payload: []byte("one")},
		{Position: 2, Tokens: 20, RunID: "run of a", CreateTime: now.Add(-time.Second), Payload: []byte("two")},
		{Position: 3, Tokens: 5, RunID: "run of b", CreateTime: now, Payload: []byte("three")},
	})
	session, err := w.GetSession(t.Context(), tenant, "chat")
	succeeds(t, err)
	same(t, "the session", session, store.Session{
		Tenant: tenant, ID: "chat", UserID: "ann", Messages: 3, Tokens: 35,
		CreateTime: now.Add(-time.Second), UpdateTime: now,
	})
}

func appendTurnElsewhere(t *testing.T, w *world) {
	w.turn(t, "chat", "a", message("one", 1))
	for position, reason := range map[int64]error{-1: store.ErrConflict, 0: store.ErrConflict, 2: store.ErrConflict, 1: nil} {
		err := w.AppendTurn(t.Context(), store.Turn{Tenant: tenant, SessionID: "chat", Position: position})
		if reason == nil {
			succeeds(t, err)
		} else {
			fails(t, err, reason)
		}
	}
	fails(t, w.AppendTurn(t.Context(), store.Turn{Tenant: tenant, SessionID: "none"}), store.ErrNotFound)
	fails(t, w.AppendTurn(t.Context(), store.Turn{
		Tenant: tenant, SessionID: "chat", Position: 1, Messages: []store.Message{message("two", -1)},
	}), store.ErrInvalid)
	same(t, "messages", w.messages(t, "chat"), []string{"1 one"})
}

func appendTurnByOthers(t *testing.T, w *world) {
	w.acquire(t, "chat", "a")
	turn := store.Turn{Tenant: tenant, SessionID: "chat", Owner: "b", Messages: []store.Message{message("one", 1)}}
	fails(t, w.AppendTurn(t.Context(), turn), store.ErrSessionBusy)
	w.clock.advance(lease)
	succeeds(t, w.AppendTurn(t.Context(), turn)) // its time has run out, and nobody wrote in between
	turn.Owner = "a"
	fails(t, w.AppendTurn(t.Context(), turn), store.ErrConflict)
	same(t, "messages", w.messages(t, "chat"), []string{"1 one"})
}

func recentMessages(t *testing.T, w *world) {
	recent := func(maxTokens int64) []string {
		messages, err := w.RecentMessages(t.Context(), tenant, "chat", maxTokens)
		succeeds(t, err)
		return texts(messages)
	}
	same(t, "of an unknown session", recent(100), []string{})
	w.turn(t, "chat", "a", message("one", 10), message("two", 20))
	w.turn(t, "chat", "a", message("three", 0))
	w.turn(t, "chat", "a", message("four", 5), message("five", 7))
	for maxTokens, want := range map[int64][]string{
		-1 << 63: {}, -1: {}, 0: {}, 11: {}, // half a turn makes no sense to a model
		12:      {"3 three", "4 four", "5 five"},
		41:      {"3 three", "4 four", "5 five"},
		42:      {"1 one", "2 two", "3 three", "4 four", "5 five"},
		1 << 40: {"1 one", "2 two", "3 three", "4 four", "5 five"},
	} {
		same(t, fmt.Sprint("of ", maxTokens, " tokens"), recent(maxTokens), want)
	}
}

func readMessages(t *testing.T, w *world) {
	for i := range 5 {
		w.turn(t, "chat", "a", message(fmt.Sprint(i+1), 1), message("x", 1))
	}
	messages, err := w.ListMessages(t.Context(), tenant, "chat", 3, 4)
	succeeds(t, err)
	same(t, "messages", texts(messages), []string{"4 x", "5 3", "6 x", "7 4"})
}

func appendFirstTurn(t *testing.T, w *world) {
	first := store.Turn{
		Tenant: tenant, SessionID: "chat", UserID: "ann", RunID: "run", Messages: []store.Message{message("one", 10)},
	}
	cost := int64(5)
	usage := store.UsageRow{Tenant: tenant, ID: "u1", UserID: "ann", Agent: "a", Model: "m", Time: w.clock.Now(), CostNano: &cost}
	succeeds(t, w.AppendTurn(t.Context(), first, usage))
	session, err := w.GetSession(t.Context(), tenant, "chat")
	succeeds(t, err)
	same(t, "the session", session, store.Session{
		Tenant: tenant, ID: "chat", UserID: "ann", Messages: 1, Tokens: 10, CreateTime: w.clock.Now(), UpdateTime: w.clock.Now(),
	})
	sums, err := w.SumUsage(t.Context(), store.UsageFilter{Tenant: tenant})
	succeeds(t, err)
	same(t, "what it cost", sums[0].CostNano, int64(5))

	// With a turn that is refused its usage is not written either.
	usage.ID = "u2"
	fails(t, w.AppendTurn(t.Context(), first, usage), store.ErrConflict)
	sums, err = w.SumUsage(t.Context(), store.UsageFilter{Tenant: tenant})
	succeeds(t, err)
	same(t, "calls", sums[0].Calls, int64(1))

	nobody := first
	nobody.SessionID, nobody.UserID = "none", ""
	fails(t, w.AppendTurn(t.Context(), nobody), store.ErrNotFound)
}

func renewSession(t *testing.T, w *world) {
	fails(t, w.RenewSession(t.Context(), tenant, "chat", "a", lease), store.ErrSessionBusy)
	_, err := w.GetSession(t.Context(), tenant, "chat")
	fails(t, err, store.ErrNotFound)
	w.acquire(t, "chat", "a")
	w.clock.advance(lease / 2)
	succeeds(t, w.RenewSession(t.Context(), tenant, "chat", "a", lease))
	fails(t, w.RenewSession(t.Context(), tenant, "chat", "b", lease), store.ErrSessionBusy)
	fails(t, w.RenewSession(t.Context(), "other", "chat", "a", lease), store.ErrSessionBusy)
	w.clock.advance(lease - time.Microsecond)
	_, err = w.AcquireSession(t.Context(), tenant, "chat", "ann", "b", lease)
	fails(t, err, store.ErrSessionBusy)
}
