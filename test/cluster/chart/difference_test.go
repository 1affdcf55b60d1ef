package chart_test

import (
	"fmt"
	"slices"
	"strings"
)

func sorted(lines []string) []string {
	slices.Sort(lines)
	return lines
}

// difference returns the first lines in which two texts differ, and the line before them.
func difference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	i := 0
	for i < len(w) && i < len(g) && w[i] == g[i] {
		i++
	}
	show := func(mark string, lines []string) string {
		var b strings.Builder
		for _, l := range lines[min(i, len(lines)):min(i+6, len(lines))] {
			fmt.Fprintf(&b, "%s %s\n", mark, l)
		}
		return b.String()
	}
	return fmt.Sprintf("from line %d on, after %q\n%s%s", i+1, w[max(i-1, 0)], show("-", w), show("+", g))
}
