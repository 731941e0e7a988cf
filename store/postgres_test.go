package store_test

import (
	"errors"
	"reflect"
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

// PostgreSQL that is given pgvector later compares by it from the next start
// on. What was compared here before waits to be embedded again.
func TestPostgresIsGivenPgvector(t *testing.T) {
	t.Parallel()
	server := postgres.Start(t)
	if !server.Offers(t, "vector") {
		t.Skip("pgvector is not installed: .ci/pgvector does it")
	}
	address := server.Plain(t)
	before := openPostgres(t, address, store.Options{})
	const model = "m/small"
	saved, err := before.SaveMemory(t.Context(), store.Memory{Tenant: "default", ID: "a", UserID: "ann", Text: "tea"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	vectors := []store.MemoryVector{{Tenant: "default", ID: "a", Vector: []float32{0.6, 0.8}}}
	near := store.Near{Model: model, Vector: []float32{1, 0}, Floor: 0.5}
	finds := func(db *store.DB) int {
		t.Helper()
		found, err := db.SearchMeaning(t.Context(), "default", "ann", "", near, 1)
		if err != nil {
			t.Fatal(err)
		}
		return len(found)
	}
	if err := before.SaveVectors(t.Context(), model, vectors, nil); err != nil || finds(before) != 1 {
		t.Fatalf("it is not found without pgvector: %v", err)
	}
	server.Extend(t, address, "vector")
	db := openPostgres(t, address, store.Options{})
	claimed, err := db.ClaimMemories(t.Context(), model, 10, time.Minute)
	if db.Pgvector() == "" || finds(db) != 0 || err != nil || !reflect.DeepEqual(claimed, []store.Memory{saved}) {
		t.Errorf("pgvector is in %q; claimed are %v, %v", db.Pgvector(), claimed, err)
	}
	if err := db.SaveVectors(t.Context(), model, vectors, nil); err != nil || finds(db) != 1 {
		t.Errorf("it is not found by pgvector: %v", err)
	}
	if again := openPostgres(t, address, store.Options{}); finds(again) != 1 {
		t.Error("it is lost by another start")
	}
	if _, err := before.SearchMeaning(t.Context(), "default", "ann", "", near, 1); err == nil && finds(before) != 0 {
		t.Error("the process before has found something")
	}
}
