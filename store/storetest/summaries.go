package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/runwire/runwire/store"
)

func summaryTests() map[string]func(*testing.T, *world) {
	return map[string]func(*testing.T, *world){
		"a summary takes the last one's place":       saveSummary,
		"a summary stands for messages that are":     saveSummaryOfOthers,
		"a summary is written by who has a session":  saveSummaryByOthers,
		"a summary is deleted with its session":      deleteSummary,
		"of summaries that race the longest is kept": raceSummaries,
	}
}

func summary(session string, messages int64) store.Summary {
	return store.Summary{
		Tenant: tenant, SessionID: session, Messages: messages, Tokens: 7, Model: "test/m",
		Payload: fmt.Appendf(nil, "the first %d\x00", messages),
	}
}

// talk makes a session of so many messages, a turn each, that nobody has.
func (w *world) talk(t *testing.T, session string, messages int) {
	t.Helper()
	for i := range messages {
		w.turn(t, session, "a", message(fmt.Sprint(i+1), 1))
	}
}

func saveSummary(t *testing.T, w *world) {
	w.talk(t, "chat", 4)
	w.acquire(t, "chat", "b")
	_, err := w.GetSummary(t.Context(), tenant, "chat")
	fails(t, err, store.ErrNotFound)
	for _, messages := range []int64{2, 2, 4} { // one whose answer was lost is saved again
		w.clock.advance(time.Second)
		want := summary("chat", messages)
		succeeds(t, w.SaveSummary(t.Context(), want, "b"))
		got, err := w.GetSummary(t.Context(), tenant, "chat")
		succeeds(t, err)
		want.CreateTime = w.clock.Now()
		same(t, "the summary", got, want)
	}
	fails(t, w.SaveSummary(t.Context(), summary("chat", 3), "b"), store.ErrConflict)
	_, err = w.GetSummary(t.Context(), "umbrella", "chat")
	fails(t, err, store.ErrNotFound)
	// It changes nothing of the session itself.
	w.turn(t, "chat", "b", message("5", 1))
	same(t, "messages", w.messages(t, "chat"), []string{"1 1", "2 2", "3 3", "4 4", "5 5"})
}

func saveSummaryOfOthers(t *testing.T, w *world) {
	w.talk(t, "chat", 2)
	fails(t, w.SaveSummary(t.Context(), summary("chat", 3), "a"), store.ErrConflict)
	fails(t, w.SaveSummary(t.Context(), summary("chat", 0), "a"), store.ErrInvalid)
	negative := summary("chat", 1)
	negative.Tokens = -1
	fails(t, w.SaveSummary(t.Context(), negative, "a"), store.ErrInvalid)
	fails(t, w.SaveSummary(t.Context(), summary("none", 1), "a"), store.ErrNotFound)
	others := summary("chat", 1)
	others.Tenant = "umbrella"
	fails(t, w.SaveSummary(t.Context(), others, "a"), store.ErrNotFound)
	_, err := w.GetSummary(t.Context(), tenant, "chat")
	fails(t, err, store.ErrNotFound)
}

func saveSummaryByOthers(t *testing.T, w *world) {
	w.talk(t, "chat", 2)
	w.acquire(t, "chat", "a")
	fails(t, w.SaveSummary(t.Context(), summary("chat", 1), "b"), store.ErrSessionBusy)
	w.clock.advance(lease)
	succeeds(t, w.SaveSummary(t.Context(), summary("chat", 1), "b")) // its time has run out
	w.acquire(t, "chat", "c")
	fails(t, w.SaveSummary(t.Context(), summary("chat", 2), "a"), store.ErrSessionBusy)
}

func deleteSummary(t *testing.T, w *world) {
	w.talk(t, "chat", 2)
	w.talk(t, "mail", 2)
	succeeds(t, w.SaveSummary(t.Context(), summary("chat", 2), "a"))
	succeeds(t, w.SaveSummary(t.Context(), summary("mail", 2), "a"))
	succeeds(t, w.DeleteSession(t.Context(), tenant, "chat"))
	_, err := w.GetSummary(t.Context(), tenant, "chat")
	fails(t, err, store.ErrNotFound)
	_, err = w.GetSummary(t.Context(), tenant, "mail")
	succeeds(t, err)
	// A session of the same name begins without one.
	fails(t, w.SaveSummary(t.Context(), summary("chat", 2), "a"), store.ErrNotFound)
	w.talk(t, "chat", 1)
	fails(t, w.SaveSummary(t.Context(), summary("chat", 2), "a"), store.ErrConflict)
	_, err = w.GetSummary(t.Context(), tenant, "chat")
	fails(t, err, store.ErrNotFound)
}

func raceSummaries(t *testing.T, w *world) {
	const writers = 8
	w.talk(t, "chat", writers)
	var all sync.WaitGroup
	errs := make([]error, writers)
	for i := range writers {
		all.Go(func() {
			errs[i] = w.SaveSummary(context.WithoutCancel(t.Context()), summary("chat", int64(i+1)), "")
		})
	}
	all.Wait()
	for i, err := range errs {
		if err != nil && (i == writers-1 || !errors.Is(err, store.ErrConflict)) {
			t.Errorf("%d messages: %v", i+1, err)
		}
	}
	kept, err := w.GetSummary(t.Context(), tenant, "chat")
	succeeds(t, err)
	same(t, "messages", kept.Messages, int64(writers))
	same(t, "text", string(kept.Payload), fmt.Sprintf("the first %d\x00", writers))
}
