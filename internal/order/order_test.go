package order

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestStable: the result is that of slices.SortStableFunc.
func TestStable(t *testing.T) {
	type element struct{ key, number int }
	byKey := func(a, b element) int { return cmp.Compare(a.key, b.key) }
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same elements in each run
	for n := range 200 {
		got := make([]element, n)
		for i := range got {
			got[i] = element{random.IntN(1 + n/3), i}
		}
		want := slices.Clone(got)
		slices.SortStableFunc(want, byKey)
		Stable(got, byKey)
		if !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	}
}
