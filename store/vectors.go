package store

import (
	"context"
	"fmt"
	"math"
	"time"
)

// Vectors are what memories mean: an embedding model's numbers for each of
// them, filled in after it was saved. A memory has one vector at most, which
// goes when the memory does.
type Vectors interface {
	// ClaimMemories returns up to limit memories, of any tenant, that have no
	// vector of the model, and gives them to the caller for as long as lease.
	// Those that have none at all come first.
	ClaimMemories(ctx context.Context, model string, limit int, lease time.Duration) ([]Memory, error)

	// PutOffMemories has nobody claim memories before after has passed.
	PutOffMemories(ctx context.Context, memories []Memory, after time.Duration) error

	// SaveVectors keeps vectors of a model instead of those that their memories
	// have, and writes what they have cost, as AppendUsage does; all or nothing. A
	// memory that is gone is passed over. Vectors that are not of one length,
	// from 1 to MaxDimensions, or hold what is no number, are ErrInvalid.
	SaveVectors(ctx context.Context, model string, vectors []MemoryVector, usage []UsageRow) error

	// HasVectors says whether a user has memories with vectors of the model.
	HasVectors(ctx context.Context, tenant, userID, model string) (bool, error)

	// SearchMeaning is SearchMemories by two rankings: the words of text, as
	// there, and how near vectors are to near. A memory is worth the sum of
	// 1/(60 + its place) over the rankings that it is in; of two that are worth
	// the same, the nearer is first, then the newer. Each ranking is looked
	// through to limit, and at least to its 100th place; vectors are those of the
	// user's newest MaxCompared memories.
	SearchMeaning(ctx context.Context, tenant, userID, text string, near Near, limit int) ([]Memory, error)
}

const (
	// MaxDimensions is how many numbers a vector has at most; pgvector takes no more.
	MaxDimensions = 16_000
	// MaxCompared is how many of a user's vectors a search compares at most.
	MaxCompared = 10_000
)

// MemoryVector is what a memory means. Vectors are of length 1, so that their
// product is the cosine of the angle between them.
type MemoryVector struct {
	Tenant string
	// ID is the memory's.
	ID     string
	Vector []float32
}

// ClaimMemories implements Vectors.
func (d *DB) ClaimMemories(ctx context.Context, model string, limit int, lease time.Duration) (memories []Memory, err error) {
	// Two ranges of the index, where `<>` would read all of it.
	for _, side := range []string{"<", ">"} {
		err := d.engine.one(ctx, func(ctx context.Context, q querier) error {
			claimed, err := query[Memory](ctx, q, `WITH due AS MATERIALIZED (
					SELECT number FROM memories WHERE vector_model `+side+` $2 AND vector_time <= @now
					ORDER BY vector_model, vector_time LIMIT $3 @skip_locked)
				UPDATE memories SET vector_time = @now + $4 FROM due WHERE memories.number = due.number
				RETURNING `+memoryColumns, d.clock(), model, max(limit-len(memories), 0), lease.Microseconds())
			memories = append(memories, claimed...)
			return err
		})
		if err != nil {
			return memories, failing("claiming memories", err)
		}
	}
	return memories, nil
}

// PutOffMemories implements Vectors.
func (d *DB) PutOffMemories(ctx context.Context, memories []Memory, after time.Duration) error {
	return failing("putting off memories", d.engine.all(ctx, func(ctx context.Context, q querier) error {
		for i := range memories {
			_, err := q.exec(ctx, "UPDATE memories SET vector_time = @now + $4 WHERE tenant = $2 AND memory_id = $3",
				d.clock(), memories[i].Tenant, memories[i].ID, after.Microseconds())
			if err != nil {
				return err
			}
		}
		return nil
	}))
}

// SaveVectors implements Vectors.
func (d *DB) SaveVectors(ctx context.Context, model string, vectors []MemoryVector, usage []UsageRow) error {
	const doing = "saving vectors"
	for i := range vectors {
		if err := checkVector(vectors[i].Vector); err != nil {
			return failing(doing, err)
		}
		if len(vectors[i].Vector) != len(vectors[0].Vector) {
			return failing(doing, fmt.Errorf("%w: vectors of different lengths", ErrInvalid))
		}
	}
	return failing(doing, d.engine.all(ctx, func(ctx context.Context, q querier) error {
		for i := range vectors {
			if err := writeVector(ctx, q, model, &vectors[i]); err != nil {
				return err
			}
		}
		return writeUsage(ctx, q, usage)
	}))
}

func writeVector(ctx context.Context, q querier, model string, v *MemoryVector) error {
	numbers, err := query[number](ctx, q, `UPDATE memories SET vector_model = $3, vector_time = 0
		WHERE tenant = $1 AND memory_id = $2 RETURNING number`, v.Tenant, v.ID, model)
	if err != nil || len(numbers) == 0 {
		return err
	}
	value, parameter := q.dialect.vector(v.Vector, "$2")
	_, err = q.exec(ctx, "INSERT INTO memory_vectors (number, vector) VALUES ($1, "+parameter+
		") ON CONFLICT (number) DO UPDATE SET vector = excluded.vector", numbers[0].value, value)
	return err
}

// HasVectors implements Vectors.
func (d *DB) HasVectors(ctx context.Context, tenant, userID, model string) (has bool, err error) {
	err = d.engine.read(ctx, func(ctx context.Context, q querier) error {
		found, err := query[number](ctx, q, `SELECT 1 FROM memories
			WHERE tenant = $1 AND user_id = $2 AND vector_model = $3 LIMIT 1`, tenant, userID, model)
		has = len(found) > 0
		return err
	})
	return has, failing("looking for vectors", err)
}

// checkVector refuses what no search could compare.
func checkVector(vector []float32) error {
	if len(vector) == 0 || len(vector) > MaxDimensions {
		return fmt.Errorf("%w: a vector of %d numbers", ErrInvalid, len(vector))
	}
	for _, x := range vector {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return fmt.Errorf("%w: a vector with %v in it", ErrInvalid, x)
		}
	}
	return nil
}
