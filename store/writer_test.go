package store

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// testEngine is a SQLite engine with a table to write to, and what is in it.
type testEngine struct {
	*sqliteEngine

	t *testing.T
}

func newTestEngine(t *testing.T) *testEngine {
	t.Helper()
	e, err := openSQLite(t.Context(), filepath.Join(t.TempDir(), "test.db"), 4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.close(); err != nil {
			t.Error(err)
		}
	})
	return &testEngine{e, t}
}

// insert writes a name; again makes it a second time, which fails.
func insert(name string, again bool) work {
	return func(ctx context.Context, q querier) error {
		_, err := q.exec(ctx, "INSERT INTO leaders (name, owner, until) VALUES ($1, '', 0)", name)
		if err == nil && again {
			_, err = q.exec(ctx, "INSERT INTO leaders (name, owner, until) VALUES ($1, '', 0)", name)
		}
		return err
	}
}

func (e *testEngine) has(name string) bool {
	e.t.Helper()
	var found number
	err := e.read(e.t.Context(), func(ctx context.Context, q querier) (err error) {
		found, err = queryOne[number](ctx, q, "SELECT count(*) FROM leaders WHERE name = $1", name)
		return err
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return found.value > 0
}

// together has the works run in one transaction, and returns what each was told.
func (e *testEngine) together(works ...work) []error {
	e.t.Helper()
	begun, enough := make(chan struct{}), make(chan struct{})
	var once sync.Once // it may be run again
	holding := make(chan error)
	go func() {
		holding <- e.all(e.t.Context(), func(context.Context, querier) error {
			once.Do(func() { close(begun) })
			<-enough
			return nil
		})
	}()
	<-begun
	errs := make([]error, len(works))
	done := make(chan struct{})
	for i, fn := range works {
		go func() {
			errs[i] = e.writer.do(e.t.Context(), fn, true)
			done <- struct{}{}
		}()
	}
	close(enough)
	for range works {
		<-done
	}
	<-holding
	return errs
}

func TestAFailedWriteLeavesThoseItSharesACommitWith(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t)
	errs := e.together(insert("a", false), insert("b", true), insert("c", false))
	if errs[0] != nil || !errors.Is(errs[1], ErrExists) || errs[2] != nil {
		t.Fatalf("got errors %v", errs)
	}
	if !e.has("a") || e.has("b") || !e.has("c") {
		t.Error("what is kept is not what was answered")
	}
}

func TestAFailedDiskFailsAllThatShareACommit(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t)
	for round := range 3 {
		errs := e.together(insert("a", false), func(ctx context.Context, q querier) error {
			if err := insert("b", false)(ctx, q); err != nil {
				return err
			}
			// What SQLite does by itself when a disk is full.
			if _, err := q.exec(ctx, "ROLLBACK"); err != nil {
				return err
			}
			return ErrUnavailable
		})
		// They are in one transaction or, each by itself, in two.
		if !errors.Is(errs[1], ErrUnavailable) || e.has("b") || e.has("a") != (errs[0] == nil) {
			t.Fatalf("round %d: got errors %v", round, errs)
		}
		if err := e.one(t.Context(), func(ctx context.Context, q querier) error {
			_, err := q.exec(ctx, "DELETE FROM leaders")
			return err
		}); err != nil {
			t.Fatalf("round %d: the next write fails: %v", round, err)
		}
	}
}

func TestAReadOnlyFileIsUnavailableUntilItIsNot(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t)
	var readOnly atomic.Bool
	open := e.writer.open
	e.writer.open = func(ctx context.Context) (*sql.Conn, error) {
		conn, err := open(ctx)
		if err == nil && readOnly.Load() {
			_, err = conn.ExecContext(ctx, "PRAGMA query_only = 1")
		}
		return conn, err
	}
	readOnly.Store(true)
	for range 3 {
		if err := e.one(t.Context(), insert("a", false)); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("got error %v", err)
		}
	}
	if e.has("a") {
		t.Error("something was written")
	}
	readOnly.Store(false)
	if err := e.one(t.Context(), insert("a", false)); err != nil || !e.has("a") {
		t.Fatalf("got error %v", err)
	}
}

func TestACallWhoseContextEndsWhileItWaitsIsWithdrawn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWriter(nil, nil)
		ctx, cancel := context.WithCancel(t.Context())
		answer := make(chan error)
		go func() { answer <- w.do(ctx, insert("a", false), false) }()
		synctest.Wait()
		cancel()
		if err := <-answer; !errors.Is(err, context.Canceled) {
			t.Fatalf("got error %v", err)
		}
		if jobs, _ := w.take(maxBatch); len(jobs) > 0 {
			t.Fatal("it is still in the queue")
		}
	})
}
