package store

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// maxWord is how many characters of a word count.
const maxWord = 64

// words are the different words of a text, in their order, without case and
// accents. The databases are given nothing else to index or to look for, so
// that both see the same words, and no operators.
func words(text string) []string {
	var all []string
	var word strings.Builder
	length := 0
	end := func() {
		if length > 0 {
			all = append(all, word.String())
			word.Reset()
			length = 0
		}
	}
	for _, r := range cases.Fold().String(norm.NFKD.String(text)) {
		switch {
		case unicode.Is(unicode.Mn, r): // an accent
		case !unicode.IsLetter(r) && !unicode.IsNumber(r) && !unicode.Is(unicode.Mc, r):
			end()
		case unspaced(r):
			end()
			word.WriteRune(r)
			length++
			end()
		case length < maxWord:
			word.WriteRune(r)
			length++
		}
	}
	end()
	seen := make(map[string]bool, len(all))
	return slices.DeleteFunc(all, func(word string) bool {
		twice := seen[word]
		seen[word] = true
		return twice
	})
}

// unspaced says whether r is of a script that puts no spaces between words:
// each of its characters is taken for a word.
func unspaced(r rune) bool {
	return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar)
}

// longest keeps the longest words, so many at most: they say most.
func longest(words []string, most int) []string {
	if len(words) <= most {
		return words
	}
	slices.SortStableFunc(words, func(a, b string) int {
		return cmp.Compare(utf8.RuneCountInString(b), utf8.RuneCountInString(a))
	})
	return words[:most]
}

// owned makes words their owner's own: no index entry is shared by two users,
// so a search reads nothing of anybody else's, however many they are.
func owned(tenant, userID string, words []string) []string {
	const length = 10
	sum := sha256.Sum256([]byte(tenant + "\x00" + userID))
	owner := hex.EncodeToString(sum[:length])
	for i, word := range words {
		words[i] = owner + word
	}
	return words
}
