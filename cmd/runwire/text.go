package main

import (
	"strings"
	"unicode"
)

// longestLine is how many characters of a tool's arguments or output are shown.
const longestLine = 500

// withoutControls is text without the characters that give a terminal orders:
// escape sequences, cursor movements, and marks that turn the direction of
// writing. Line ends and tabs stay.
func withoutControls(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t':
			return r
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == '\u2028', r == '\u2029':
			return -1
		default:
			return r
		}
	}, text)
}

// oneLine is text as a single line of bounded length that is safe to show.
func oneLine(text string) string {
	return cut(withoutControls(strings.Join(strings.Fields(text), " ")), longestLine)
}

// cut is text of so many characters at most, with a sign that there was more.
func cut(text string, characters int) string {
	count := 0
	for i := range text {
		if count == characters {
			return text[:i] + "…"
		}
		count++
	}
	return text
}
