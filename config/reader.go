package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxValues bounds how many values are looked at, each as often as an alias
// repeats it: a small file can spell out an endless one.
const maxValues = 100_000

// maxMistakes bounds what is listed, so that a file of the wrong kind does not
// fill the terminal.
const maxMistakes = 100

// reader is one reading of one file.
type reader struct {
	file     string
	env      func(string) (string, bool)
	known    Known
	servers  []string // the names of the file's MCP servers
	agents   []string // the names of its agents
	mistakes Mistakes
	values   int
}

// spent says that there is no use in reading on.
func (r *reader) spent() bool { return r.values > maxValues || r.full() }

// add takes a mistake, unless there are too many.
func (r *reader) add(mistake Mistake) {
	if !r.full() {
		r.mistakes = append(r.mistakes, mistake)
	}
}

func (r *reader) full() bool { return len(r.mistakes) > maxMistakes }

// verdict is all mistakes as an error, in order; nil if there is none.
func (r *reader) verdict() error {
	if len(r.mistakes) == 0 {
		return nil
	}
	slices.SortStableFunc(r.mistakes, func(a, b Mistake) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if r.full() {
		r.mistakes[maxMistakes] = Mistake{
			File:    r.file,
			Problem: fmt.Sprintf("more than %d mistakes; the others are not listed", maxMistakes),
		}
	}
	return r.mistakes
}

// value is a place in the file and what stands there. The zero value is a
// place that the file does not mention: it reads as nothing.
type value struct {
	in   *reader
	node *yaml.Node
	// key names the value in its mapping; nil in a list and at the root.
	key  *yaml.Node
	path string
}

// child is what stands below v, an alias followed to what it stands for.
func (v value) child(node, key *yaml.Node, path string) value {
	if node.Kind == yaml.AliasNode {
		node = node.Alias
	}
	child := value{in: v.in, node: node, key: key, path: path}
	if v.in.values == maxValues {
		child.wrong(fmt.Sprintf("more than %d values, aliases written out", maxValues), "")
	}
	v.in.values++
	return child
}

// wrong takes a mistake in what stands at v.
func (v value) wrong(problem, suggestion string) { v.mistake(v.node, problem, suggestion) }

// lacks takes a mistake in what does not stand at v, where its name is.
func (v value) lacks(problem, suggestion string) {
	if v.key != nil {
		v.mistake(v.key, problem, suggestion)
		return
	}
	v.mistake(v.node, problem, suggestion)
}

func (v value) mistake(at *yaml.Node, problem, suggestion string) {
	if v.in.spent() {
		return // what was not read is not missing
	}
	v.in.add(Mistake{
		File: v.in.file, Line: at.Line, Column: at.Column,
		Path: v.path, Problem: problem, Suggestion: suggestion,
	})
}

// given says whether the file has anything at v: `key:` alone is nothing.
func (v value) given() bool { return v.node != nil && !isNull(v.node) }

func isNull(node *yaml.Node) bool { return node.Kind == yaml.ScalarNode && node.Tag == "!!null" }

// is says whether v is of that kind, and takes a mistake if it is of another.
func (v value) is(kind yaml.Kind, wants string) bool {
	switch {
	case !v.given():
		return false
	case v.node.Style&yaml.TaggedStyle != 0:
		v.wrong("has a tag such as !!str", "leave it out")
		return false
	case v.node.Kind != kind:
		v.wrong("wants "+wants+", not "+v.kind(), "")
		return false
	}
	return true
}

func (v value) kind() string {
	kinds := map[yaml.Kind]string{yaml.MappingNode: "keys with values", yaml.SequenceNode: "a list"}
	if kind, ok := kinds[v.node.Kind]; ok {
		return kind
	}
	return "a single value"
}

// shown is the scalar v as the file writes it, cut short: for numbers and
// times, never for what may be a secret.
func (v value) shown() string {
	if v.node.Tag == "!!str" {
		return strconv.Quote(short(v.node.Value))
	}
	return short(v.node.Value)
}

// quoted is a part of the text at v, as it may be shown: what comes from the
// environment may not.
func (v value) quoted(part string) string {
	if strings.Contains(v.node.Value, "${") {
		part = v.node.Value
	}
	return strconv.Quote(short(part))
}

// short is the beginning of s.
func short(s string) string {
	const longest = 40
	if text := []rune(s); len(text) > longest {
		return string(text[:longest]) + "…"
	}
	return s
}

// entries calls each with every key of the mapping v and what stands there.
// It returns false if v is no mapping.
func (v value) entries(each func(name string, entry value)) bool {
	if !v.is(yaml.MappingNode, "keys with values") {
		return false
	}
	first := make(map[string]int)
	for i := 0; i+1 < len(v.node.Content) && !v.in.spent(); i += 2 {
		key := v.child(v.node.Content[i], nil, v.path)
		name := key.node.Value
		entry := key.child(v.node.Content[i+1], v.node.Content[i], join(v.path, name))
		switch line, twice := first[name]; {
		case key.node.Kind != yaml.ScalarNode:
			key.wrong("a key wants to be text, not "+key.kind(), "")
		case key.node.Tag == "!!merge":
			key.wrong("merge keys (<<) are not supported", "write the keys out, or use an alias for a whole value")
		case twice:
			entry.lacks(fmt.Sprintf("given twice, first in line %d", line), "keep one")
		default:
			first[name] = key.node.Line
			each(name, entry)
		}
	}
	return true
}

// join appends a key to a path, so that it can be told from the path.
func join(path, name string) string {
	odd := func(c rune) bool { return notNameRune(c) && c != '/' && c != ':' }
	if name == "" || strings.ContainsFunc(name, odd) {
		return path + "[" + strconv.Quote(short(name)) + "]"
	}
	const longest = 128
	name = name[:min(len(name), longest)]
	if path == "" {
		return name
	}
	return path + "." + name
}

// fields are the keys that an object may have, and what reads each.
type fields map[string]func(value)

// object reads a mapping whose keys are known. It returns false if v is none.
func (v value) object(known fields) bool {
	return v.entries(func(name string, entry value) {
		if read, ok := known[name]; ok {
			read(entry)
			return
		}
		v.unknown(name, entry.key, known)
	})
}

// unknown takes the mistake of a key that means nothing. What looks like a key
// and its value run together is cut off, for the value may be a secret.
func (v value) unknown(name string, key *yaml.Node, known fields) {
	names := make([]string, 0, len(known))
	for other := range known {
		names = append(names, other)
	}
	const longest, kept = 32, 8
	word := name[:len(name)-len(strings.TrimLeftFunc(name, isNameRune))]
	suggestion := suggest(word, names)
	if _, ok := known[word]; ok && strings.HasPrefix(name[len(word):], ":") {
		suggestion = fmt.Sprintf("write a space after %q", word+":")
	}
	if len(word) > longest {
		word = word[:kept]
	}
	if word != name {
		word += "…"
	}
	at := v
	at.path = strings.TrimPrefix(v.path+"."+word, ".")
	at.mistake(key, "unknown key", suggestion)
}

// list calls each with every item of the list v. It returns false if v is no list.
func (v value) list(wants string, each func(item value)) bool {
	if !v.is(yaml.SequenceNode, wants) {
		return false
	}
	for i, node := range v.node.Content {
		if v.in.spent() {
			break
		}
		item := v.child(node, nil, v.path+"["+strconv.Itoa(i)+"]")
		if !item.given() {
			item.wrong("the item is empty", "")
			continue
		}
		each(item)
	}
	return true
}

// keep leaves a value for later, when what it refers to is known.
func keep(into *value) func(value) {
	return func(v value) { *into = v }
}
