package model

import "unicode/utf8"

// Framing that providers add to what is sent, in tokens. OpenAI's own recipe
// for counting is 3 a message; the rest is room for other servers' templates.
const (
	messageFraming = 4
	toolFraming    = 8
)

// requestTokens counts all of a request with count, framing included.
func requestTokens(req *Request, count func(string) int64) int64 {
	sum := int64(messageFraming) + count(req.System) + count(string(req.AnswerSchema))
	for i := range req.Messages {
		message := &req.Messages[i]
		sum += messageFraming + count(message.Notes) + count(message.Text)
		for j := range message.ToolCalls {
			call := &message.ToolCalls[j]
			sum += toolFraming + count(call.Name) + count(sendable(call.Arguments))
		}
	}
	for i := range req.Tools {
		tool := &req.Tools[i]
		sum += toolFraming + count(tool.Name) + count(tool.Description) + count(string(tool.Parameters))
	}
	return sum
}

// guessTokens is about what common tokenizers make of text: a word with the
// space before it is a token up to 7 letters, digits go by three, marks
// by two, anything else by the character. On prose and code it is a tenth high.
func guessTokens(text string) int64 {
	var sum int64
	for i := 0; i < len(text); {
		start := i
		switch c := text[i]; {
		case isLetter(c):
			for i < len(text) && isLetter(text[i]) {
				i++
			}
			sum += int64(i-start+6) / 7
		case isDigit(c):
			for i < len(text) && isDigit(text[i]) {
				i++
			}
			sum += int64(i-start+2) / 3
		case isSpace(c):
			for i < len(text) && isSpace(text[i]) {
				i++
			}
			if i-start > 1 || c != ' ' {
				sum++
			}
		case c < utf8.RuneSelf:
			for i < len(text) && isMark(text[i]) {
				i++
			}
			sum += int64(i-start+1) / 2
		default:
			_, size := utf8.DecodeRuneInString(text[i:])
			i += size
			sum++
		}
	}
	return sum
}

// mostTokens is more than byte-pair tokenizers make of text that people or
// programs write: two lower-case letters (or a space and one) to a token, and
// one for every other byte. That is 2.5 times what English prose costs.
// Letters strung together against it can cost half more than it says: only a
// token a byte would hold for them too, at four times the price of prose.
func mostTokens(text string) int64 {
	var sum, lower int64
	for i := range len(text) {
		c := text[i]
		switch {
		case c >= 'a' && c <= 'z':
			lower++
		case c == ' ' && i+1 < len(text) && isLetter(text[i+1]):
			sum += (lower + 1) / 2
			lower = 1
		default:
			sum += (lower+1)/2 + 1
			lower = 0
		}
	}
	return sum + (lower+1)/2
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isMark(c byte) bool {
	return c < utf8.RuneSelf && !isLetter(c) && !isDigit(c) && !isSpace(c)
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }
