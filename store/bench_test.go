package store_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/runwire/runwire/store"
	"github.com/runwire/runwire/store/storetest/postgres"
)

func openSQLite(tb testing.TB, options store.Options) *store.DB {
	tb.Helper()
	db, err := store.OpenSQLite(tb.Context(), filepath.Join(tb.TempDir(), "runwire.db"), options)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { closeStore(tb, db) })
	return db
}

func openPostgres(tb testing.TB, address string, options store.Options) *store.DB {
	tb.Helper()
	db, err := store.OpenPostgres(tb.Context(), address, options)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { closeStore(tb, db) })
	return db
}

func closeStore(tb testing.TB, db *store.DB) {
	tb.Helper()
	if err := db.Close(); err != nil {
		tb.Error(err)
	}
}

// BenchmarkSubmit is what durable submits cost from 32 callers at once, with
// every commit synced to the disk.
func BenchmarkSubmit(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) { submits(b, openSQLite(b, store.Options{})) })
	b.Run("postgres", func(b *testing.B) {
		submits(b, openPostgres(b, postgres.Start(b).Schema(b), store.Options{Connections: 32}))
	})
}

func submits(b *testing.B, db *store.DB) {
	b.Helper()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, _, err := db.SubmitTask(b.Context(), spec()); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}

// BenchmarkLife is a task's life: submitted, claimed, a step, finished.
func BenchmarkLife(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) { lives(b, openSQLite(b, store.Options{})) })
	b.Run("postgres", func(b *testing.B) {
		lives(b, openPostgres(b, postgres.Start(b).Schema(b), store.Options{Connections: 32}))
	})
}

func lives(b *testing.B, db *store.DB) {
	b.Helper()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := life(b.Context(), db); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}

func life(ctx context.Context, db *store.DB) error {
	s := spec()
	if _, _, err := db.SubmitTask(ctx, s); err != nil {
		return err
	}
	task, err := db.ClaimTask(ctx, s.Tenant, s.ID, "worker", time.Minute)
	if err != nil {
		return err
	}
	if err := db.AppendProgress(ctx, task.Ref(), store.Progress{Steps: [][]byte{[]byte("step")}}); err != nil {
		return err
	}
	err = db.FinishTask(ctx, task.Ref(), store.Ending{
		Status: store.StatusCompleted, Result: []byte("result"),
		Events: []store.Event{{1, []byte("started")}, {2, []byte("said")}, {3, []byte("finished")}},
	})
	return err
}

var specs atomic.Int64

func spec() store.TaskSpec {
	return store.TaskSpec{
		Tenant: "default", ID: uuid.Must(uuid.NewV7()).String(), UserID: fmt.Sprint("user-", specs.Add(1)%100), SessionID: uuid.Must(uuid.NewV7()).String(),
		Agent: "default", Priority: 2, Request: []byte("what is the sum of twelve and thirty? please answer in one sentence."),
	}
}

// BenchmarkSearchMeaning is what a search costs of a user with 10,000 memories
// that have vectors of 1,536 numbers.
func BenchmarkSearchMeaning(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) { searchesMeaning(b, openSQLite(b, store.Options{})) })
	b.Run("postgres", func(b *testing.B) {
		searchesMeaning(b, openPostgres(b, postgres.Start(b).Schema(b), store.Options{}))
	})
	b.Run("postgres without pgvector", func(b *testing.B) {
		searchesMeaning(b, openPostgres(b, postgres.Start(b).Plain(b), store.Options{}))
	})
}

func searchesMeaning(b *testing.B, db *store.DB) {
	b.Helper()
	const count, dimensions, model = 10_000, 1536, "m/small"
	vector := func(i int) []float32 {
		vector := make([]float32, dimensions)
		for j := range vector {
			vector[j] = float32(math.Sin(float64(i*dimensions+j)) * math.Sqrt(2.0/dimensions))
		}
		return vector
	}
	for first := 0; first < count; first += 500 {
		var vectors []store.MemoryVector
		for i := first; i < first+500; i++ {
			id := fmt.Sprint(i)
			if _, err := db.SaveMemory(b.Context(), store.Memory{Tenant: "default", ID: id, UserID: "ann", Text: "a note number " + id}, 0); err != nil {
				b.Fatal(err)
			}
			vectors = append(vectors, store.MemoryVector{Tenant: "default", ID: id, Vector: vector(i)})
		}
		if err := db.SaveVectors(b.Context(), model, vectors, nil); err != nil {
			b.Fatal(err)
		}
	}
	near := store.Near{Model: model, Vector: vector(17), Floor: 0.3}
	for b.Loop() {
		found, err := db.SearchMeaning(b.Context(), "default", "ann", "seventeen", near, 20)
		if err != nil || len(found) == 0 || found[0].ID != "17" {
			b.Fatal(len(found), err)
		}
	}
}

// BenchmarkSaveMemory is what a memory costs of a user who has few, with and
// without a bound, and what it costs to refuse one more than 10,000.
func BenchmarkSaveMemory(b *testing.B) {
	b.Run("sqlite", func(b *testing.B) { savesMemories(b, openSQLite(b, store.Options{})) })
	b.Run("postgres", func(b *testing.B) {
		savesMemories(b, openPostgres(b, postgres.Start(b).Schema(b), store.Options{}))
	})
}

func savesMemories(b *testing.B, db *store.DB) {
	b.Helper()
	const most = 10_000
	save := func(user string, i, most int) error {
		id := fmt.Sprint(user, " ", i)
		_, err := db.SaveMemory(b.Context(), store.Memory{Tenant: "default", ID: id, UserID: user, Text: "a note number " + id}, most)
		return err
	}
	for i := range most {
		if err := save("old", i, 0); err != nil {
			b.Fatal(err)
		}
	}
	for name, bound := range map[string]int{"saved, unbounded": 0, "saved": most} {
		b.Run(name, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if err := save(fmt.Sprint(name, i/10), i%10, bound); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("refused", func(b *testing.B) {
		for b.Loop() {
			if err := save("old", most, most); !errors.Is(err, store.ErrFull) {
				b.Fatal(err)
			}
		}
	})
}
