package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/runwire/runwire/store"
	"github.com/runwire/runwire/store/storetest"
	"github.com/runwire/runwire/store/storetest/postgres"
)

func TestPostgres(t *testing.T) {
	t.Parallel()
	server := postgres.Start(t)
	storetest.Run(t, func(tb testing.TB, clock func() time.Time) store.Store {
		tb.Helper()
		return openPostgres(tb, server.Schema(tb), store.Options{Clock: clock})
	})
	t.Run("with pgvector", func(t *testing.T) {
		t.Parallel()
		if !server.Offers(t, "vector") {
			t.Skip("pgvector is not installed: .ci/pgvector does it")
		}
		if db := openPostgres(t, server.Schema(t), store.Options{}); db.Pgvector() == "" { // which all of the suite has had
			t.Error("it is not used")
		}
	})
	t.Run("without pgvector", func(t *testing.T) {
		t.Parallel()
		storetest.RunMemories(t, func(tb testing.TB, clock func() time.Time) store.Store {
			tb.Helper()
			db := openPostgres(tb, server.Plain(tb), store.Options{Clock: clock})
			if db.Pgvector() != "" {
				tb.Error("it is used")
			}
			return db
		})
	})
	t.Run("many open one database at once", func(t *testing.T) {
		t.Parallel()
		address := server.Schema(t)
		openAtOnce(t, func() (*store.DB, error) { return store.OpenPostgres(t.Context(), address, store.Options{}) })
	})
}

func TestPostgresThatRestartsIsUnavailableUntilItIsBack(t *testing.T) {
	t.Parallel()
	server := postgres.Start(t)
	const connections = 4
	db := openPostgres(t, server.Schema(t), store.Options{Connections: connections})
	before := spec()
	if _, _, err := db.SubmitTask(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	server.Stop(t)
	if _, _, err := db.SubmitTask(t.Context(), spec()); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("got error %v while it is down", err)
	}
	if _, err := db.GetTask(t.Context(), before.Tenant, before.ID); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("got error %v while it is down", err)
	}
	server.Start(t)
	var err error
	for range connections + 1 { // each may be found broken once
		if _, err = db.GetTask(t.Context(), before.Tenant, before.ID); err == nil {
			break
		}
		if !errors.Is(err, store.ErrUnavailable) {
			t.Fatalf("got error %v once it is back", err)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := db.SubmitTask(t.Context(), spec()); err != nil {
		t.Fatal(err)
	}
}
