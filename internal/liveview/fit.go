package liveview

import (
	"strings"
	"unicode/utf8"

	"github.com/meshtls-tap/meshtls-tap/internal/report"
)

// The widths of a table, in columns of the terminal.
const (
	marker    = 2  // before a row
	gap       = 2  // between cells
	leastName = 24 // a name is not made shorter while another column can be left out
	shortName = 10 // a name is not made shorter while verdicts have more than their shape
)

// fit shortens cells until a row fits into width. Names are shortened last: first cipher suites, the suffix of service names within a
// cluster and protocols, then whole columns are left out, then the words of verdicts.
func (t *table) fit(width int) {
	t.measure()
	for _, step := range [...]func(*row){
		func(r *row) { r.cells[colProtocol], _, _ = strings.Cut(r.cells[colProtocol], " TLS_") },
		func(r *row) {
			for _, c := range [...]int{colFrom, colTo} {
				r.cells[c] = strings.Replace(r.cells[c], ".svc.cluster.local", "", 1)
			}
		},
		func(r *row) { r.cells[colProtocol] = report.Shorten(r.cells[colProtocol], len("TLS 1.3")+1, 0) },
	} {
		if t.excess(width) <= 0 {
			return
		}
		for i := range t.rows {
			step(&t.rows[i])
		}
		t.measure()
	}
	for _, c := range [...]int{colBasis, colLast, colProtocol, colCount} {
		longer := max(0, t.widths[colFrom]-leastName) + max(0, t.widths[colTo]-leastName)
		if t.excess(width)-longer <= 0 {
			break
		}
		t.widths[c] = 0
	}
	if t.excess(width)-max(0, t.widths[colFrom]-shortName)-max(0, t.widths[colTo]-shortName) > 0 {
		t.widths[colVerdict] = 1
		for i := range t.rows {
			r := &t.rows[i]
			_, size := utf8.DecodeRuneInString(r.cells[colVerdict])
			r.cells[colVerdict] = r.cells[colVerdict][:size]
		}
	}
	t.shortenNames(width)
}

func (t *table) measure() {
	for c, h := range headings {
		t.widths[c] = utf8.RuneCountInString(h)
	}
	for i := range t.rows {
		if t.rows[i].edge == nil {
			continue
		}
		for c, cell := range t.rows[i].cells {
			t.widths[c] = max(t.widths[c], utf8.RuneCountInString(cell))
		}
	}
}

// excess returns by how many columns a row is wider than width.
func (t *table) excess(width int) int {
	total := marker - gap
	for _, w := range t.widths {
		if w > 0 {
			total += gap + w
		}
	}
	return total - width
}

// shortenNames removes the middle of names, so that both ends have about the same room.
func (t *table) shortenNames(width int) {
	over := t.excess(width)
	if over <= 0 {
		return
	}
	from, to := t.widths[colFrom], t.widths[colTo]
	room := max(2*len("FROM"), from+to-over)
	t.widths[colFrom] = min(from, max(room/2, room-to))
	t.widths[colTo] = min(to, room-t.widths[colFrom])
	for i := range t.rows {
		for _, c := range [...]int{colFrom, colTo} {
			t.rows[i].cells[c] = report.Shorten(t.rows[i].cells[c], t.widths[c], (t.widths[c]-1)/2)
		}
	}
}
