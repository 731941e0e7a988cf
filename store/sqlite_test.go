package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/runwire/runwire/store"
	"github.com/runwire/runwire/store/storetest"
)

func TestSQLite(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(tb testing.TB, clock func() time.Time) store.Store {
		tb.Helper()
		db := openSQLite(tb, store.Options{Clock: clock})
		tb.Cleanup(func() { usesIndexes(tb, db) })
		return db
	})
}

// usesIndexes: no statement reads a whole table or sorts what it reads, so
// none becomes slower with every task that is kept.
func usesIndexes(tb testing.TB, db *store.DB) {
	tb.Helper()
	plans, err := db.Plans(context.WithoutCancel(tb.Context()))
	if err != nil && !errors.Is(err, store.ErrClosed) {
		tb.Error(err)
	}
	for statement, steps := range plans {
		for _, step := range steps {
			scans := strings.HasPrefix(step, "SCAN ") && !given(step)
			sorts := strings.Contains(step, "TEMP B-TREE") && !strings.Contains(statement, "GROUP BY")
			if (scans || sorts) && statement != "SELECT count(*) FROM leaders" {
				tb.Errorf("%s\n%s", step, statement)
			}
		}
	}
}

// What is open is found without what a user or a session has done before.
func TestOpenTasksAreFoundAmongTheOpen(t *testing.T) {
	t.Parallel()
	db := openSQLite(t, store.Options{})
	for index, filter := range map[string]store.TaskFilter{
		"tasks_open":            {UserID: "ann"},
		"tasks_turn_in_session": {UserID: "ann", SessionID: "chat"},
	} {
		filter.Tenant, filter.Statuses = "acme", []store.Status{store.StatusQueued, store.StatusRunning}
		if _, _, err := db.ListTasks(t.Context(), filter, store.Page{}); err != nil {
			t.Fatal(err)
		}
		plans, err := db.Plans(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if all := fmt.Sprint(plans); !strings.Contains(all, index+" ") {
			t.Errorf("%s is not used: %s", index, all)
		}
	}
}

func TestManyOpenOneFileAtOnce(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "made", "on the way", "100%? #1.db")
	openAtOnce(t, func() (*store.DB, error) { return store.OpenSQLite(t.Context(), file, store.Options{}) })
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

// openAtOnce: many that begin together on an empty database see each other's tasks.
func openAtOnce(t *testing.T, open func() (*store.DB, error)) {
	t.Helper()
	const count = 8
	var all sync.WaitGroup
	dbs := make([]*store.DB, count)
	for i := range dbs {
		all.Go(func() {
			db, err := open()
			if err != nil {
				t.Error(err)
				return
			}
			dbs[i] = db
			s := spec()
			s.ID = fmt.Sprint(i)
			if _, _, err := db.SubmitTask(t.Context(), s); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, db := range dbs {
		if db == nil {
			continue
		}
		tasks, _, err := db.ListTasks(t.Context(), store.TaskFilter{Tenant: "default"}, store.Page{})
		if err != nil || len(tasks) != count {
			t.Errorf("got %d tasks, %v", len(tasks), err)
		}
		closeStore(t, db)
	}
}

func TestAFileThatCanNotBeOpenedIsAnError(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	garbage := filepath.Join(folder, "garbage.db")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("not a database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{folder, garbage, filepath.Join(garbage, "below.db")} {
		db, err := store.OpenSQLite(t.Context(), file, store.Options{})
		if err == nil {
			closeStore(t, db)
			t.Errorf("%s was opened", file)
		}
	}
}

// given says whether a step reads only what the statement itself gives.
func given(step string) bool {
	return strings.Contains(step, "CONSTANT ROW") || strings.Contains(step, "VALUES CLAUSE") ||
		step == "SCAN due" || step == "SCAN old" || step == "SCAN recent" || step == "SCAN asked" ||
		step == "SCAN hits" || step == "SCAN worths" || step == "SCAN found" || strings.HasPrefix(step, "SCAN memory_words VIRTUAL TABLE INDEX ") && strings.Contains(step, ":M") // by a word
}
