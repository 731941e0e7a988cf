package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"math"
	"slices"
	"strings"
)

// Near is what a search is to be near to.
type Near struct {
	// Model is the embedding model that Vector is of; vectors of others are not
	// compared.
	Model string
	// Vector is of length 1.
	Vector []float32
	// Floor is the least cosine, from -1 to 1, that makes a memory near.
	Floor float64
}

const (
	// fusion keeps the first places of one ranking from outweighing good places
	// in both: the constant of reciprocal rank fusion (Cormack, Clarke, Büttcher,
	// SIGIR 2009).
	fusion = 60
	// leastRanked is how far each ranking is looked through at least.
	leastRanked = 100
)

// SearchMeaning implements Vectors.
func (d *DB) SearchMeaning(
	ctx context.Context, tenant, userID, text string, near Near, limit int,
) (memories []Memory, err error) {
	const doing = "searching memories by meaning"
	if err := checkTexts([]any{text}); err != nil {
		return nil, failing(doing, err)
	}
	if err := checkVector(near.Vector); err != nil {
		return nil, failing(doing, err)
	}
	limit = max(limit, 0)
	depth := max(limit, leastRanked)
	terms := owned(tenant, userID, longest(words(text), maxSearchWords))
	err = d.engine.read(ctx, func(ctx context.Context, q querier) error {
		worded, err := byWords(ctx, q, tenant, userID, terms, depth)
		if err != nil {
			return err
		}
		compare := compareHere
		if q.dialect.pgvector != "" {
			compare = compareInPostgres
		}
		closest, err := compare(ctx, q, tenant, userID, near, depth)
		memories = fuse(worded, closest, limit)
		return err
	})
	return memories, failing(doing, err)
}

// nearMemory is a memory and the cosine between its vector and another.
type nearMemory struct {
	Memory

	cosine float64
}

func (n *nearMemory) columns() []any { return append(n.Memory.columns(), &n.cosine) }

// nearer orders memories by what they are worth to a search, which is given,
// then by nearness and age.
func nearer(a, b nearMemory) int {
	return cmp.Or(cmp.Compare(b.cosine, a.cosine), b.CreateTime.Compare(a.CreateTime), strings.Compare(b.ID, a.ID))
}

// fuse makes one ranking of two.
func fuse(worded []Memory, closest []nearMemory, limit int) []Memory {
	type candidate struct {
		nearMemory

		worth float64
	}
	const far = -2 // than any cosine
	candidates := make([]candidate, 0, len(worded)+len(closest))
	places := make(map[string]int, len(worded))
	for i := range worded {
		places[worded[i].ID] = i
		candidates = append(candidates, candidate{nearMemory{worded[i], far}, 1 / float64(fusion+i+1)})
	}
	for i := range closest {
		worth := 1 / float64(fusion+i+1)
		if at, ok := places[closest[i].ID]; ok {
			candidates[at].cosine = closest[i].cosine
			candidates[at].worth += worth
			continue
		}
		candidates = append(candidates, candidate{closest[i], worth})
	}
	slices.SortFunc(candidates, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.worth, a.worth), nearer(a.nearMemory, b.nearMemory))
	})
	candidates = candidates[:min(limit, len(candidates))]
	if len(candidates) == 0 {
		return nil
	}
	memories := make([]Memory, len(candidates))
	for i := range candidates {
		memories[i] = candidates[i].Memory
	}
	return memories
}

// newest are the vectors of a user's newest memories; $3 is their model, $4 how many.
const newest = ` FROM memories JOIN memory_vectors ON memory_vectors.number = memories.number
	WHERE memories.tenant = $1 AND memories.user_id = $2 AND memories.vector_model = $3
	ORDER BY memories.create_time DESC, memories.memory_id DESC LIMIT $4`

// vectorMemory is a memory and its vector, as it is kept.
type vectorMemory struct {
	Memory

	vector []byte
}

func (v *vectorMemory) columns() []any { return append(v.Memory.columns(), &v.vector) }

// compareHere compares all vectors one by one: without an index, a search
// takes as long as the user has memories.
func compareHere(ctx context.Context, q querier, tenant, userID string, near Near, depth int) ([]nearMemory, error) {
	var found []nearMemory
	err := each[vectorMemory](ctx, q, func(row vectorMemory) {
		if len(row.vector) != floatBytes*len(near.Vector) {
			return
		}
		if cosine := product(row.vector, near.Vector); cosine >= near.Floor {
			found = append(found, nearMemory{row.Memory, cosine})
		}
		if len(found) == 2*depth { // no more is held than is wanted
			slices.SortFunc(found, nearer)
			found = found[:depth]
		}
	}, "SELECT "+memoryColumns+", memory_vectors.vector"+newest, tenant, userID, near.Model, MaxCompared)
	slices.SortFunc(found, nearer)
	return found[:min(depth, len(found))], err
}

const floatBytes = 4

// product is that of two vectors of as many numbers, the first of them as it is kept.
func product(kept []byte, vector []float32) float64 {
	var s0, s1, s2, s3 float32 // four sums at once keep the processor busy
	for len(vector) >= 4 {
		x, y := kept[:4*floatBytes:4*floatBytes], vector[:4:4]
		s0 += number32(x[0:4]) * y[0]
		s1 += number32(x[4:8]) * y[1]
		s2 += number32(x[8:12]) * y[2]
		s3 += number32(x[12:16]) * y[3]
		kept, vector = kept[4*floatBytes:], vector[4:]
	}
	for i, x := range vector {
		s0 += number32(kept[i*floatBytes:]) * x
	}
	return float64(s0) + float64(s1) + float64(s2) + float64(s3)
}

func number32(kept []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(kept)) }
