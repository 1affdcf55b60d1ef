package cbom

import (
	"fmt"
	"maps"
	"slices"
)

// add adds a component. If there is one with the same reference already, add adds the occurrences and dependencies to it.
func (b *builder) add(c component, of occurrences, depends []string) {
	all := b.occurrences[c.Ref]
	if all == nil {
		all = occurrences{}
		b.occurrences[c.Ref] = all
	}
	for edge, n := range of {
		all[edge] += n
	}
	if _, known := b.components[c.Ref]; !known {
		b.components[c.Ref] = c
	}
	depends = slices.Concat(b.dependencies[c.Ref], depends)
	slices.Sort(depends)
	b.dependencies[c.Ref] = slices.Compact(depends)
}

// evidence returns the edges of a component, in order. It counts no connections of algorithms, since a connection may use one
// more than once.
func (b *builder) evidence(c *component) *evidence {
	e := &evidence{}
	all := b.occurrences[c.Ref]
	for _, edge := range slices.Sorted(maps.Keys(all)) {
		o := occurrence{Location: edge}
		switch n := all[edge]; {
		case c.Crypto.Algorithm != nil:
		case n == 1:
			o.Context = "1 connection"
		default:
			o.Context = fmt.Sprintf("%d connections", n)
		}
		e.Occurrences = append(e.Occurrences, o)
	}
	return e
}
