package liveview

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/meshtls-tap/meshtls-tap/internal/report"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// The columns of the table.
const (
	colVerdict = iota
	colFrom
	colTo
	colProtocol
	colBasis
	colCount
	colLast
	columns
)

type cells [columns]string

var headings = cells{"VERDICT", "FROM", "TO", "PROTOCOL", "BASIS", "CONNS", "LAST"}

// row is a line of the table: an edge, or the title of a group of edges.
type row struct {
	edge  *topology.Edge // nil: a title
	title string
	cells cells
}

// table is the edges that the filter leaves, fitted to a width.
type table struct {
	rows   []row
	widths [columns]int // 0: the column is left out
	edges  int          // number of edges in rows
}

// newTable returns the table of edges, the worst verdict first. Traffic to which no rule applies comes last, under titles.
func newTable(edges []topology.Edge, filter string, width int, now time.Time) *table {
	t := &table{}
	words := strings.Fields(strings.ToLower(filter))
	var groups [3][]row
	for i := range edges {
		e := &edges[i]
		k := &kinds[kindOf(e)]
		r := row{edge: e, cells: cells{
			k.shape + " " + k.label, name(&e.From), server(e), protocol(e), basis(e), strconv.FormatUint(connections(&e.Connections), 10), ago(now, e.Last),
		}}
		if !matches(&r, words) {
			continue
		}
		at := 0
		switch {
		case e.Scope == "pod":
			at = 2
		case !ofWire(e):
			at = 1
		}
		groups[at] = append(groups[at], r)
		t.edges++
	}
	for i, title := range [...]string{"", "Other traffic (DNS, probes and similar; no rule applies)", "Within the pod (never on the wire)"} {
		if len(groups[i]) == 0 {
			continue
		}
		slices.SortStableFunc(groups[i], compareRows)
		if title != "" {
			t.rows = append(t.rows, row{title: title})
		}
		t.rows = append(t.rows, groups[i]...)
	}
	t.fit(width)
	return t
}

func compareRows(a, b row) int {
	return cmp.Or(cmp.Compare(kindOf(a.edge), kindOf(b.edge)),
		strings.Compare(a.cells[colFrom], b.cells[colFrom]), strings.Compare(a.cells[colTo], b.cells[colTo]), cmp.Compare(a.edge.Port, b.edge.Port))
}

// matches reports whether each word is in a cell of a row, or is the row's verdict in the record ("mtls") or one of its rules.
func matches(r *row, words []string) bool {
	if len(words) == 0 {
		return true
	}
	all := strings.ToLower(strings.Join(r.cells[:], "\n") + "\n" + r.edge.Verdict + "\n" + strings.Join(r.edge.Findings, "\n"))
	for _, w := range words {
		if !strings.Contains(all, w) {
			return false
		}
	}
	return true
}

// headings returns the line above the rows.
func (t *table) headings() string {
	h := headings
	if t.widths[colVerdict] == 1 {
		h[colVerdict] = ""
	}
	return t.line(&h, nil)
}

// line returns the text of a row, without its marker. paint colors the verdict; nil leaves it as it is.
func (t *table) line(r *cells, paint func(string) string) string {
	var b strings.Builder
	for c, cell := range r {
		if t.widths[c] == 0 {
			continue
		}
		if c > 0 {
			b.WriteString(strings.Repeat(" ", gap))
		}
		pad := strings.Repeat(" ", max(0, t.widths[c]-utf8.RuneCountInString(cell)))
		switch {
		case c >= colCount:
			b.WriteString(pad + cell)
		case c == colVerdict && paint != nil:
			b.WriteString(paint(cell) + pad)
		default:
			b.WriteString(cell + pad)
		}
	}
	return b.String()
}

func basis(e *topology.Edge) string {
	if e.Basis == "none" || e.Basis == "" {
		return "-"
	}
	return report.CleanMessage(e.Basis)
}
