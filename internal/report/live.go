package report

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/order"
)

// LiveOptions controls a screen of a live view.
type LiveOptions struct {
	Options
	Height   int       // lines of the terminal
	Head     string    // the first line: what runs, and how long
	Problems []string  // what impairs the capture, a line each
	Log      string    // the last line
	Now      time.Time // when findings that are new are first shown
}

// Live draws the state of a capture on a screen, again and again. Edges stay at their place as long as their verdict stays. The zero value is ready
// to use. It is not safe for concurrent use.
type Live struct {
	first map[[2]string]time.Time // by edge and rule of a finding: when it was first shown
}

// Lines returns the lines of a screen, exactly Height: the head, the numbers of edges, losses and problems, the findings, the newest first, and the edges, the
// worst first. What does not fit is counted.
func (l *Live) Lines(s *finding.Summary, o LiveOptions) []string {
	t := &text{Options: o.Options}
	t.buf.WriteString(t.paint(Bold, clean(o.Head)) + "\n")
	groups := groupEdges(s.Edges)
	for _, g := range groups {
		switch {
		case g.title != "":
			t.wrap("", g.title+": "+tally(g.edges))
		case len(g.edges) == 0:
			t.wrap("", "No edges between workloads on the wire so far.")
		default:
			t.wrap("", tally(g.edges))
		}
	}
	t.wrap("", seenSoFar(s))
	for _, p := range o.Problems {
		t.wrap(t.paint(Red, "! "), clean(p))
	}
	l.findings(t, s.Findings, &o)
	for _, g := range groups {
		t.liveTable(g, o.Height-1-t.lines())
	}

	lines := strings.Split(strings.TrimSuffix(t.buf.String(), "\n"), "\n")
	lines = append(lines, make([]string, max(o.Height-len(lines), 0))...)[:o.Height]
	lines[o.Height-1] = t.paint(Dim, clean(o.Log))
	for i := range lines {
		lines[i] = cutLine(lines[i], o.Width)
	}
	return lines
}

// seenSoFar returns how much was seen and lost.
func seenSoFar(s *finding.Summary) string {
	partly := s.Coverage.Evicted + s.Coverage.CutShort + s.Coverage.Older
	for i := range s.Edges {
		partly += s.Edges[i].MissedBytes
	}
	out := judged(s)
	if partly > 0 {
		out += fmt.Sprintf("; %s not seen as a whole", plural(partly, "connection"))
	}
	if s.Filter != "" {
		out += "; only packets that the filter accepts: " + clean(s.Filter)
	}
	return out
}

// lines returns the number of lines so far.
func (t *text) lines() int { return bytes.Count(t.buf.Bytes(), []byte("\n")) }

// findings writes the findings, the newest first, into at most a third of the lines that are left.
func (l *Live) findings(t *text, list []finding.Finding, o *LiveOptions) {
	shown := make(map[[2]string]time.Time, len(list))
	for i := range list {
		key := [2]string{list[i].Edge, list[i].Rule}
		at, ok := l.first[key]
		if !ok {
			at = o.Now
		}
		shown[key] = at
	}
	l.first = shown
	if len(list) == 0 {
		return
	}
	at := func(f *finding.Finding) time.Time { return shown[[2]string{f.Edge, f.Rule}] }
	list = slices.Clone(list)
	order.Stable(list, func(a, b finding.Finding) int { return at(&b).Compare(at(&a)) })

	t.heading("Findings")
	room := max((o.Height-t.lines())/3, 1)
	more := len(list) - room
	list = list[:min(room, len(list))]
	width := 0
	for i := range list {
		width = max(width, len(list[i].Rule))
	}
	for i := range list {
		f := &list[i]
		state := fmt.Sprintf("%8d", f.Severity)
		if !f.Open {
			state = "resolved"
		}
		fmt.Fprintf(&t.buf, "  %s  %s  %-*s  %s\n", at(f).UTC().Format("15:04:05"), state, width, clean(f.Rule), cleanEscaped(f.Message))
	}
	if more > 0 {
		fmt.Fprintf(&t.buf, "  and %s\n", plural(uint64(more), "older finding"))
	}
}

// liveTable writes the edges of a group into a number of lines. If there is no room for the head and a row, it writes nothing.
func (t *text) liveTable(g group, room int) {
	const note = 1 // the line about names
	head := 2      // an empty line and the headings
	if g.title != "" {
		head++
	}
	if len(g.edges) == 0 || room < head+2 {
		return
	}
	rows := [][columns]string{header}
	room -= head
	shown, claims := 0, false
	for ; shown < len(g.edges) && len(rows) <= room; shown++ {
		rows = append(rows, rowsOf(&g.edges[shown], false)...)
		claims = claims || len(claimed(&g.edges[shown])) > 0
	}
	if claims {
		room -= note
	}
	if shown < len(g.edges) || len(rows) > room+1 {
		rows = rows[:min(room, len(rows))]
		shown = 0
		for _, r := range rows[1:] {
			if r[colFrom]+r[colTo] != "" {
				shown++
			}
		}
	}
	if t.buf.WriteByte('\n'); g.title != "" {
		t.buf.WriteString(t.paint(Bold, g.title) + "\n")
	}
	t.rows(rows, t.row)
	if more := len(g.edges) - shown; more > 0 {
		fmt.Fprintf(&t.buf, "  and %s\n", plural(uint64(more), "more edge"))
	}
	if claims {
		t.buf.WriteString("  " + claimMark + " Only the client claimed this name.\n")
	}
}

// cutLine cuts a line with escapes for colors to a width. A width of 0 cuts nothing.
func cutLine(s string, width int) string {
	if width <= 0 || visible(s) <= width {
		return s
	}
	var b strings.Builder
	n := 0
	for r, column := range columnsOf(s) {
		if column {
			n++
		}
		switch {
		case !column || n < width:
			b.WriteRune(r)
		case n == width:
			b.WriteString("…")
		}
	}
	return b.String()
}
