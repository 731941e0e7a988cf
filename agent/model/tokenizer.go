package model

import (
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/tiktoken-go/tokenizer/codec"
)

// Tokenizer counts tokens as models do. Its first count loads the vocabulary,
// which stays: 7 MB of memory. The zero value is ready; it is safe for
// concurrent use.
type Tokenizer struct {
	load  sync.Once
	o200k *codec.Codec
}

// Input is what the model of a name makes of a request, about its framing.
// All but the offline model are counted by o200k_base: OpenAI's from gpt-4o on
// use it, and of what is published it is the nearest to others.
func (t *Tokenizer) Input(name string, req *Request) int64 {
	if name == OfflineName {
		return EstimateInput(req)
	}
	t.load.Do(func() { t.o200k = codec.NewO200kBase() })
	return requestTokens(req, t.count)
}

// mostAtOnce is how much text is split at once, in bytes: the time that takes
// may grow with the square of its length.
const mostAtOnce = 1 << 10

// count is exact but where more than mostAtOnce has no space to be cut at: there
// it can be a token or two high each time.
func (t *Tokenizer) count(text string) int64 {
	var sum int64
	for text != "" {
		piece := text[:cut(text, mostAtOnce)]
		text = text[len(piece):]
		n, err := t.o200k.Count(piece)
		if err != nil {
			sum += guessTokens(piece)
			continue
		}
		sum += int64(n)
	}
	return sum
}

// cut is where to cut text into at most so many bytes: before a space, else
// between characters.
func cut(text string, most int) int {
	if len(text) <= most {
		return len(text)
	}
	if at := strings.LastIndexByte(text[:most], ' '); at > 0 {
		return at
	}
	end := most
	for end > most-utf8.UTFMax && !utf8.RuneStart(text[end]) {
		end--
	}
	return end
}
