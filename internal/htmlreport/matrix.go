package htmlreport

import (
	"cmp"
	"maps"
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// matrix is the table of namespaces: a row for each one that has clients, a column for each one that has servers.
type matrix struct {
	Columns []string
	Rows    []matrixRow
	More    int  // namespaces that are left out, because there are too many
	Wide    bool // it is too wide for paper
}

type matrixRow struct {
	Name  string
	Cells []cell
}

// cell is all edges from one namespace to another one.
type cell struct {
	To      string
	Verdict verdict // the weakest
	Weakest int     // edges with that verdict
	Edges   int
}

// newMatrix returns the matrix of edges between workloads. If there are more than maxNamespaces namespaces, it has those with the weakest
// verdicts. edges are sorted, the weakest first.
func newMatrix(edges []topology.Edge) (m matrix) {
	type pair struct{ from, to string }
	cells := map[pair]cell{}
	rank := map[string]int{} // of namespaces: the order in which they appear
	for i := range edges {
		e := &edges[i]
		if kindOf(e) != between {
			continue
		}
		from, to := newWorkload(&e.From), newWorkload(&e.To)
		at := pair{from.group(), to.group()}
		for _, ns := range [...]string{at.from, at.to} {
			if _, known := rank[ns]; !known {
				rank[ns] = len(rank)
			}
		}
		c := cells[at]
		if c.Edges++; c.Edges == 1 {
			c.Verdict = newVerdict(e.Verdict)
		}
		if c.Verdict == newVerdict(e.Verdict) {
			c.Weakest++
		}
		cells[at] = c
	}
	names := slices.SortedFunc(maps.Keys(rank), func(a, b string) int { return cmp.Compare(rank[a], rank[b]) })
	if len(names) > maxNamespaces {
		m.More, names = len(names)-maxNamespaces, names[:maxNamespaces]
	}
	slices.SortFunc(names, func(a, b string) int {
		switch {
		case a == noNamespace:
			return 1
		case b == noNamespace:
			return -1
		}
		return cmp.Compare(a, b)
	})
	for _, ns := range names {
		if slices.ContainsFunc(names, func(from string) bool { return cells[pair{from, ns}].Edges > 0 }) {
			m.Columns = append(m.Columns, ns)
		}
	}
	m.Wide = len(m.Columns) > maxPrinted
	for _, from := range names {
		r := matrixRow{Name: from}
		some := false
		for _, to := range m.Columns {
			c := cells[pair{from, to}]
			c.To = to
			some = some || c.Edges > 0
			r.Cells = append(r.Cells, c)
		}
		if some {
			m.Rows = append(m.Rows, r)
		}
	}
	return m
}
