package report

import (
	"strings"
	"unicode/utf8"
)

// fit shortens cells until the rows fit into width, in this order: cipher suites, headings, the suffix of service names within a cluster,
// protocols, the ways in which handshakes failed, the column of the basis, and only then the ends. It stops when the rows fit, or when
// nothing can be shortened.
func fit(rows [][columns]string, width int) {
	for _, step := range [...]func(rows [][columns]string, over int){
		shortenCiphers, shortenHeadings, cutClusterSuffix, shortenProtocols, cutOutcome, cutBasis,
		func(rows [][columns]string, over int) { shortenEnds(rows, colTo, over) },
		func(rows [][columns]string, over int) { shortenEnds(rows, colFrom, over) },
	} {
		over := excess(rows, width)
		if over <= 0 {
			return
		}
		step(rows, over)
	}
}

// excess returns by how many columns the rows are wider than width.
func excess(rows [][columns]string, width int) int {
	total := indent - between
	for _, n := range measure(rows) {
		if n > 0 {
			total += between + n
		}
	}
	return total - width
}

// shortenCiphers removes the middle of names of cipher suites, or the whole names if fewer than 8 characters would be left.
func shortenCiphers(rows [][columns]string, over int) {
	room := measure(rows)[colWhat] - over
	for i, r := range rows {
		cell := r[colWhat]
		at := strings.Index(cell, " TLS_")
		switch {
		case at < 0 || utf8.RuneCountInString(cell) <= room:
		case room < at+len(" ")+8:
			rows[i][colWhat] = cell[:at]
		default:
			rows[i][colWhat] = cell[:at+1] + shorten(cell[at+1:], room-at-1, 0)
		}
	}
}

// shortHeadings are shorter forms of headings.
var shortHeadings = map[string]string{"CONNECTIONS": "CONNS", "HOW SURE": "BASIS"}

func shortenHeadings(rows [][columns]string, _ int) {
	for c, heading := range rows[0] {
		if short := shortHeadings[heading]; short != "" {
			rows[0][c] = short
		}
	}
}

// cutClusterSuffix removes the suffix that all services of a Kubernetes cluster have by default.
func cutClusterSuffix(rows [][columns]string, _ int) {
	for i := range rows {
		for _, c := range [...]int{colFrom, colTo} {
			rows[i][c] = strings.Replace(rows[i][c], ".svc.cluster.local", "", 1)
		}
	}
}

const leastProtocol = len("TLS 1.3") + 1

// shortenProtocols removes the middle of protocols. The end, which has the version of TLS, matters more.
func shortenProtocols(rows [][columns]string, over int) {
	room := max(leastProtocol, measure(rows)[colWhat]-over)
	for i := range rows {
		rows[i][colWhat] = shorten(rows[i][colWhat], room, max(0, room-leastProtocol))
	}
}

// cutOutcome removes how a handshake failed, which "Why" says too.
func cutOutcome(rows [][columns]string, _ int) {
	for i := range rows {
		if strings.HasPrefix(rows[i][colVerdict], "failed, ") {
			rows[i][colVerdict] = "failed"
		}
	}
}

// cutBasis removes the column of the basis of verdicts. The rows of a comparison have no such column, and keep all.
func cutBasis(rows [][columns]string, _ int) {
	if h := rows[0][colHow]; h != header[colHow] && h != shortHeadings[header[colHow]] {
		return
	}
	for i := range rows {
		rows[i][colHow] = ""
	}
}

// leastEnd is the least width of an end, in columns.
const leastEnd = 12

// shortenEnds removes the middle of the ends in column c.
func shortenEnds(rows [][columns]string, c, over int) {
	room := max(leastEnd, len(rows[0][c]), measure(rows)[c]-over)
	for i := range rows {
		rows[i][c] = shorten(rows[i][c], room, (room-1)/2)
	}
}

// shorten removes the middle of s, because both ends of a name matter. It keeps the first
// head characters.
func shorten(s string, width, head int) string {
	r := []rune(s)
	if len(r) <= width {
		return s
	}
	return string(r[:head]) + "…" + string(r[len(r)-(width-1-head):])
}
