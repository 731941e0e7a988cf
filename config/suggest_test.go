package config

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestSuggest(t *testing.T) {
	t.Parallel()
	known := []string{"tools", "timeout", "model", "max_tokens"}
	for _, tt := range []struct{ name, want string }{
		{"tols", `did you mean "tools"?`},
		{"TOOLS", `did you mean "tools"?`},
		{"otols", `did you mean "tools"?`},
		{"tokens", `did you mean "max_tokens"?`},
		{"x", "choose from max_tokens, model, timeout, tools"},
		{"", "choose from max_tokens, model, timeout, tools"},
		{strings.Repeat("tools", 100), "choose from max_tokens, model, timeout, tools"},
	} {
		equal(t, suggest(tt.name, known), tt.want)
	}
	equal(t, suggest("x", nil), "")
	equal(t, suggest("9", strings.Split("abcdefghijklmnopq", "")), "choose from a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, …")
}

func TestDistanceIsAMetricOfEdits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := rapid.StringMatching(`[a-c]{0,20}`).Draw(t, "a")
		at := rapid.IntRange(0, len(a)).Draw(t, "at")
		b := a[:at] + "x" + a[at:]
		if distance(a, a) != 0 || distance(a, b) != 1 || distance(b, a) != 1 {
			t.Errorf("%q and %q: %d and %d apart", a, b, distance(a, b), distance(b, a))
		}
		c := rapid.StringMatching(`[a-c]{0,20}`).Draw(t, "c")
		if d := distance(a, c); d != distance(c, a) || d > max(len(a), len(c)) || (d == 0) != (a == c) {
			t.Errorf("%q and %q: %d apart, %d back", a, c, d, distance(c, a))
		}
	})
}
