package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/report"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// edges writes the edges, the workloads without a tap, what is not known, and the answer.
func (t *text) edges(r *edgesResult) {
	var main, other, within []topology.Edge
	for _, e := range r.Edges {
		switch {
		case e.Between():
			main = append(main, e)
		case e.Scope == "pod":
			within = append(within, e)
		default:
			other = append(other, e)
		}
	}
	sameDay := oneDay(r.Edges)
	t.edgeTable("", main, sameDay)
	if t.wide {
		t.edgeTable("Other traffic (DNS, probes and similar; no rule applies)", other, sameDay)
		t.edgeTable("Within the pods (never on the wire; plaintext is expected there)", within, sameDay)
		t.why(main)
	} else if n := len(other) + len(within); n > 0 && len(main) > 0 {
		t.wrap("", notListed(len(other), len(within)))
	}
	t.findings(r.Findings)
	t.untapped(r.Untapped)
	t.unknown(r.Unknown)
	t.answer(r.Answer, len(r.Unknown))
}

// notListed returns which edges only -o wide lists. At least one of the numbers is not 0.
func notListed(other, within int) string {
	var parts []string
	if other > 0 {
		parts = append(parts, plural(other, "edge")+" of other traffic")
	}
	if within > 0 {
		parts = append(parts, plural(within, "edge")+" within pods")
	}
	return "Only listed with -o wide: " + strings.Join(parts, ", ") + "."
}

// why writes the reasons for the verdicts.
func (t *text) why(edges []topology.Edge) {
	first := true
	for i := range edges {
		e := &edges[i]
		if len(e.Reasons) == 0 {
			continue
		}
		if first {
			t.heading("Why")
			first = false
		}
		words := make([]string, 0, len(e.Reasons))
		for _, code := range e.Reasons {
			words = append(words, report.ReasonWords(code))
		}
		to := endOf(&e.To)
		if !e.Folded {
			to += ":" + strconv.Itoa(int(e.Port))
		}
		t.wrap("  ", fmt.Sprintf("%s, %s > %s: %s", report.VerdictLabel(e.Verdict), endOf(&e.From), to, strings.Join(words, "; ")))
	}
}

// answer writes the last line.
func (t *text) answer(sentence string, unknown int) {
	if t.Len() > 0 {
		t.WriteByte('\n')
	}
	switch {
	case unknown == 1:
		sentence += " One limit of this answer is listed above."
	case unknown > 1:
		sentence += fmt.Sprintf(" %d limits of this answer are listed above.", unknown)
	}
	t.wrap("", sentence)
}

// heading writes the title of a section.
func (t *text) heading(title string) {
	if t.Len() > 0 {
		t.WriteByte('\n')
	}
	t.WriteString(title + "\n")
}

var edgeColumns = []column{
	{head: "VERDICT"}, {head: "FROM"}, {head: "TO"}, {head: "PORT", right: true}, {head: "PROTOCOL", optional: 3}, {head: "BASIS", optional: 4}, {head: "CONNECTIONS", right: true},
	{head: "SINCE", optional: 5}, {head: "LAST", optional: 2}, {head: "CIPHER", optional: 1}, {head: "TAPPED", optional: 2}, {head: "FINDINGS", optional: 2},
}

func (t *text) edgeTable(title string, edges []topology.Edge, sameDay bool) {
	if len(edges) == 0 {
		return
	}
	if title != "" {
		t.heading(title)
	}
	claimed, baseless := false, false
	rows := make([]row, 0, len(edges))
	for i := range edges {
		e := &edges[i]
		claimed, baseless = claimed || e.To.Claimed || e.From.Claimed, baseless || e.Basis == ""
		r := row{cells: []string{verdictOf(e), endOf(&e.From), endOf(&e.To), strconv.Itoa(int(e.Port)), protocolOf(e), cmp.Or(e.Basis, "-"), connectionsOf(e), clock(e.First, sameDay), "", "", "", ""}}
		if e.Folded {
			r.cells[3] = ""
		}
		if t.wide {
			copy(r.cells[8:], []string{clock(e.Last, sameDay), e.Cipher, sidesOf(e), strings.Join(e.Findings, ",")})
		}
		if e.Disagreement != "" {
			r.notes = []string{e.Disagreement}
		}
		rows = append(rows, r)
	}
	t.table(edgeColumns, rows)
	if claimed {
		t.wrap("", "* Only the client claimed this name.")
	}
	if baseless {
		t.wrap("", "- The basis is not known: only flows and findings have it, and postures do not.")
	}
	if first := edges[0].First; title == "" && sameDay && !first.IsZero() {
		t.wrap("", "Times are UTC, of "+first.Format(time.DateOnly)+".")
	}
}

// verdictOf returns the words for the verdict of an edge.
func verdictOf(e *topology.Edge) string {
	n := &e.Connections
	if e.Verdict == "plaintext" && n.TLS+n.Encrypted+n.MTLS > 0 {
		return "partly plaintext"
	}
	return report.VerdictLabel(e.Verdict)
}

// endOf returns the name of an end. An address says what it is.
func endOf(w *topology.Workload) string {
	out := w.String()
	switch w.Kind {
	case "Service":
		out = "service " + out
	case "Node":
		out = "node " + out
	}
	var about []string
	if w.Claimed {
		out += "*"
		for _, a := range w.Addresses[:min(2, len(w.Addresses))] {
			about = append(about, a.String())
		}
	}
	if w.Outside {
		about = append(about, "outside")
	} else if len(w.Addresses) > 0 && !w.Claimed {
		about = append(about, "not known")
	}
	if len(about) > 0 {
		out += " (" + strings.Join(about, ", ") + ")"
	}
	return out
}

// protocolOf returns the protocol with the version of TLS.
func protocolOf(e *topology.Edge) string {
	switch {
	case e.Protocol == "" && e.Version == "":
		return ""
	case e.Version == "":
		return report.ProtocolName(e.Protocol)
	case strings.Contains(e.Version, " "): // "dtls 1.2", "ssl 3.0"
		return strings.ToUpper(e.Version)
	case e.Protocol == "quic":
		return "QUIC, TLS " + e.Version
	}
	return "TLS " + e.Version
}

// connectionsOf returns the number of connections, and how many of them have the verdict of the edge.
func connectionsOf(e *topology.Edge) string {
	n := countOf(&e.Connections, e.Verdict)
	if total := totalOf(&e.Connections); n != total {
		return fmt.Sprintf("%d of %d", n, total)
	}
	return strconv.FormatUint(n, 10)
}

func totalOf(n *record.ByVerdict) uint64 {
	return n.Plaintext + n.TLS + n.Encrypted + n.MTLS + n.Failed + n.Unknown
}

func countOf(n *record.ByVerdict, verdict string) uint64 {
	switch verdict {
	case "plaintext":
		return n.Plaintext
	case "tls":
		return n.TLS
	case "encrypted":
		return n.Encrypted
	case "mtls":
		return n.MTLS
	case "failed":
		return n.Failed
	}
	return n.Unknown
}

// sidesOf returns which ends were tapped.
func sidesOf(e *topology.Edge) string {
	var sides []string
	for _, x := range e.Ends {
		if x.Side != "" {
			sides = append(sides, x.Side)
		}
	}
	if len(sides) == 2 {
		return "both ends"
	}
	return strings.Join(sides, "")
}

// oneDay reports whether all edges are of one day in UTC.
func oneDay(edges []topology.Edge) bool {
	day := ""
	for i := range edges {
		for _, at := range []time.Time{edges[i].First, edges[i].Last} {
			if d := at.Format(time.DateOnly); day != "" && d != day {
				return false
			} else if !at.IsZero() {
				day = d
			}
		}
	}
	return true
}

// clock formats a time in UTC.
func clock(at time.Time, sameDay bool) string {
	switch {
	case at.IsZero():
		return ""
	case sameDay:
		return at.UTC().Format(time.TimeOnly)
	}
	return at.UTC().Format("2006-01-02 15:04:05Z")
}

// findings writes the open findings.
func (t *text) findings(list []topology.Finding) {
	list = slices.DeleteFunc(slices.Clone(list), func(f topology.Finding) bool { return !f.Open() })
	if len(list) == 0 {
		return
	}
	t.heading("Open findings")
	const most = 20
	for i := range list[:min(most, len(list))] {
		f := &list[i]
		where := endOf(&f.From) + " > " + endOf(&f.To) + ":" + strconv.Itoa(int(f.Port))
		if f.To.Name == "" {
			where = endOf(&f.From)
		}
		t.wrap("  ", fmt.Sprintf("%s (severity %d), %s: %s", f.Rule, f.Severity, where, f.Message))
	}
	if more := len(list) - most; more > 0 {
		t.wrap("  ", fmt.Sprintf("and %d more: see -o json", more))
	}
}

// untapped writes the workloads without a tap.
func (t *text) untapped(list []topology.Untapped) {
	if len(list) == 0 {
		return
	}
	t.heading("Not tapped (what they send to each other is not seen)")
	var rows []row
	for i := range list {
		x := &list[i]
		rows = append(rows, row{cells: []string{x.Workload.String(), x.Workload.Kind, fmt.Sprintf("%d of %d", x.Tapped, x.Pods), x.Mesh, x.Why}})
	}
	t.table([]column{{head: "WORKLOAD"}, {head: "KIND", optional: 2}, {head: "PODS TAPPED"}, {head: "MESH", optional: 3}, {head: "WHY", optional: 1}}, rows)
}

// unknown writes what is not known. Workloads without a tap are in a table of their own.
func (t *text) unknown(list []topology.Unknown) {
	if len(list) == 0 {
		return
	}
	t.heading("Not known")
	for i := range list {
		u := &list[i]
		words := u.Text
		if names := namesOf(u.Workloads); names != "" && !strings.Contains(u.Text, "tapped") {
			words = topology.WithNames(words, len(u.Workloads), names)
		}
		t.wrap("  - ", words)
	}
}

func namesOf(list []topology.Workload) string {
	names := make([]string, 0, len(list))
	for i := range list {
		names = append(names, list[i].String())
	}
	if len(names) == 0 {
		return ""
	}
	return some(names)
}
