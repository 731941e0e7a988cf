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

func memoryTests() map[string]func(*testing.T, *world) {
	return map[string]func(*testing.T, *world){
		"a memory is kept as it is":                      saveMemory,
		"a memory saved again is kept once":              saveMemoryTwice,
		"a memory that makes no sense is refused":        badMemory,
		"memories are found by their words":              searchMemories,
		"what is written like a query is plain text":     searchHostile,
		"memories with more of the words come first":     rankMemories,
		"a search finds what its model finds":            findsAsItsModel,
		"a search reads only a user's memories":          searchOwn,
		"memories are listed newest first, page by page": listMemories,
		"a deleted memory is found no more":              deleteMemory,
		"a session's memories are deleted with it":       deleteMemoriesOfSession,
		"a user is given no memory too many":             boundMemories,
		"many who save at once leave none too many":      raceMemories,
	}
}

// remember saves texts, each a second after the one before; its id is its text.
func (w *world) remember(t *testing.T, userID string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		_, err := w.SaveMemory(t.Context(), store.Memory{Tenant: tenant, ID: userID + ": " + text, UserID: userID, Text: text}, 0)
		succeeds(t, err)
		w.clock.advance(time.Second)
	}
}

func (w *world) search(t *testing.T, userID, text string) []string {
	t.Helper()
	found, err := w.SearchMemories(t.Context(), tenant, userID, text, 100)
	succeeds(t, err)
	return ids(found, func(m store.Memory) string { return m.Text })
}

func saveMemory(t *testing.T, w *world) {
	text := "Ann's \"tea\" \\ is\n\tgreen: 緑茶 🍵 -NEAR* O'Hara" + strings.Repeat("é", 100)
	want := store.Memory{Tenant: tenant, ID: "m1", UserID: "ann", SessionID: "chat", Text: text}
	saved, err := w.SaveMemory(t.Context(), want, 0)
	succeeds(t, err)
	want.CreateTime = w.clock.Now()
	same(t, "the answer", saved, want)
	listed, next, err := w.ListMemories(t.Context(), tenant, "ann", store.Page{})
	succeeds(t, err)
	same(t, "the list", listed, []store.Memory{want})
	same(t, "the next page", next, "")
	found, err := w.SearchMemories(t.Context(), tenant, "ann", "tea", 1)
	succeeds(t, err)
	same(t, "what is found", found, []store.Memory{want})
}

func saveMemoryTwice(t *testing.T, w *world) {
	memory := store.Memory{Tenant: tenant, ID: "m1", UserID: "ann", Text: "green tea"}
	first, err := w.SaveMemory(t.Context(), memory, 0)
	succeeds(t, err)
	w.clock.advance(time.Second)
	again, err := w.SaveMemory(t.Context(), memory, 0)
	succeeds(t, err)
	same(t, "the answer", again, first)
	same(t, "what is found", w.search(t, "ann", "tea"), []string{"green tea"})
	for _, other := range []store.Memory{
		{Tenant: tenant, ID: "m1", UserID: "bob", Text: "green tea"},
		{Tenant: tenant, ID: "m1", UserID: "ann", Text: "black tea"},
	} {
		_, err := w.SaveMemory(t.Context(), other, 0)
		fails(t, err, store.ErrExists)
	}
	same(t, "what is found of the others", w.search(t, "bob", "tea"), []string{})
	memory.Tenant = "umbrella"
	_, err = w.SaveMemory(t.Context(), memory, 0)
	succeeds(t, err)
}

func badMemory(t *testing.T, w *world) {
	for _, text := range []string{"", strings.Repeat("é", store.MaxMemory+1), "a\x00b", "\xff"} {
		_, err := w.SaveMemory(t.Context(), store.Memory{Tenant: tenant, ID: "m1", UserID: "ann", Text: text}, 0)
		fails(t, err, store.ErrInvalid)
	}
	_, err := w.SearchMemories(t.Context(), tenant, "ann", "a\x00b", 1)
	fails(t, err, store.ErrInvalid)
	longest := strings.Repeat("é", store.MaxMemory)
	w.remember(t, "ann", longest, strings.Repeat("a ", store.MaxMemory/2))
	same(t, "the longest word", w.search(t, "ann", longest), []string{longest})
	_, err = w.SearchMemories(t.Context(), tenant, "ann", strings.Repeat("word and more ", 10_000), 1)
	succeeds(t, err)
}

func searchMemories(t *testing.T, w *world) {
	for _, test := range []struct {
		text string
		// found and missed are searches, and whether they find the text.
		found, missed []string
	}{
		{
			"Ann likes green tea.",
			[]string{"tea", "green tea", "tea green", "TEA?", "ann", "black tea", "ＴＥＡ"},
			[]string{"te", "teas", "coffee", "", "?", "lik"},
		},
		{"Das Café in der Straße", []string{"cafe", "CAFÉ", "cafe\u0301", "strasse", "STRASSE"}, []string{"caf", "straß"}},
		{"Ελλάδα, Москва, İstanbul", []string{"ελλαδα", "ΕΛΛΆΔΑ", "москва", "istanbul"}, []string{"мос"}},
		{"彼女は緑茶が好き", []string{"緑茶", "茶"}, []string{"珈琲"}},
		{"ชาเขียว", []string{"ชา"}, []string{"x"}},
		{
			"mail ann@example.com, see https://example.com/a-b_c/d?e=f#g 1e5 0x1F v1.2.3 -7 3.14",
			[]string{"ann", "example.com", "a", "b", "c", "1e5", "1E5", "0x1f", "v1", "2", "7", "14"},
			[]string{"exampl", "5", "1f"},
		},
		{"x", []string{"X"}, []string{"xx"}},
		{"!?", nil, []string{"!?", "!"}},
		{"AND OR NOT NEAR", []string{"and", "near", "NOT"}, []string{"&"}},
	} {
		w.remember(t, test.text, test.text)
		for _, text := range test.found {
			same(t, fmt.Sprintf("%q in %q", text, test.text), w.search(t, test.text, text), []string{test.text})
		}
		for _, text := range test.missed {
			same(t, fmt.Sprintf("%q in %q", text, test.text), w.search(t, test.text, text), []string{})
		}
	}
}

func searchHostile(t *testing.T, w *world) {
	w.remember(t, "ann", "green tea", "black coffee")
	for _, text := range []string{
		`"tea`, `tea"`, `'tea'`, `tea''`, `tea*`, `*tea`, `-tea`, `!tea`, `NOT tea`, `tea NOT green`, `^tea`, `words:tea`, `tea:*`,
		`tea:A`, `NEAR(tea)`, `NEAR(green tea, 0)`, `(tea`, `tea)`, `((tea))`, `tea & !green`, `tea | `, `tea <-> tea`, `tea <2> x`,
		`tea AND`, `OR tea`, `{tea}`, `tea + tea`, `tea\`, `\tea`, `tea; DROP TABLE memories`, `tea' OR '1'='1`, `tea -- `, `%tea%`,
		`$1 tea`, `tea $4`, `@matches tea`, `rowid tea`,
	} {
		same(t, text, w.search(t, "ann", text), []string{"green tea"})
	}
	for _, text := range []string{`*`, `"`, `""`, `-`, `:`, `()`, `' '`, `%`, `_`, `\`, `NOT`, `OR`, `co*`, `blac:*`} {
		same(t, text, w.search(t, "ann", text), []string{})
	}
}

func rankMemories(t *testing.T, w *world) {
	w.remember(
		t, "ann",
		"the tea is green", "the tea is black", "the cat is black", "the tea", "the dog is called Rex", "the, the, the, the",
	)
	for text, want := range map[string][]string{
		"green tea":         {"the tea is green", "the tea", "the tea is black"},
		"tea that is black": {"the tea is black", "the cat is black", "the tea is green", "the tea", "the dog is called Rex"},
		// A word that is everywhere says less than one that is nowhere else.
		"the rex":            {"the dog is called Rex", "the, the, the, the", "the tea", "the cat is black", "the tea is black", "the tea is green"},
		"rex black":          {"the dog is called Rex", "the cat is black", "the tea is black"},
		"tea, tea, tea, cat": {"the cat is black", "the tea", "the tea is black", "the tea is green"},
	} {
		same(t, text, w.search(t, "ann", text), want)
	}
	w.remember(t, "bob", "black", "black", "black is rare to ann") // what others have changes nothing
	same(t, "rex black", w.search(t, "ann", "rex black"), []string{"the dog is called Rex", "the cat is black", "the tea is black"})
	for limit, want := range map[int]int{-1: 0, 0: 0, 1: 1, 5: 5} {
		found, err := w.SearchMemories(t.Context(), tenant, "ann", "the", limit)
		succeeds(t, err)
		same(t, "how many are found", len(found), want)
	}
	var many []string
	for i := range 40 {
		many = append(many, "w"+strings.Repeat("x", i))
	}
	w.remember(t, "eve", many[0], many[39])
	same(t, "of many words the longest", w.search(t, "eve", strings.Join(many, " ")), []string{many[39]})
}

func searchOwn(t *testing.T, w *world) {
	w.remember(t, "ann", "tea of ann")
	w.remember(t, "bob", "tea of bob")
	_, err := w.SaveMemory(t.Context(), store.Memory{Tenant: "umbrella", ID: "m1", UserID: "ann", Text: "tea of another ann"}, 0)
	succeeds(t, err)
	same(t, "ann's", w.search(t, "ann", "tea of bob, of another ann"), []string{"tea of ann"})
	same(t, "bob's", w.search(t, "bob", "tea"), []string{"tea of bob"})
	same(t, "nobody's", w.search(t, "", "tea"), []string{})
	other, err := w.SearchMemories(t.Context(), "umbrella", "ann", "tea", 10)
	succeeds(t, err)
	same(t, "another tenant's", ids(other, func(m store.Memory) string { return m.Text }), []string{"tea of another ann"})
	listed, _, err := w.ListMemories(t.Context(), "umbrella", "ann", store.Page{})
	succeeds(t, err)
	same(t, "another tenant's list", len(listed), 1)
	fails(t, w.DeleteMemory(t.Context(), "umbrella", "ann: tea of ann"), store.ErrNotFound)
}

func listMemories(t *testing.T, w *world) {
	names := numbered("m", 7)
	w.remember(t, "ann", names...)
	w.remember(t, "bob", "bob's")
	var listed []string
	for page := (store.Page{Size: 3}); ; {
		memories, next, err := w.ListMemories(t.Context(), tenant, "ann", page)
		succeeds(t, err)
		listed = append(listed, ids(memories, func(m store.Memory) string { return m.Text })...)
		if page.Token = next; next == "" {
			break
		}
	}
	same(t, "all pages", listed, newestFirst(names))
	_, _, err := w.ListMemories(t.Context(), tenant, "ann", store.Page{Token: "forged"})
	fails(t, err, store.ErrPageToken)
}

func deleteMemory(t *testing.T, w *world) {
	w.remember(t, "ann", "green tea", "black tea")
	succeeds(t, w.DeleteMemory(t.Context(), tenant, "ann: black tea"))
	fails(t, w.DeleteMemory(t.Context(), tenant, "ann: black tea"), store.ErrNotFound)
	same(t, "what is found", w.search(t, "ann", "black tea"), []string{"green tea"})
	w.remember(t, "ann", "a dog") // which may be given the other's place
	same(t, "what is found then", w.search(t, "ann", "black tea"), []string{"green tea"})
	same(t, "the new one", w.search(t, "ann", "dog"), []string{"a dog"})
}

func deleteMemoriesOfSession(t *testing.T, w *world) {
	for id, session := range map[string]string{"of chat": "chat", "of mail": "mail", "of none": "", "of a run": "no session"} {
		_, err := w.SaveMemory(t.Context(), store.Memory{Tenant: tenant, ID: id, UserID: "ann", SessionID: session, Text: id}, 0)
		succeeds(t, err)
		_, err = w.SaveMemory(t.Context(), store.Memory{Tenant: "umbrella", ID: id, UserID: "ann", SessionID: session, Text: id}, 0)
		succeeds(t, err)
	}
	w.acquire(t, "chat", "a")
	succeeds(t, w.DeleteSession(t.Context(), tenant, "chat"))
	same(t, "what is found", len(w.search(t, "ann", "of")), 3)
	same(t, "of the session", w.search(t, "ann", "chat"), []string{})
	succeeds(t, w.DeleteSession(t.Context(), tenant, "no session"))
	same(t, "of one that was never kept", w.search(t, "ann", "run"), []string{})
	fails(t, w.DeleteSession(t.Context(), tenant, ""), store.ErrNotFound)
	same(t, "of none", w.search(t, "ann", "none"), []string{"of none"})
	others, err := w.SearchMemories(t.Context(), "umbrella", "ann", "of", 10)
	succeeds(t, err)
	same(t, "another tenant's", len(others), 4)
}

// findsAsItsModel: whatever is kept and looked for, a search finds the memories
// that share a word, in the order of what the words are worth.
func findsAsItsModel(t *testing.T, w *world) {
	vocabulary := []string{"tea", "cat", "dog", "Rex", "the", "is", "緑", "é1", "x-y", "NOT", "'"}
	sentence := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(vocabulary), 1, 8).Draw(t, "words"), " ")
	})
	user := 0
	rapid.Check(t, func(rt *rapid.T) {
		user++
		name := fmt.Sprint("user ", user)
		saved := w.saveAny(t, rt, name, sentence)
		query := sentence.Draw(rt, "query")
		got, err := w.SearchMemories(t.Context(), tenant, name, query, 100)
		if err != nil {
			rt.Fatal(err)
		}
		if want := expected(saved, query); !reflect.DeepEqual(got, want) {
			rt.Fatalf("%q:\n got %+v\nwant %+v", query, got, want)
		}
	})
}

// saveAny saves any number of a user's memories, at any moments.
func (w *world) saveAny(t *testing.T, rt *rapid.T, user string, sentence *rapid.Generator[string]) (saved []store.Memory) {
	t.Helper()
	for i, text := range rapid.SliceOfN(sentence, 0, 12).Draw(rt, "memories") {
		if rapid.Bool().Draw(rt, "later") {
			w.clock.advance(time.Second)
		}
		memory, err := w.SaveMemory(t.Context(), store.Memory{
			Tenant: tenant, ID: fmt.Sprintf("%s: %02d", user, i), UserID: user, Text: text,
		}, 0)
		if err != nil {
			rt.Fatal(err)
		}
		saved = append(saved, memory)
	}
	return saved
}

// expected is what a search for query finds among all of a user's memories.
func expected(saved []store.Memory, query string) []store.Memory {
	plain := func(text string) []string {
		return strings.FieldsFunc(strings.ReplaceAll(strings.ToLower(text), "é", "e"), func(r rune) bool {
			return strings.ContainsRune(" -'", r)
		})
	}
	worth := make(map[string]int, len(saved)) // by id
	looked := make(map[string]bool)
	for _, word := range plain(query) {
		var with []string
		for _, memory := range saved {
			if slices.Contains(plain(memory.Text), word) {
				with = append(with, memory.ID)
			}
		}
		for _, id := range with {
			if !looked[word] {
				worth[id] += int(1000 * math.Log(1+float64(len(saved))/float64(len(with))))
			}
		}
		looked[word] = true
	}
	found := slices.DeleteFunc(slices.Clone(saved), func(m store.Memory) bool { return worth[m.ID] == 0 })
	slices.SortFunc(found, func(a, b store.Memory) int {
		return cmp.Or(worth[b.ID]-worth[a.ID], b.CreateTime.Compare(a.CreateTime), strings.Compare(b.ID, a.ID))
	})
	if len(found) == 0 {
		return nil
	}
	return found
}
