package storetest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/runwire/runwire/store"
)

func pageTests() map[string]func(*testing.T, *world) {
	return map[string]func(*testing.T, *world){
		"a page token is good for its own list only":           tokenOfAnotherList,
		"a page token is good for its own filter only":         tokenOfAnotherFilter,
		"a page token that was changed is refused":             tokenChanged,
		"a page token is good for a page of any size":          tokenOfAnySize,
		"a page token is good for its filter in another order": tokenOfOneFilter,
	}
}

// list reads a page and returns the next one's token.
type list func(tenant, userID string, page store.Page) (next string, err error)

// lists are all those that come in pages.
func (w *world) lists(t *testing.T) map[string]list {
	ctx := t.Context()
	return map[string]list{
		"tasks": func(tenant, userID string, page store.Page) (string, error) {
			_, next, err := w.ListTasks(ctx, store.TaskFilter{Tenant: tenant, UserID: userID}, page)
			return next, err
		},
		"sessions": func(tenant, userID string, page store.Page) (string, error) {
			_, next, err := w.ListSessions(ctx, tenant, userID, page)
			return next, err
		},
		"schedules": func(tenant, userID string, page store.Page) (string, error) {
			_, next, err := w.ListSchedules(ctx, tenant, userID, page)
			return next, err
		},
		"memories": func(tenant, userID string, page store.Page) (string, error) {
			_, next, err := w.ListMemories(ctx, tenant, userID, page)
			return next, err
		},
	}
}

// tokenOfAnotherList: all that the lists hold has one name and one time, so
// that nothing but the list tells their tokens apart.
func tokenOfAnotherList(t *testing.T, w *world) {
	for _, id := range []string{"1", "2"} {
		w.submit(t, id)
		w.acquire(t, id, "a")
		w.schedule(t, id, time.Minute)
		_, err := w.SaveMemory(t.Context(), store.Memory{Tenant: tenant, ID: id, UserID: "ann", Text: id}, 0)
		succeeds(t, err)
	}
	lists := w.lists(t)
	for of, makes := range lists {
		token, err := makes(tenant, "ann", store.Page{Size: 1})
		succeeds(t, err)
		for to, reads := range lists {
			for _, who := range []struct{ tenant, userID string }{
				{tenant, "ann"}, {tenant, "bob"}, {tenant, ""}, {"umbrella", "ann"}, {"ann", tenant},
			} {
				_, err := reads(who.tenant, who.userID, store.Page{Size: 1, Token: token})
				var want error
				if of != to || who.tenant != tenant || who.userID != "ann" {
					want = store.ErrPageToken
				}
				if !errors.Is(err, want) {
					t.Errorf("a token for ann's %s, used for the %s of %+v: got %v, want %v", of, to, who, err, want)
				}
			}
		}
	}
}

func tokenOfAnotherFilter(t *testing.T, w *world) {
	queued, open := []store.Status{store.StatusQueued}, []store.Status{store.StatusQueued, store.StatusRunning}
	filters := []store.TaskFilter{
		{},
		{UserID: "ann"},
		{SessionID: "ann"},
		{UserID: "ann", SessionID: "chat"},
		{UserID: "chat", SessionID: "ann"},
		{Statuses: queued},
		{Statuses: open},
		{UserID: "ann", Statuses: queued},
		{Labels: map[string]string{"a": "b"}},
		{Labels: map[string]string{"a": "c"}},
		{Labels: map[string]string{"a": "b", "c": "d"}},
		{Labels: map[string]string{"a": "d", "c": "b"}},
		{Labels: map[string]string{"a": "b"}, UserID: "ann"},
	}
	for of, filter := range filters {
		filter.Tenant = fmt.Sprint("tenant ", of)
		w.submitFor(t, filter, "t1", "t2")
		_, token, err := w.ListTasks(t.Context(), filter, store.Page{Size: 1})
		succeeds(t, err)
		for to, other := range filters {
			other.Tenant = filter.Tenant
			_, _, err := w.ListTasks(t.Context(), other, store.Page{Token: token})
			var want error
			if of != to {
				want = store.ErrPageToken
			}
			if !errors.Is(err, want) {
				t.Errorf("a token for %+v, used for %+v: got %v, want %v", filter, other, err, want)
			}
		}
	}
}

// submitFor makes queued tasks that a filter finds.
func (w *world) submitFor(t *testing.T, f store.TaskFilter, names ...string) {
	t.Helper()
	for _, id := range names {
		_, _, err := w.SubmitTask(t.Context(), store.TaskSpec{
			Tenant: f.Tenant, ID: id, UserID: f.UserID, SessionID: f.SessionID, Labels: f.Labels,
		})
		succeeds(t, err)
	}
}

func tokenChanged(t *testing.T, w *world) {
	w.submitFor(t, store.TaskFilter{Tenant: tenant}, numbered("t", 3)...)
	read := func(token string) error {
		_, _, err := w.ListTasks(t.Context(), store.TaskFilter{Tenant: tenant}, store.Page{Size: 1, Token: token})
		return err
	}
	_, token, err := w.ListTasks(t.Context(), store.TaskFilter{Tenant: tenant}, store.Page{Size: 1})
	succeeds(t, err)
	succeeds(t, read(token))
	for _, more := range []string{"A", "AA", "AAA", "AAAA", "YQ", "=", "==", "\n", "\r\n", " ", ".", token} {
		fails(t, read(token+more), store.ErrPageToken)
		fails(t, read(more+token), store.ErrPageToken)
	}
	for i := range token {
		if i > 0 {
			fails(t, read(token[:i]), store.ErrPageToken)
		}
		for _, other := range "AQgw_-z9" {
			if changed := token[:i] + string(other) + token[i+1:]; changed != token {
				fails(t, read(changed), store.ErrPageToken)
			}
		}
	}
	fails(t, read(strings.ToLower(token)), store.ErrPageToken)
}

func tokenOfAnySize(t *testing.T, w *world) {
	names := numbered("t", 10)
	w.submitFor(t, store.TaskFilter{Tenant: tenant}, names...)
	var listed []string
	page := store.Page{}
	for _, page.Size = range []int{1, 4, 2, 0} {
		w.clock.advance(time.Hour) // which no token depends on
		tasks, next, err := w.ListTasks(t.Context(), store.TaskFilter{Tenant: tenant}, page)
		succeeds(t, err)
		listed = append(listed, ids(tasks, taskID)...)
		page.Token = next
	}
	same(t, "all pages", listed, newestFirst(names))
	same(t, "the last token", page.Token, "")
}

// tokenOfOneFilter: labels are a map, which gives them in another order each time.
func tokenOfOneFilter(t *testing.T, w *world) {
	filter := store.TaskFilter{Tenant: tenant, UserID: "ann", SessionID: "chat", Labels: map[string]string{
		"a": "1", "b": "2", "c": "3", "d": "4",
	}}
	names := numbered("t", 30)
	w.submitFor(t, filter, names...)
	same(t, "all pages", w.pages(t, filter, 1, func() {}), newestFirst(names))

	filter.Statuses = []store.Status{store.StatusQueued, store.StatusRunning}
	_, token, err := w.ListTasks(t.Context(), filter, store.Page{Size: 1})
	succeeds(t, err)
	filter.Statuses = []store.Status{store.StatusRunning, store.StatusQueued, store.StatusRunning}
	tasks, _, err := w.ListTasks(t.Context(), filter, store.Page{Token: token})
	succeeds(t, err)
	same(t, "the rest", len(tasks), len(names)-1)
}
