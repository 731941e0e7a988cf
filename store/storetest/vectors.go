package storetest

import (
	"cmp"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/runwire/runwire/store"
	"pgregory.net/rapid"
)

func vectorTests() map[string]func(*testing.T, *world) {
	return map[string]func(*testing.T, *world){
		"memories are claimed until they have a vector":        claimMemories,
		"a memory that was claimed and left is claimed again":  claimAgain,
		"a memory that is put off waits":                       putOff,
		"another model's vectors are made anew":                changeModel,
		"vectors and what they cost are kept together":         keepVectors,
		"a vector that makes no sense is refused":              badVector,
		"what is near is found without a common word":          searchMeaning,
		"words and meaning are ranked together":                fuseRankings,
		"a search by meaning compares what can be compared":    compareAlike,
		"a search by meaning reads only a user's memories":     meanOwn,
		"a search by meaning finds what its model finds":       meansAsItsModel,
		"a vector goes with its memory, and with its session":  forgetVectors,
		"numbers come out of the store as they were put there": exactVectors,
	}
}

const embedding = "openai/small"

// axis is a vector of four numbers along one of them; a query's numbers are
// then the cosines of memories with it.
func axis(i int) []float32 {
	vector := make([]float32, 4)
	vector[i] = 1
	return vector
}

// query is of length 1, and nearest to axis 3.
func query() []float32 { return []float32{0.1, 0.3, 0.5, float32(math.Sqrt(1 - 0.01 - 0.09 - 0.25))} }

func near(floor float64) store.Near {
	return store.Near{Model: embedding, Vector: query(), Floor: floor}
}

// mean gives a memory that remember has saved its vector.
func (w *world) mean(t *testing.T, userID, text string, vector []float32) {
	t.Helper()
	succeeds(t, w.SaveVectors(t.Context(), embedding, []store.MemoryVector{{Tenant: tenant, ID: userID + ": " + text, Vector: vector}}, nil))
}

func (w *world) meaning(t *testing.T, userID, text string, near store.Near, limit int) []string {
	t.Helper()
	found, err := w.SearchMeaning(t.Context(), tenant, userID, text, near, limit)
	succeeds(t, err)
	return ids(found, func(m store.Memory) string { return m.Text })
}

func (w *world) claimTexts(t *testing.T, model string, limit int) []string {
	t.Helper()
	claimed, err := w.ClaimMemories(t.Context(), model, limit, lease)
	succeeds(t, err)
	texts := ids(claimed, func(m store.Memory) string { return m.Text })
	slices.Sort(texts)
	return texts
}

func claimMemories(t *testing.T, w *world) {
	names := numbered("m", 5)
	w.remember(t, "ann", names...)
	all := append(w.claimTexts(t, embedding, 2), w.claimTexts(t, embedding, 10)...)
	slices.Sort(all)
	same(t, "what is claimed", all, names)
	same(t, "what is left", w.claimTexts(t, embedding, 10), []string{})
	for _, name := range names {
		w.mean(t, "ann", name, axis(0))
	}
	w.clock.advance(lease)
	same(t, "what has no vector", w.claimTexts(t, embedding, 10), []string{})
	same(t, "none", w.claimTexts(t, embedding, -1), []string{})
}

func claimAgain(t *testing.T, w *world) {
	w.remember(t, "ann", "tea")
	want, _, err := w.ListMemories(t.Context(), tenant, "ann", store.Page{})
	succeeds(t, err)
	claimed, err := w.ClaimMemories(t.Context(), embedding, 10, lease)
	succeeds(t, err)
	same(t, "what is claimed", claimed, want)
	w.clock.advance(lease - 1)
	same(t, "before the lease has run out", w.claimTexts(t, embedding, 10), []string{})
	w.clock.advance(time.Microsecond)
	same(t, "after", w.claimTexts(t, embedding, 10), []string{"tea"})
}

func putOff(t *testing.T, w *world) {
	w.remember(t, "ann", "tea", "cat")
	claimed, err := w.ClaimMemories(t.Context(), embedding, 1, lease)
	succeeds(t, err)
	succeeds(t, w.PutOffMemories(t.Context(), append(claimed, store.Memory{Tenant: tenant, ID: "none"}), time.Hour))
	same(t, "the other", len(w.claimTexts(t, embedding, 10)), 1)
	w.clock.advance(time.Hour - 1)
	same(t, "the other again", len(w.claimTexts(t, embedding, 10)), 1)
	w.clock.advance(time.Microsecond)
	same(t, "what was put off", w.claimTexts(t, embedding, 10), []string{claimed[0].Text})
}

func changeModel(t *testing.T, w *world) {
	w.remember(t, "ann", "old", "new")
	w.mean(t, "ann", "old", axis(3))
	for _, model := range []string{"a/before it in order", "z/behind it"} {
		same(t, "the first for "+model, w.claimTexts(t, model, 1), []string{"new"})
		same(t, "the second", w.claimTexts(t, model, 1), []string{"old"})
		w.clock.advance(lease)
	}
	const model = "openai/large"
	succeeds(t, w.SaveVectors(t.Context(), model, []store.MemoryVector{{Tenant: tenant, ID: "ann: old", Vector: axis(2)}}, nil))
	for of, want := range map[string]bool{embedding: false, model: true} {
		has, err := w.HasVectors(t.Context(), tenant, "ann", of)
		succeeds(t, err)
		same(t, of, has, want)
	}
	same(t, "near by the old model", w.meaning(t, "ann", "", near(0), 10), []string{})
	same(t, "near by the new one", w.meaning(t, "ann", "", store.Near{Model: model, Vector: query()}, 10), []string{"old"})
}

func keepVectors(t *testing.T, w *world) {
	w.remember(t, "ann", "tea", "cat")
	cost := int64(7)
	vectors := []store.MemoryVector{
		{Tenant: tenant, ID: "ann: tea", Vector: axis(1)},
		{Tenant: tenant, ID: "deleted meanwhile", Vector: axis(2)},
		{Tenant: tenant, ID: "ann: cat", Vector: axis(3)},
	}
	usage := []store.UsageRow{{Tenant: tenant, ID: "u1", UserID: "ann", Agent: "memory", Model: embedding, Time: w.clock.Now(), InputTokens: 3, CostNano: &cost}}
	fails(t, w.SaveVectors(t.Context(), embedding, vectors, []store.UsageRow{{Tenant: tenant, ID: "u0"}}), store.ErrInvalid)
	has, err := w.HasVectors(t.Context(), tenant, "ann", embedding)
	succeeds(t, err)
	same(t, "without their usage they are", has, false)
	succeeds(t, w.SaveVectors(t.Context(), embedding, vectors, usage))
	succeeds(t, w.SaveVectors(t.Context(), embedding, vectors, usage))
	same(t, "what is near", w.meaning(t, "ann", "", near(0), 10), []string{"cat", "tea"})
	sums, err := w.SumUsage(t.Context(), store.UsageFilter{Tenant: tenant})
	succeeds(t, err)
	same(t, "usage", sums, []store.UsageSum{{Calls: 1, InputTokens: 3, CostNano: 7}})
	succeeds(t, w.SaveVectors(t.Context(), embedding, nil, nil))
}

func badVector(t *testing.T, w *world) {
	w.remember(t, "ann", "tea")
	for _, vector := range [][]float32{
		nil, {}, {1, float32(math.NaN())}, {float32(math.Inf(1))}, {float32(math.Inf(-1)), 0}, make([]float32, store.MaxDimensions+1),
	} {
		err := w.SaveVectors(t.Context(), embedding, []store.MemoryVector{{Tenant: tenant, ID: "ann: tea", Vector: vector}}, nil)
		fails(t, err, store.ErrInvalid)
		_, err = w.SearchMeaning(t.Context(), tenant, "ann", "tea", store.Near{Model: embedding, Vector: vector}, 1)
		fails(t, err, store.ErrInvalid)
	}
	fails(t, w.SaveVectors(t.Context(), embedding, []store.MemoryVector{
		{Tenant: tenant, ID: "ann: tea", Vector: axis(0)}, {Tenant: tenant, ID: "none", Vector: []float32{1}},
	}, nil), store.ErrInvalid)
	_, err := w.SearchMeaning(t.Context(), tenant, "ann", "a\x00b", near(0), 1)
	fails(t, err, store.ErrInvalid)
	longest := make([]float32, store.MaxDimensions)
	longest[store.MaxDimensions-1] = 1
	w.mean(t, "ann", "tea", longest)
	same(t, "the longest", w.meaning(t, "ann", "", store.Near{Model: embedding, Vector: longest, Floor: 0.99}, 1), []string{"tea"})
}

func searchMeaning(t *testing.T, w *world) {
	w.remember(t, "ann", "drinks tea", "has a cat", "is allergic to nuts", "runs", "no vector yet")
	for i, text := range []string{"drinks tea", "has a cat", "is allergic to nuts", "runs"} {
		w.mean(t, "ann", text, axis(i))
	}
	for floor, want := range map[float64][]string{
		-1:   {"runs", "is allergic to nuts", "has a cat", "drinks tea"},
		0.2:  {"runs", "is allergic to nuts", "has a cat"},
		0.4:  {"runs", "is allergic to nuts"},
		0.85: {},
	} {
		same(t, fmt.Sprint("without words, from ", floor), w.meaning(t, "ann", "?!", near(floor), 10), want)
	}
	same(t, "what has no vector is found by its words", w.meaning(t, "ann", "yet", near(0.85), 10), []string{"no vector yet"})
	for limit, want := range map[int]int{-1: 0, 0: 0, 1: 1, 3: 3, 9: 4} {
		same(t, "how many are found", len(w.meaning(t, "ann", "", near(-1), limit)), want)
	}
	opposite := query()
	for i := range opposite {
		opposite[i] = -opposite[i]
	}
	same(t, "the opposite is not near",
		w.meaning(t, "ann", "", store.Near{Model: embedding, Vector: opposite, Floor: 0.01}, 10), []string{})
}

func fuseRankings(t *testing.T, w *world) {
	w.remember(t, "ann", "tea is green", "green", "hot drinks", "a cat", "tea", "unrelated")
	for text, i := range map[string]int{"tea is green": 2, "green": 0, "hot drinks": 3, "a cat": 1} {
		w.mean(t, "ann", text, axis(i))
	}
	// Both rankings have the first. Of the others each has one in the same place:
	// the nearer is before the one with the words.
	same(t, "green tea", w.meaning(t, "ann", "green tea", near(0.2), 10),
		[]string{"tea is green", "hot drinks", "tea", "a cat", "green"})
	same(t, "no word", w.meaning(t, "ann", "coffee", near(0.2), 10), []string{"hot drinks", "tea is green", "a cat"})
	same(t, "nothing is near", w.meaning(t, "ann", "green tea", near(0.9), 10), w.search(t, "ann", "green tea"))
	same(t, "the best", w.meaning(t, "ann", "green tea", near(0.2), 1), []string{"tea is green"})
	// Of the same meaning, the newer is first.
	w.remember(t, "bob", "first", "second", "third")
	for _, text := range []string{"first", "second", "third"} {
		w.mean(t, "bob", text, axis(3))
	}
	same(t, "by age", w.meaning(t, "bob", "", near(0), 2), []string{"third", "second"})
}

func compareAlike(t *testing.T, w *world) {
	w.remember(t, "ann", "four", "two", "another model's")
	w.mean(t, "ann", "four", axis(3))
	w.mean(t, "ann", "two", []float32{0, 1})
	err := w.SaveVectors(t.Context(), "other/model", []store.MemoryVector{
		{Tenant: tenant, ID: "ann: another model's", Vector: axis(3)},
	}, nil)
	succeeds(t, err)
	same(t, "of four numbers", w.meaning(t, "ann", "", near(-1), 10), []string{"four"})
	same(t, "of two", w.meaning(t, "ann", "", store.Near{Model: embedding, Vector: []float32{0, 1}}, 10), []string{"two"})
	same(t, "of three", w.meaning(t, "ann", "", store.Near{Model: embedding, Vector: []float32{0, 1, 0}}, 10), []string{})
}

func meanOwn(t *testing.T, w *world) {
	w.remember(t, "ann", "of ann")
	w.remember(t, "bob", "of bob")
	other := store.Memory{Tenant: "umbrella", ID: "ann: of ann", UserID: "ann", Text: "of another ann"}
	_, err := w.SaveMemory(t.Context(), other, 0)
	succeeds(t, err)
	w.mean(t, "ann", "of ann", axis(0))
	w.mean(t, "bob", "of bob", axis(3))
	succeeds(t, w.SaveVectors(t.Context(), embedding, []store.MemoryVector{{Tenant: "umbrella", ID: other.ID, Vector: axis(3)}}, nil))
	same(t, "ann's", w.meaning(t, "ann", "of", near(-1), 10), []string{"of ann"})
	same(t, "bob's", w.meaning(t, "bob", "", near(-1), 10), []string{"of bob"})
	same(t, "nobody's", w.meaning(t, "", "of", near(-1), 10), []string{})
	found, err := w.SearchMeaning(t.Context(), "umbrella", "ann", "", near(-1), 10)
	succeeds(t, err)
	same(t, "another tenant's", ids(found, func(m store.Memory) string { return m.Text }), []string{other.Text})
}

func forgetVectors(t *testing.T, w *world) {
	w.remember(t, "ann", "tea", "cat")
	_, err := w.SaveMemory(t.Context(), store.Memory{Tenant: tenant, ID: "ann: chat", UserID: "ann", SessionID: "chat", Text: "chat"}, 0)
	succeeds(t, err)
	for i, text := range []string{"tea", "cat", "chat"} {
		w.mean(t, "ann", text, axis(i+1))
	}
	succeeds(t, w.DeleteMemory(t.Context(), tenant, "ann: cat"))
	same(t, "what is near", w.meaning(t, "ann", "", near(0), 10), []string{"chat", "tea"})
	succeeds(t, w.DeleteSession(t.Context(), tenant, "chat"))
	same(t, "what is near then", w.meaning(t, "ann", "", near(0), 10), []string{"tea"})
	w.remember(t, "ann", "a dog") // which may be given the others' place
	same(t, "what is near in the end", w.meaning(t, "ann", "", near(0), 10), []string{"tea"})
	same(t, "what waits", w.claimTexts(t, embedding, 10), []string{"a dog"})
}

// exactVectors: cosines are as close to 1 as the numbers' own exactness.
func exactVectors(t *testing.T, w *world) {
	const count = 1536
	vector := make([]float32, count)
	for i := range vector {
		vector[i] = float32(math.Sin(float64(i*i)) / math.Sqrt(count/2))
	}
	var length float64
	for _, x := range vector {
		length += float64(x) * float64(x)
	}
	for i := range vector {
		vector[i] = float32(float64(vector[i]) / math.Sqrt(length))
	}
	w.remember(t, "ann", "itself")
	w.mean(t, "ann", "itself", vector)
	same(t, "itself", w.meaning(t, "ann", "", store.Near{Model: embedding, Vector: vector, Floor: 1 - 1e-5}, 1), []string{"itself"})
	for i := range count / 4 {
		vector[i] = -vector[i]
	}
	same(t, "what is half like it", w.meaning(t, "ann", "", store.Near{Model: embedding, Vector: vector, Floor: 0.6}, 1), []string{})
	same(t, "what is nearly half like it", w.meaning(t, "ann", "", store.Near{Model: embedding, Vector: vector, Floor: 0.4}, 1), []string{"itself"})
}

// meansAsItsModel: whatever is kept and looked for, a search finds what is near
// and what shares a word, in the order of both rankings together.
func meansAsItsModel(t *testing.T, w *world) {
	vocabulary := []string{"tea", "cat", "dog", "the"}
	sentence := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(vocabulary), 1, 4).Draw(t, "words"), " ")
	})
	user := 0
	rapid.Check(t, func(rt *rapid.T) {
		user++
		name := fmt.Sprint("user ", user)
		saved := w.saveAny(t, rt, name, sentence)
		cosines := make(map[string]float64)
		var vectors []store.MemoryVector
		for _, memory := range saved {
			if meaning := rapid.IntRange(-1, 3).Draw(rt, "meaning"); meaning >= 0 {
				cosines[memory.ID] = float64(query()[meaning])
				vectors = append(vectors, store.MemoryVector{Tenant: tenant, ID: memory.ID, Vector: axis(meaning)})
			}
		}
		if err := w.SaveVectors(t.Context(), embedding, vectors, nil); err != nil {
			rt.Fatal(err)
		}
		text, floor := sentence.Draw(rt, "query"), rapid.SampledFrom([]float64{-1, 0.2, 0.4, 0.9}).Draw(rt, "floor")
		limit := rapid.IntRange(0, 12).Draw(rt, "limit")
		got, err := w.SearchMeaning(t.Context(), tenant, name, text, near(floor), limit)
		if err != nil {
			rt.Fatal(err)
		}
		if want := meant(saved, text, cosines, floor, limit); !reflect.DeepEqual(got, want) {
			rt.Fatalf("%q:\n got %+v\nwant %+v", text, got, want)
		}
	})
}

// meant is what a search finds among all of a user's memories.
func meant(saved []store.Memory, text string, cosines map[string]float64, floor float64, limit int) []store.Memory {
	cosine := func(m store.Memory) float64 {
		if c, ok := cosines[m.ID]; ok && c >= floor {
			return c
		}
		return -2
	}
	nearer := func(a, b store.Memory) int {
		return cmp.Or(cmp.Compare(cosine(b), cosine(a)), b.CreateTime.Compare(a.CreateTime), strings.Compare(b.ID, a.ID))
	}
	byNearness := slices.SortedFunc(slices.Values(saved), nearer)
	byNearness = slices.DeleteFunc(byNearness, func(m store.Memory) bool { return cosine(m) == -2 })
	worth := make(map[string]float64)
	for _, ranking := range [][]store.Memory{expected(saved, text), byNearness} {
		for i, memory := range ranking {
			worth[memory.ID] += 1 / float64(61+i)
		}
	}
	found := slices.DeleteFunc(slices.Clone(saved), func(m store.Memory) bool { return worth[m.ID] == 0 })
	slices.SortFunc(found, func(a, b store.Memory) int {
		return cmp.Or(cmp.Compare(worth[b.ID], worth[a.ID]), nearer(a, b))
	})
	if found = found[:min(limit, len(found))]; len(found) == 0 {
		return nil
	}
	return found
}
