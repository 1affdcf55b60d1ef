package report

import (
	"fmt"
	"iter"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

// The columns of the table.
const (
	colVerdict = iota
	colFrom
	colTo
	colWhat
	colHow
	colCount
	columns
)

var header = [columns]string{"VERDICT", "FROM", "TO", "PROTOCOL", "HOW SURE", "CONNECTIONS"}

const (
	indent  = 2
	between = 2
)

// table writes the edges of a group, a row for each verdict.
func (t *text) table(g group) {
	if len(g.edges) == 0 {
		return
	}

	build := func(addressed bool) [][columns]string {
		rows := [][columns]string{header}
		for i := range g.edges {
			rows = append(rows, rowsOf(&g.edges[i], addressed)...)
		}
		return rows
	}
	rows, addressed := build(true), true
	if t.Width > 0 {
		shortenCiphers(rows, excess(rows, t.Width))
		shortenHeadings(rows, 0)
		if excess(rows, t.Width) > 0 { // the addresses follow the table
			addressed = false
		}
		rows = build(addressed)
	}

	if g.title != "" {
		t.heading(g.title)
	} else {
		t.buf.WriteByte('\n')
	}

	t.rows(rows, t.row)
	t.notes(g.edges, addressed)
}

// rows writes a head and the rows after it, with one call of write for each. It shortens cells to fit the width of the terminal.
func (t *text) rows(rows [][columns]string, write func(cells [columns]string, widths [columns]int, head bool)) {
	if t.Width > 0 {
		fit(rows, t.Width)
	}
	widths := measure(rows)
	for i, r := range rows {
		write(r, widths, i == 0)
	}
}

// row writes one row. The column of counts is aligned right.
func (t *text) row(r [columns]string, widths [columns]int, head bool) {
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", indent))
	for c, cell := range r {
		if widths[c] == 0 {
			continue
		}
		pad := strings.Repeat(" ", widths[c]-utf8.RuneCountInString(cell))
		switch {
		case head && c == colCount:
			b.WriteString(pad + t.paint(Dim, cell))
		case head:
			b.WriteString(t.paint(Dim, cell) + pad)
		case c == colVerdict:
			b.WriteString(t.verdict(cell) + pad)
		case c == colCount:
			b.WriteString(pad + cell)
		default:
			b.WriteString(cell + pad)
		}
		if c < columns-1 {
			b.WriteString(strings.Repeat(" ", between))
		}
	}

	t.buf.WriteString(strings.TrimRight(b.String(), " ") + "\n")
}

// rowsOf returns the rows of an edge, the worst verdict first. Only the first row has the ends. If addressed is set, a name that only the
// client claimed has the addresses after it.
func rowsOf(e *finding.Edge, addressed bool) [][columns]string {
	var rows [][columns]string
	for i := range e.Seen {
		s := &e.Seen[i]
		r := [columns]string{colVerdict: verdictWord(s), colWhat: clean(protocolOf(s)), colHow: clean(basisOf(s)), colCount: strconv.FormatUint(s.Connections, 10)}
		if i == 0 {
			r[colFrom], r[colTo] = clean(e.From), clean(serverOf(e))
			if e.Folded {
				r[colFrom] = clean(folded(e))
			}
			if list := claimed(e); len(list) > 0 {
				r[colTo] += claimMark
				if addressed {
					r[colTo] += " " + strings.Join(list, " ")
				}
			}
		}
		rows = append(rows, r)
	}
	return rows
}

// serverOf returns the server with its port.
func serverOf(e *finding.Edge) string {
	switch {
	case e.Folded:
		return ""
	case strings.Count(e.To, ":") > 1 && !strings.Contains(e.To, "//"):
		return "[" + e.To + "]:" + strconv.Itoa(int(e.Port))
	}
	return e.To + ":" + strconv.Itoa(int(e.Port))
}

// folded returns the words for an aggregate edge.
func folded(e *finding.Edge) string {
	switch e.Key {
	case "internal pod":
		return "all within the pod"
	case "dns":
		return "all DNS"
	case "probe":
		return "all probes"
	}
	return "all others (too many edges)"
}

// verdictWord returns the words for a verdict in a row. For TLS the words include whether the TLS was
// shown not to be mutual, for a failed handshake how it ended.
func verdictWord(s *finding.Seen) string {
	label := verdictLabel(s.Verdict)
	if s.Last == nil || s.Last.TLS == nil {
		return label
	}
	switch t := s.Last.TLS; {
	case s.Verdict == "tls" && t.ClientAuth == "not_requested":
		return "TLS one-way"
	case s.Verdict == "tls" && t.ClientAuth == "declined":
		return "TLS declined"
	case s.Verdict == "failed" && t.Outcome != "":
		return label + ", " + clean(t.Outcome)
	}
	return label
}

// protocolOf returns the protocol. For TLS it adds the version and the cipher suite.
func protocolOf(s *finding.Seen) string {
	j := s.Last
	if j == nil {
		return ""
	}

	if j.TLS == nil {
		name := finding.ProtocolName(j.Protocol)
		if j.HTTP != nil && j.Protocol == "http" && j.HTTP.Version != "" {
			name += "/" + j.HTTP.Version
		}
		return name
	}

	name := "TLS"
	switch {
	case j.Protocol == "quic":
		name = "QUIC, TLS"
	case j.TLS.VersionProtocol == "ssl":
		name = "SSL"
	case j.TLS.UpgradedFrom != "":
		name = finding.ProtocolName(j.TLS.UpgradedFrom) + ", then TLS"
	}
	return strings.TrimSpace(strings.Join([]string{name, j.TLS.Version, j.TLS.Cipher}, " "))
}

// basisOf returns the words for the basis of the verdict, "-" if it has none.
func basisOf(s *finding.Seen) string {
	j := s.Last
	switch {
	case j == nil:
		return "-"
	case s.Verdict == "plaintext" || s.Verdict == "encrypted":
		return "observed"
	case s.Verdict != "mtls" && s.Verdict != "tls" || authUnknown(s):
		return "-"
	}
	return j.TLS.ClientAuthBasis
}

// authUnknown reports whether it is not known if the client of a TLS connection authenticated.
func authUnknown(s *finding.Seen) bool {
	return s.Last == nil || s.Last.TLS == nil || s.Last.TLS.ClientAuth == "unknown" || s.Last.TLS.ClientAuth == ""
}

func measure(rows [][columns]string) (widths [columns]int) {
	for _, r := range rows {
		for c, cell := range r {
			widths[c] = max(widths[c], utf8.RuneCountInString(cell))
		}
	}
	return widths
}

// wrap writes head and words in lines of at most Width columns. Further lines are indented to the first
// word. The indentation is less if head is wide.
func (t *text) wrap(head, words string) {
	t.buf.WriteString(head)
	at := visible(head)
	left := at
	if t.Width > 0 && left > t.Width/2 {
		left = 2 * indent
	}

	first := true
	for word := range strings.FieldsSeq(words) {
		n := utf8.RuneCountInString(word)
		switch {
		case first:
		case t.Width > 0 && at+1+n > t.Width:
			t.buf.WriteString("\n" + strings.Repeat(" ", left))
			at = left
		default:
			t.buf.WriteByte(' ')
			at++
		}
		t.buf.WriteString(word)
		at += n
		first = false
	}

	t.buf.WriteByte('\n')
}

// columnsOf returns the characters of s, each with whether it takes a column: escapes for colors take none.
func columnsOf(s string) iter.Seq2[rune, bool] {
	return func(yield func(rune, bool) bool) {
		inside := false
		for _, r := range s {
			escape := inside || r == '\x1b'
			inside = escape && r != 'm'
			if !yield(r, !escape) {
				return
			}
		}
	}
}

// visible returns the number of columns of s.
func visible(s string) (n int) {
	for _, column := range columnsOf(s) {
		if column {
			n++
		}
	}
	return n
}

// clean escapes all that a terminal interprets or does not show: controls, bidirectional marks, line ends,
// and bytes that are not UTF-8. It also escapes the backslash, with which escapes start.
func clean(s string) string { return escape(s, true) }

// cleanEscaped does the same for a text whose names are escaped already, in which backslashes remain.
func cleanEscaped(s string) string { return escape(s, false) }

func escape(s string, backslash bool) string {
	plain := func(r rune) bool { return unicode.IsPrint(r) && (r != '\\' || !backslash) && r != utf8.RuneError }
	if strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}

	var b strings.Builder
	for i, r := range s {
		switch {
		case plain(r):
			b.WriteRune(r)
		case r == '\\':
			b.WriteString(`\\`)
		case r == utf8.RuneError:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return b.String()
}

func (t *text) paint(code, s string) string { return Paint(t.Color, code, s) }

// verdict returns a verdict in its color.
func (t *text) verdict(s string) string {
	switch {
	case s == "plaintext":
		return t.paint(Red, s)
	case s == "mutual TLS":
		return t.paint(Green, s)
	case s == "unjudged" || strings.HasPrefix(s, "failed") || strings.HasPrefix(s, "TLS"):
		return t.paint(Yellow, s)
	}
	return s
}
