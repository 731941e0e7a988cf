package store

import (
	"errors"
	"testing"
)

// A token is either refused or the only one that stands for its cursor.
func FuzzPageToken(f *testing.F) {
	const list = 7
	good := cursor{-1, "t1"}.token(list)
	for _, seed := range []string{
		"", "x", "AA", "AQ", "Ag", cursor{}.token(list), good, cursor{1 << 60, "ünïcode"}.token(list), cursor{0, "\xff"}.token(list),
		cursor{}.token(0), good + "A", good + "AA", good + "\n", good + "=", "AQAAAAAAAAAAYQ", "AQAAAAAAAAAAYR",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		at, err := parseCursor(token, list)
		if err != nil {
			if !errors.Is(err, ErrPageToken) {
				t.Fatalf("%q is refused with %v", token, err)
			}
			return
		}
		if at.token(list) != token {
			t.Fatalf("%q stands for %+v, whose token is %q", token, at, at.token(list))
		}
		if err := checkTexts([]any{at.id}); err != nil {
			t.Fatalf("%q holds what no id can be: %v", token, err)
		}
	})
}

func FuzzCursor(f *testing.F) {
	f.Add(int64(0), "t1", uint32(0))
	f.Add(int64(-1), "", uint32(1<<32-1))
	f.Fuzz(func(t *testing.T, micros int64, id string, list uint32) {
		token := cursor{micros, id}.token(list)
		if _, err := parseCursor(token, list^1); !errors.Is(err, ErrPageToken) {
			t.Fatalf("for another list, got %v", err)
		}
		at, err := parseCursor(token, list)
		if checkTexts([]any{id}) != nil {
			return // no row has such an id
		}
		if err != nil || at != (cursor{micros, id}) {
			t.Fatalf("got %+v, %v", at, err)
		}
	})
}

// Two labels are never taken for each other.
func FuzzLabels(f *testing.F) {
	f.Add("a", "b", "c", "d")
	f.Add(`a"="`, "", "a", `"="`)
	f.Fuzz(func(t *testing.T, name, value, otherName, otherValue string) {
		if name == otherName && value == otherValue {
			return
		}
		if labelKey(name, value) == labelKey(otherName, otherValue) {
			t.Fatal("they have one key")
		}
		if checkTexts([]any{labelKey(name, value)}) != nil {
			t.Fatal("its key can not be kept")
		}
	})
}
