package tool

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	replacement = "\uFFFD"
	// noteRoom is more than any note of a cut takes.
	noteRoom = 128
)

// BoundOutput makes an answer valid UTF-8 of at most MaxOutput bytes.
func BoundOutput(s string) string {
	whole := len(s)
	valid := validHead(s, MaxOutput)
	if whole <= MaxOutput && len(valid) <= MaxOutput {
		return valid
	}
	head := headOf(valid, MaxOutput-noteRoom)
	return fmt.Sprintf("%s\n[cut here: the output has %d bytes, these are the first %d]", head, whole, len(head))
}

// boundMessage makes a message valid UTF-8 of at most MaxMessage bytes. What is
// wrong stands at an end of a message and what it quotes in the middle.
func boundMessage(s string) string {
	const mark, half = " … ", MaxMessage/2 - 4
	if len(s) <= MaxMessage {
		if s = strings.ToValidUTF8(s, replacement); len(s) <= MaxMessage {
			return s
		}
	}
	tail := strings.ToValidUTF8(s[max(0, len(s)-half-utf8.UTFMax):], replacement)
	return headOf(validHead(s, half), half) + mark + tailOf(tail, half)
}

// validHead is at least the first limit bytes of s as valid UTF-8, and not much
// more than that of a far longer s.
func validHead(s string, limit int) string {
	// A rune that this cuts in two lies beyond limit, where callers drop it.
	return strings.ToValidUTF8(s[:min(len(s), limit+utf8.UTFMax)], replacement)
}

// headOf is the longest beginning of s, valid UTF-8, within limit bytes.
func headOf(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// tailOf is the longest end of s, valid UTF-8, within limit bytes.
func tailOf(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	from := len(s) - limit
	for !utf8.RuneStart(s[from]) {
		from++
	}
	return s[from:]
}
