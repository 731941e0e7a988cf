package model

import (
	"slices"
	"strconv"
	"strings"
)

// wireNames translates tools' names into what providers take, and back: both
// OpenAI and Anthropic know letters, digits, `_` and `-` only, up to 64 of
// them. nil is for tools that all have such names.
type wireNames struct{ wires, names map[string]string }

const mostWireName = 64

// newWireNames gives each tool another name, the same for every request that
// has the same tools.
func newWireNames(tools []Tool) *wireNames {
	fits := func(t Tool) bool { return wireName(t.Name) == t.Name }
	if !slices.ContainsFunc(tools, func(t Tool) bool { return !fits(t) }) {
		return nil
	}
	w := &wireNames{wires: make(map[string]string), names: make(map[string]string)}
	for _, t := range tools {
		if fits(t) {
			w.wires[t.Name], w.names[t.Name] = t.Name, t.Name
		}
	}
	for _, t := range tools {
		if _, has := w.wires[t.Name]; has {
			continue
		}
		wire := wireName(t.Name)
		for n := 2; w.names[wire] != ""; n++ {
			suffix := "_" + strconv.Itoa(n)
			base := wireName(t.Name)
			wire = base[:min(len(base), mostWireName-len(suffix))] + suffix
		}
		w.wires[t.Name], w.names[wire] = wire, t.Name
	}
	return w
}

// wire is what a provider is told of the tool name, also of one that there is not.
func (w *wireNames) wire(name string) string {
	if w != nil && w.wires[name] != "" {
		return w.wires[name]
	}
	return wireName(name)
}

// ours is the name of the tool that a provider means.
func (w *wireNames) ours(wire string) string {
	if w != nil && w.names[wire] != "" {
		return w.names[wire]
	}
	return wire
}

// wireName puts `_` for what providers do not take in names and ids.
func wireName(name string) string {
	if name == "" {
		return "_"
	}
	fit := strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-':
			return c
		default:
			return '_'
		}
	}, name)
	return fit[:min(len(fit), mostWireName)]
}
