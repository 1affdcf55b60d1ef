package order

import "sort"

// Stable sorts s like [slices.SortStableFunc]: elements that compare returns 0 for keep their order. compare must be a strict weak ordering.
func Stable[E any](s []E, compare func(a, b E) int) {
	sort.Stable(&list[E]{s, compare})
}

type list[E any] struct {
	s       []E
	compare func(a, b E) int
}

func (l *list[E]) Len() int           { return len(l.s) }
func (l *list[E]) Less(i, j int) bool { return l.compare(l.s[i], l.s[j]) < 0 }
func (l *list[E]) Swap(i, j int)      { l.s[i], l.s[j] = l.s[j], l.s[i] }
