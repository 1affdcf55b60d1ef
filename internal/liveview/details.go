package liveview

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/meshtls-tap/meshtls-tap/internal/report"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// detailLines returns the screen with the details of the selected edge, or nil if they are not shown.
func (m *model) detailLines() []string {
	at := m.at()
	if !m.details || at < 0 {
		return nil
	}
	lines := why(m.table.rows[at].edge, m.state.Findings, m.width)
	lines[0] = m.paint(report.Bold, lines[0])
	room := max(0, m.height-1)
	m.scroll = max(0, min(m.scroll, len(lines)-room))
	lines = lines[m.scroll:]
	for len(lines) < room {
		lines = append(lines, "")
	}
	return append(lines[:room], m.paint(report.Dim, "esc back  ↑↓ scroll  q quit"))
}

// maxChanges is the greatest number of changes in the details of an edge.
const maxChanges = 8

// why returns an edge with the reasons for its verdict and its ends, wrapped to width columns.
func why(e *topology.Edge, findings []topology.Finding, width int) []string {
	var lines []string
	add := func(head, text string) {
		if text == "" {
			return
		}
		lines = append(lines, wrap(head, text, width)...)
	}
	k := kinds[kindOf(e)]
	add("", name(&e.From)+" to "+server(e))
	lines = append(lines, "")
	add("Verdict      ", k.shape+" "+k.label)
	add("Protocol     ", protocol(e))
	add("Basis        ", report.CleanMessage(e.Basis))
	for i, code := range e.Reasons {
		head := "Why          "
		if i > 0 {
			head = "             "
		}
		add(head, report.ReasonWords(code))
	}
	add("Expected     ", report.CleanMessage(e.Expectation))
	counts, _ := byVerdict(e)
	add("Connections  ", strings.Join(counts, ", "))
	add("Seen         ", seen(e))
	for i := range e.Ends {
		add("             ", endLine(&e.Ends[i]))
	}
	if e.Scope != "pod" && len(e.Ends) == 1 && e.Ends[0].Side != "" {
		add("             ", "only one end is tapped")
	}
	add("Ends differ  ", report.CleanMessage(e.Disagreement))
	if e.Accepted != nil {
		add("Plaintext    ", map[bool]string{true: "the server accepted it", false: "the server did not accept it"}[*e.Accepted])
	}
	for i := range findings {
		if f := &findings[i]; f.Port == e.Port && endOf(&f.From) == endOf(&e.From) && endOf(&f.To) == endOf(&e.To) {
			add("Finding      ", findingLine(f)+" ["+report.CleanMessage(f.State)+"]")
			add("             ", report.CleanMessage(f.Reference))
		}
	}
	add("Client       ", addresses(&e.From))
	add("Server       ", addresses(&e.To))
	if e.From.Claimed || e.To.Claimed {
		add("             ", "* only the client claimed this name")
	}
	for i, c := range e.Changes[max(0, len(e.Changes)-maxChanges):] {
		head := "Changes      "
		if i > 0 {
			head = "             "
		}
		add(head, c.At.UTC().Format(time.DateTime)+" "+report.VerdictLabel(c.Verdict))
	}
	return lines
}

// byVerdict returns the verdicts of an edge's connections: in words with their numbers, and as a set with a bit for each.
func byVerdict(e *topology.Edge) (counts []string, set uint8) {
	n := &e.Connections
	for i, c := range [...]struct {
		n     uint64
		label string
	}{{n.Plaintext, "plaintext"}, {n.TLS, "TLS"}, {n.Encrypted, "encrypted"}, {n.MTLS, "mutual TLS"}, {n.Failed, "failed"}, {n.Unknown, "unjudged"}} {
		if c.n > 0 {
			counts, set = append(counts, fmt.Sprintf("%d %s", c.n, c.label)), set|1<<i
		}
	}
	return counts, set
}

func seen(e *topology.Edge) string {
	if e.First.IsZero() || e.Last.IsZero() {
		return ""
	}
	return e.First.UTC().Format(time.DateTime) + " to " + e.Last.UTC().Format(time.DateTime+" MST")
}

// endLine returns the words for one side's taps.
func endLine(e *topology.End) string {
	s := fmt.Sprintf("%s: %s by %s, %s lost", cmp.Or(report.CleanMessage(e.Side), "capture"), report.VerdictLabel(e.Verdict), count(uint64(e.Taps), "tap"), count(e.Dropped, "packet"))
	if e.Older > 0 {
		s += ", " + count(e.Older, "connection") + " older than the taps"
	}
	return s
}

func addresses(w *topology.Workload) string {
	return strings.Join(strs(w.Addresses), " ")
}

func strs(list []netip.Addr) []string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.String()
	}
	return out
}

// wrap returns head and text in lines of at most width columns. Further lines are indented to the start of text. On a narrow screen a long
// head is a line of its own.
func wrap(head, text string, width int) []string {
	if len(head) > 2 && width < 3*len(head) {
		lines := wrap("  ", text, width)
		if head = strings.TrimSpace(head); head != "" {
			lines = append([]string{head}, lines...)
		}
		return lines
	}
	indent := len(head)
	lines := strings.Split(ansi.Wrap(text, max(8, width-indent), " "), "\n")
	for i := range lines {
		if i == 0 {
			lines[i] = head + lines[i]
		} else {
			lines[i] = strings.Repeat(" ", indent) + lines[i]
		}
	}
	return lines
}
