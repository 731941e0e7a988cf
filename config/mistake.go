package config

import (
	"fmt"
	"strings"
)

// Mistake is one thing that is wrong in a file. It never quotes a secret.
type Mistake struct {
	// File is the name that was given to Load or Parse.
	File string
	// Line counts from 1; 0 is the file as a whole.
	Line int
	// Column counts characters from 1; 0 is the line as a whole.
	Column int
	// Path is where in the tree, such as `agents.default.tools[1]`; empty at the root.
	Path string
	// Problem says what is wrong.
	Problem string
	// Suggestion says what would be right; may be empty.
	Suggestion string
}

// String is the mistake in a line, as compilers write theirs.
func (m Mistake) String() string {
	var s strings.Builder
	s.WriteString(m.File)
	if m.Line > 0 {
		fmt.Fprintf(&s, ":%d", m.Line)
	}
	if m.Column > 0 {
		fmt.Fprintf(&s, ":%d", m.Column)
	}
	if m.Path != "" {
		s.WriteString(": " + m.Path)
	}
	s.WriteString(": " + m.Problem)
	if m.Suggestion != "" {
		s.WriteString("; " + m.Suggestion)
	}
	return s.String()
}

// Mistakes is every mistake of a file, in the order of its lines: the error of
// Load, Parse and Default.
type Mistakes []Mistake //nolint:errname // it is a list of them, and reads as one

// Error is a line for each mistake.
func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i := range m {
		lines[i] = m[i].String()
	}
	return strings.Join(lines, "\n")
}
