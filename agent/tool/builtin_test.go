package tool

import (
	"slices"
	"testing"
)

func TestBuiltins(t *testing.T) {
	t.Parallel()
	names := BuiltinNames()
	if !slices.IsSorted(names) {
		t.Errorf("%q are not sorted", names)
	}
	for _, name := range names {
		made, ok := Builtin(name)
		if !ok || made.Definition().Name != name || made.Definition().Description == "" {
			t.Errorf("there is no proper tool %q", name)
		}
	}
	if _, ok := Builtin("no such tool"); ok {
		t.Error("there is a tool that nobody made")
	}
}

func BenchmarkBuiltin(b *testing.B) {
	for b.Loop() {
		Builtin("calculator")
	}
}
