package storetest

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/runwire/runwire/store"
)

func boundMemories(t *testing.T, w *world) {
	save := func(userID, id string, most int) error {
		_, err := w.SaveMemory(t.Context(), store.Memory{
			Tenant: tenant, ID: id, UserID: userID, SessionID: "chat of " + id, Text: "note " + id,
		}, most)
		return err
	}
	succeeds(t, save("ann", "a", 2))
	succeeds(t, save("ann", "b", 2))
	fails(t, save("ann", "c", 2), store.ErrFull)
	fails(t, save("ann", "c", 1), store.ErrFull)
	same(t, "what is found of it", w.search(t, "ann", "c"), []string{})
	succeeds(t, save("ann", "b", 2)) // which is there
	succeeds(t, save("ann", "b", 1))
	_, err := w.SaveMemory(t.Context(), store.Memory{Tenant: tenant, ID: "b", UserID: "ann", Text: "another"}, 2)
	fails(t, err, store.ErrExists)
	_, err = w.SaveMemory(t.Context(), store.Memory{Tenant: "umbrella", ID: "a", UserID: "ann", Text: "another ann's"}, 1)
	succeeds(t, err)
	succeeds(t, save("bob", "of bob", 1))

	succeeds(t, w.DeleteMemory(t.Context(), tenant, "a"))
	succeeds(t, save("ann", "c", 2))
	fails(t, save("ann", "d", 2), store.ErrFull)
	succeeds(t, w.DeleteSession(t.Context(), tenant, "chat of b"))
	succeeds(t, save("ann", "d", 2))
	succeeds(t, save("ann", "e", 0)) // there was no bound for a while
	fails(t, save("ann", "f", 2), store.ErrFull)
	succeeds(t, save("ann", "f", 4))
	same(t, "what is kept", len(w.search(t, "ann", "note")), 4)
}

func raceMemories(t *testing.T, w *world) {
	const savers, each, most = 16, 8, 50
	var saved, refused [2]atomic.Int64
	together(2*savers, func(i int) {
		for n := range each { // two save the same at once
			for user, count := range map[string]int{"ann": 0, "bob": 1} {
				id := fmt.Sprint(user, i/2, "-", n)
				_, err := w.SaveMemory(t.Context(), store.Memory{Tenant: tenant, ID: id, UserID: user, Text: id}, most)
				if errors.Is(err, store.ErrFull) {
					refused[count].Add(1)
					continue
				}
				check(t, err)
				saved[count].Add(1)
			}
		}
	})
	for count, user := range []string{"ann", "bob"} {
		listed, _, err := w.ListMemories(t.Context(), tenant, user, store.Page{Size: 1000})
		succeeds(t, err)
		same(t, "how many are kept", len(listed), most)
		same(t, "how many were answered", saved[count].Load()+refused[count].Load(), int64(2*savers*each))
		if got := saved[count].Load(); got < most || got > 2*most {
			t.Errorf("%d calls have saved %d", got, most)
		}
	}
}
