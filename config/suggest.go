package config

import (
	"fmt"
	"slices"
	"strings"
)

// suggest is what a wrong name may have meant, or else what there is to choose
// from; empty if there is nothing.
func suggest(name string, known []string) string {
	const farthest, compared, listed, telling = 3, 1_000, 16, 4
	known = slices.Compact(slices.Sorted(slices.Values(known)))
	best, least := "", min(farthest, len(name)/2+1)
	for _, candidate := range known[:min(len(known), compared)] {
		if strings.EqualFold(candidate, name) {
			return fmt.Sprintf("did you mean %q?", candidate)
		}
		if d := distance(name, candidate); d < least {
			best, least = candidate, d
		}
	}
	if part := slices.IndexFunc(known, func(k string) bool { return strings.Contains(k, name) }); best == "" && part >= 0 && len(name) >= telling {
		best = known[part]
	}
	switch {
	case best != "":
		return fmt.Sprintf("did you mean %q?", best)
	case len(known) == 0:
		return ""
	case len(known) > listed:
		return "choose from " + strings.Join(known[:listed], ", ") + ", …"
	}
	return "choose from " + strings.Join(known, ", ")
}

// distance is how many letters must be put in, left out, replaced or swapped
// with their neighbour to make b of a. Long texts are just far apart.
func distance(a, b string) int {
	const longest = 64
	if len(a) > longest || len(b) > longest {
		return longest
	}
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			changed := 1
			if a[i] == b[j] {
				changed = 0
			}
			row[j+1] = min(above[j]+changed, above[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(b)]
}
