package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/runwire/runwire/store"
)

func listTests() map[string]func(*testing.T, *world) {
	return map[string]func(*testing.T, *world){
		"tasks are listed newest first, page by page":     listPages,
		"a list stays whole while tasks arrive and leave": listWhileTheyArrive,
		"tasks of one moment are listed once each":        listOneMoment,
		"a list is narrowed by what the filter says":      listFiltered,
		"a filter that makes no sense is refused":         listBadFilter,
		"a page has a size":                               listPageSize,
		"a forged page token is refused":                  listForgedToken,
	}
}

// pages reads a list to its end.
func (w *world) pages(t *testing.T, filter store.TaskFilter, size int, between func()) []string {
	t.Helper()
	all, page := []string{}, store.Page{Size: size}
	for range 1000 {
		tasks, next, err := w.ListTasks(t.Context(), filter, page)
		succeeds(t, err)
		all = append(all, ids(tasks, taskID)...)
		if next == "" {
			return all
		}
		same(t, "the size of a page that is not the last", len(tasks), size)
		page.Token = next
		between()
	}
	t.Fatal("the list has no end")
	return nil
}

func newestFirst(names []string) []string {
	reversed := slices.Clone(names)
	slices.Reverse(reversed)
	return reversed
}

func listPages(t *testing.T, w *world) {
	names := numbered("t", 10)
	for _, id := range names {
		w.submit(t, id)
		w.clock.advance(time.Second)
	}
	for size := 1; size <= 11; size++ {
		same(t, "all pages", w.pages(t, store.TaskFilter{Tenant: tenant}, size, func() {}), newestFirst(names))
	}
}

func listWhileTheyArrive(t *testing.T, w *world) {
	names := numbered("t", 30)
	for _, id := range names {
		w.submit(t, id)
		w.clock.advance(time.Second)
	}
	arriving := numbered("u", 30)
	listed := w.pages(t, store.TaskFilter{Tenant: tenant}, 4, func() {
		w.claim(t, arriving[0]) // a newer task, which no later page shows
		arriving = arriving[1:]
		w.clock.advance(time.Second)
	})
	same(t, "all pages", listed, newestFirst(names))
}

func listOneMoment(t *testing.T, w *world) {
	names := numbered("t", 10)
	for _, id := range names {
		w.submit(t, id)
	}
	same(t, "all pages", w.pages(t, store.TaskFilter{Tenant: tenant}, 3, func() {}), newestFirst(names))
}

func listFiltered(t *testing.T, w *world) {
	for _, s := range []store.TaskSpec{
		{ID: "t1", UserID: "ann", SessionID: "chat", Labels: map[string]string{"team": "search"}},
		{ID: "t2", UserID: "ann", SessionID: "mail", Labels: map[string]string{"team": "search", "tier": "a"}},
		{ID: "t3", UserID: "bob", SessionID: "chat", Labels: map[string]string{"team": "a", "search": "team"}},
		{ID: "t4", UserID: "bob", SessionID: "mail"},
	} {
		s.Tenant = tenant
		_, _, err := w.SubmitTask(t.Context(), s)
		succeeds(t, err)
		w.clock.advance(time.Second)
	}
	w.finish(t, w.reclaim(t, "t1", "worker"), store.Ending{Status: store.StatusCompleted})
	w.finish(t, w.reclaim(t, "t2", "worker"), store.Ending{Status: store.StatusFailed})
	w.reclaim(t, "t3", "worker")
	for name, test := range map[string]struct {
		filter store.TaskFilter
		want   []string
	}{
		"nothing":           {store.TaskFilter{}, []string{"t4", "t3", "t2", "t1"}},
		"user":              {store.TaskFilter{UserID: "bob"}, []string{"t4", "t3"}},
		"session":           {store.TaskFilter{SessionID: "chat"}, []string{"t3", "t1"}},
		"user and session":  {store.TaskFilter{UserID: "ann", SessionID: "mail"}, []string{"t2"}},
		"queued":            {store.TaskFilter{Statuses: []store.Status{store.StatusQueued}}, []string{"t4"}},
		"queued or running": {store.TaskFilter{Statuses: []store.Status{store.StatusQueued, store.StatusRunning}}, []string{"t4", "t3"}},
		"queued of a user":  {store.TaskFilter{UserID: "ann", Statuses: []store.Status{store.StatusQueued}}, []string{}},
		"running of a user": {store.TaskFilter{UserID: "bob", Statuses: []store.Status{store.StatusRunning}}, []string{"t3"}},
		"completed":         {store.TaskFilter{Statuses: []store.Status{store.StatusCompleted}}, []string{"t1"}},
		"failed":            {store.TaskFilter{Statuses: []store.Status{store.StatusFailed}}, []string{"t2"}},
		"failed or running": {store.TaskFilter{Statuses: []store.Status{store.StatusFailed, store.StatusRunning}}, []string{"t3", "t2"}},
		"cancelled":         {store.TaskFilter{Statuses: []store.Status{store.StatusCancelled}}, []string{}},
		"label":             {store.TaskFilter{Labels: map[string]string{"team": "search"}}, []string{"t2", "t1"}},
		"two labels":        {store.TaskFilter{Labels: map[string]string{"team": "search", "tier": "a"}}, []string{"t2"}},
		"label and user":    {store.TaskFilter{UserID: "bob", Labels: map[string]string{"team": "search"}}, []string{}},
		"label and status": {
			store.TaskFilter{Statuses: []store.Status{store.StatusFailed}, Labels: map[string]string{"team": "search"}},
			[]string{"t2"},
		},
	} {
		test.filter.Tenant = tenant
		for size := 1; size <= 5; size++ {
			same(t, name, w.pages(t, test.filter, size, func() {}), test.want)
		}
	}
}

func listBadFilter(t *testing.T, w *world) {
	for _, status := range []store.Status{-1, 0, 7, 99} {
		_, _, err := w.ListTasks(t.Context(), store.TaskFilter{Tenant: tenant, Statuses: []store.Status{status}}, store.Page{})
		fails(t, err, store.ErrInvalid)
	}
}

func listPageSize(t *testing.T, w *world) {
	for _, id := range numbered("t", 51) {
		w.submit(t, id)
	}
	for size, want := range map[int]int{-1: 50, 0: 50, 1: 1, 51: 51, 1 << 30: 51} {
		tasks, _, err := w.ListTasks(t.Context(), store.TaskFilter{Tenant: tenant}, store.Page{Size: size})
		succeeds(t, err)
		same(t, "the size", len(tasks), want)
	}
}

func listForgedToken(t *testing.T, w *world) {
	w.submit(t, "t1")
	for _, token := range []string{"x", "AA", "not base64", "AQAAAAAAAAA", "Av__________YQ", "AQAAAAAAAAAAAA=="} {
		_, _, err := w.ListTasks(t.Context(), store.TaskFilter{Tenant: tenant}, store.Page{Token: token})
		fails(t, err, store.ErrPageToken)
	}
}
