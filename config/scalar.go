package config

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/runwire/runwire/agent/model"
	"go.yaml.in/yaml/v3"
)

// The functions here make what reads one field. Each leaves its target alone,
// where the default stands, if the file says nothing or something wrong.

// text reads any text.
func text(into *string) func(value) {
	return func(v value) {
		if s, ok := v.text(); ok {
			*into = s
		}
	}
}

// text is what v says, with the environment's variables filled in.
func (v value) text() (string, bool) {
	if !v.is(yaml.ScalarNode, "text") {
		return "", false
	}
	if v.node.Tag != "!!str" {
		v.wrong("wants text", "write it in quotes")
		return "", false
	}
	return v.expanded()
}

// secret reads a text that may not be shown.
func secret(into *Secret) func(value) {
	return func(v value) {
		s, ok := v.text()
		s = strings.TrimSpace(s)
		switch {
		case !ok:
		case s == "":
			v.wrong("is empty", "leave it out if none is needed")
		case strings.ContainsFunc(s, notPrintedASCII):
			v.wrong("has a space, a line break or another character that no header can hold", "")
		default:
			*into = Secret(s)
		}
	}
}

func notPrintedASCII(c rune) bool { return c <= ' ' || c > '~' }

// identifier reads what this file may call something.
func identifier(into *string) func(value) {
	return func(v value) {
		s, ok := v.text()
		if ok && v.named(s) {
			*into = s
		}
	}
}

// named says whether s can be a name, and takes a mistake if not.
func (v value) named(s string) bool {
	if !ValidName(s) {
		v.lacks("a name is "+NameRule, "")
		return false
	}
	return true
}

// NameRule says in words what ValidName allows.
const NameRule = `1 to 64 letters, digits, "_", "." and "-", a letter or digit first`

// ValidName says whether an agent, a provider, a key or a tenant can be called so.
func ValidName(s string) bool {
	const longest = 64
	return s != "" && len(s) <= longest && !strings.ContainsFunc(s, notNameRune) && !strings.ContainsAny(s[:1], "_.-")
}

func isNameRune(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("_.-", c)
}

func notNameRune(c rune) bool { return !isNameRune(c) }

// number is what a field of numbers says: not in quotes, unless it comes from
// the environment.
func (v value) number(wants string) (string, bool) {
	if !v.is(yaml.ScalarNode, wants) {
		return "", false
	}
	const quoted = yaml.SingleQuotedStyle | yaml.DoubleQuotedStyle
	if v.node.Style&quoted != 0 && !strings.Contains(v.node.Value, "${") {
		v.wrong("wants "+wants+", not "+v.shown(), "leave out the quotes")
		return "", false
	}
	return v.expanded()
}

// whole reads a whole number from least to most.
func whole[T int | int64](into *T, least, most T) func(value) {
	return func(v value) {
		wants := fmt.Sprintf("a whole number such as %d", max(*into, least, 1))
		s, ok := v.number(wants)
		if !ok {
			return
		}
		n, err := strconv.ParseInt(strings.ReplaceAll(s, "_", ""), 10, 64)
		switch {
		case err != nil && !errors.Is(err, strconv.ErrRange):
			v.wrong("wants "+wants+", not "+v.shown(), "")
		case err != nil || n < int64(least) || n > int64(most):
			v.wrong(fmt.Sprintf("wants %d to %d, not %s", least, most, v.shown()), "")
		default:
			*into = T(n)
		}
	}
}

// share reads a number from 0 to 1.
func share(into *float64) func(value) {
	return func(v value) {
		const wants = "a number from 0 to 1"
		s, ok := v.number(wants)
		if !ok {
			return
		}
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || math.IsNaN(f) || f < 0 || f > 1 {
			v.wrong("wants "+wants+", not "+v.shown(), "")
			return
		}
		*into = f
	}
}

// dollars reads an exact amount of US dollars from least to most.
func dollars(into *model.Money, least, most model.Money) func(value) {
	return func(v value) {
		const wants = "US dollars such as 0.50"
		s, ok := v.number(wants)
		if !ok {
			return
		}
		amount, err := model.ParseUSD(s)
		if err != nil || amount < least || amount > most {
			bounds := "0 to"
			if least > 0 {
				bounds = "more than 0, up to"
			}
			v.wrong(fmt.Sprintf("wants %s, %s %d, not %s", wants, bounds, most/model.Dollar, v.shown()), "")
			return
		}
		*into = amount
	}
}

// duration reads a time from least to most.
func duration(into *time.Duration, least, most time.Duration) func(value) {
	return func(v value) {
		wants := "a duration such as " + shortest(max(*into, least, time.Second))
		if !v.is(yaml.ScalarNode, wants) {
			return
		}
		s, ok := v.expanded()
		if !ok {
			return
		}
		d, err := time.ParseDuration(s)
		switch {
		case err != nil && s == v.node.Value && isSeconds(s):
			v.wrong("wants "+wants, fmt.Sprintf("did you mean %ss?", s))
		case err != nil:
			v.wrong("wants "+wants+", not "+v.shown(), "")
		case d < least || d > most:
			v.wrong(fmt.Sprintf("wants %s to %s, not %s", shortest(least), shortest(most), v.shown()), "")
		default:
			*into = d
		}
	}
}

// isSeconds says whether s lacks only its unit.
func isSeconds(s string) bool {
	d, err := time.ParseDuration(s + "s")
	return err == nil && d > 0
}

// shortest writes d without the units that are zero.
func shortest(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
