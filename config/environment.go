package config

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// expanded is the text at v with each ${NAME} replaced by the environment's
// variable, and each $${ by a plain ${.
func (v value) expanded() (string, bool) {
	text := v.node.Value
	var s strings.Builder
	for right := true; ; {
		before, after, found := strings.Cut(text, "${")
		if !found {
			s.WriteString(text)
			return s.String(), right
		}
		if plain, escaped := strings.CutSuffix(before, "$"); escaped {
			s.WriteString(plain + "${")
			text = after
			continue
		}
		name, rest, closed := strings.Cut(after, "}")
		if !closed || !isVariable(name) {
			v.wrong(`has a "${" that does not begin a ${NAME}`, "write $${ for the characters themselves")
			return "", false
		}
		variable, ok := v.variable(name)
		right = right && ok
		s.WriteString(before + variable)
		text = rest
	}
}

// variable is the environment's variable, or a mistake.
func (v value) variable(name string) (string, bool) {
	variable, ok := v.in.env(name)
	if !ok {
		v.wrong("the environment has no variable "+name, "set it, or write $${ for the characters themselves")
		return "", false
	}
	if !utf8.ValidString(variable) {
		v.wrong(fmt.Sprintf("the environment's variable %s is not UTF-8 text", name), "")
		return "", false
	}
	return variable, true
}

func isVariable(name string) bool {
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		return false
	}
	return !strings.ContainsFunc(name, func(c rune) bool {
		return c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9')
	})
}
