package config

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// document parses data to the value of its one document. Where it cannot, it
// takes the mistake and returns false.
func (r *reader) document(data []byte) (value, bool) {
	if !r.readable(data) {
		return value{}, false
	}
	source := bytes.NewReader(data)
	decoder := yaml.NewDecoder(source)
	var doc, second yaml.Node
	if err := decoder.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		r.add(r.syntax(err, data, len(data)-source.Len()))
		return value{}, false
	}
	if len(doc.Content) == 0 || isNull(doc.Content[0]) {
		r.add(Mistake{File: r.file, Problem: "the file is empty"})
		return value{}, false
	}
	switch err := decoder.Decode(&second); {
	case err == nil:
		r.add(Mistake{File: r.file, Line: second.Line, Column: second.Column, Problem: "a second document begins", Suggestion: "a file holds one"})
	case !errors.Is(err, io.EOF):
		r.add(r.syntax(err, data, len(data)-source.Len()))
	}
	return value{in: r, node: doc.Content[0]}, true
}

// readable takes a mistake for data that is not text of a sensible size.
func (r *reader) readable(data []byte) bool {
	if len(data) > maxSize {
		r.add(Mistake{File: r.file, Problem: "the file is larger than 1 MiB"})
		return false
	}
	at := unreadable(data)
	if at < 0 {
		return true
	}
	before := data[:at]
	lineStart := bytes.LastIndexByte(before, '\n') + 1
	mistake := Mistake{
		File:    r.file,
		Line:    bytes.Count(before, []byte{'\n'}) + 1,
		Column:  utf8.RuneCount(before[lineStart:]) + 1,
		Problem: "a control character",
	}
	if c, size := utf8.DecodeRune(data[at:]); c == utf8.RuneError && size == 1 {
		mistake.Problem, mistake.Suggestion = "not UTF-8 text", "save the file as UTF-8"
	}
	r.add(mistake)
	return false
}

// unreadable is the index of the first byte that is not UTF-8, or begins a
// control character that YAML does not allow; -1 if there is none.
func unreadable(data []byte) int {
	for i := 0; i < len(data); {
		c, size := utf8.DecodeRune(data[i:])
		if c == utf8.RuneError && size == 1 {
			return i
		}
		const nextLine = '\u0085'
		if unicode.IsControl(c) && !strings.ContainsRune("\t\n\r", c) && c != nextLine {
			return i
		}
		i += size
	}
	return -1
}

// syntax makes a mistake of the parser's error, for which it had taken that
// many bytes of data.
func (r *reader) syntax(err error, data []byte, taken int) Mistake {
	line, problem := blamed(err, data, taken)
	mistake := Mistake{File: r.file, Line: line, Problem: "not YAML: " + problem}
	text := nthLine(data, line)
	indent := text[:len(text)-len(bytes.TrimLeft(text, " \t"))]
	tab := bytes.IndexByte(indent, '\t')
	switch {
	case tab >= 0:
		mistake.Column, mistake.Problem, mistake.Suggestion = tab+1, "a tab in the indentation", "use spaces"
	case strings.HasPrefix(problem, "unknown anchor"):
		mistake.Problem, mistake.Suggestion = "an alias to an anchor that is not there", `quote text that begins with "*"`
	case bytes.Contains(text, []byte("${")):
		mistake.Suggestion = `quote it: "${NAME}"`
	case strings.Contains(problem, "mapping values are not allowed"):
		mistake.Suggestion = `quote text that holds ": "`
	case strings.Contains(problem, "cannot start any token"):
		mistake.Suggestion = "quote text that begins with a special character"
	case strings.Contains(problem, "could not find expected ':'"):
		mistake.Suggestion = `write "key: value", with a space after the colon`
	}
	return mistake
}

// blamed is the line that the parser's error is about, and the error without it.
func blamed(err error, data []byte, taken int) (line int, problem string) {
	problem = strings.TrimPrefix(err.Error(), "yaml: ")
	line = 1
	after, told := strings.CutPrefix(problem, "line ")
	if told {
		number, rest, _ := strings.Cut(after, ": ")
		if n, err := strconv.Atoi(number); err == nil {
			line, problem = n, rest
		}
	}
	switch {
	case strings.Contains(problem, "did not find expected"):
		// The parser tells where the list or mapping began, not where it broke.
		return reached(data, taken), problem
	case told, strings.Contains(problem, "unexpected end of stream"), strings.Contains(problem, "could not find expected ':'"):
		// Here the beginning is what one looks for. The parser leaves out line 1.
		return line, problem
	}
	return reached(data, taken), problem
}

// nthLine is the line with that number, from 1, without its end.
func nthLine(data []byte, number int) []byte {
	for range number - 1 {
		_, data, _ = bytes.Cut(data, []byte{'\n'})
	}
	line, _, _ := bytes.Cut(data, []byte{'\n'})
	return line
}

// reached is the number of the line where the parser gives data up, having
// taken that many bytes of it. It takes more at once than it needs, so it is
// made to try again with the last ones one by one.
func reached(data []byte, taken int) int {
	const documents, atOnce = 2, 4 << 10
	source := &slowReader{data: data, slow: taken - atOnce}
	decoder := yaml.NewDecoder(source)
	for range documents {
		var doc yaml.Node
		if err := decoder.Decode(&doc); err != nil {
			break
		}
	}
	needed := bytes.TrimRight(data[:source.next], " \t\r\n")
	return bytes.Count(needed, []byte{'\n'}) + 1
}

// slowReader hands out one byte at a time once it has come to slow.
type slowReader struct {
	data       []byte
	next, slow int
}

// Read reads at least a byte.
func (s *slowReader) Read(p []byte) (int, error) {
	if s.next == len(s.data) {
		return 0, io.EOF
	}
	n := copy(p, s.data[s.next:max(s.slow, s.next+1)])
	s.next += n
	return n, nil
}
