package htmlreport

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/report"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// page is the data of page.html.tmpl. Its strings have passed visible.
type page struct {
	Policy string
	Style  trusted
	Charts trusted
	Script trusted

	Title, Answer string
	Judged        bool // of a connection between workloads it is known how it was protected
	Unreported    bool // there is plaintext between workloads, and no finding
	Totals        []tally
	Others        []string // edges that Totals and Matrix leave out, in words
	Matrix        matrix
	Findings      []finding // at most maxShown
	OtherFindings []finding
	MoreFindings  int
	Rows          []row
	Reasons       []string // the reasons of all rows in words; rows refer to them by number, from 1
	MoreEdges     int
	MoreVerdicts  string // the verdicts of the edges that are left out
	Unknown       []unknown
	Made          made
	Data          trusted // JSON for the script
}

// verdict is a verdict as the page shows it: by a word and, through its class, by a shape.
type verdict struct{ Class, Label string }

func newVerdict(value string) verdict {
	v := verdicts[verdictIndex(value)]
	return verdict{v.value, v.label}
}

// tally is the number of edges and connections with a verdict.
type tally struct {
	Verdict     verdict
	Edges       int
	Connections uint64
}

// row is a row of the table of edges.
type row struct {
	From, To    workload
	Port        uint16
	Verdict     verdict
	Protocol    string
	Note        string // the scope and the class, unless they are "wire" and "workload"
	Basis       string
	Reasons     []int // indexes in page.Reasons, from 1
	Connections string
	Last        string
	Findings    []string
	Changed     bool
	Disagree    bool
}

type unknown struct {
	Text      string
	Workloads []workload
	More      int
}

type made struct {
	At, Version string
	Sources     []Source
	Losses      []string
}

// newPage returns the page of a report. It does not change the report.
func newPage(r *Report) (*page, error) {
	p := &page{
		Policy: policy, Style: trusted(style), Charts: trusted(charts), Script: trusted(script),
		Title: cmp.Or(name(r.Title), "Mutual TLS between workloads"), Answer: sentence(r.Answer),
	}
	edges := slices.Clone(r.Edges)
	slices.SortStableFunc(edges, func(a, b topology.Edge) int { return compareEdges(&a, &b) })
	p.count(edges)
	p.Matrix = newMatrix(edges)
	if n := len(edges); n > maxEdges {
		var more [len(verdicts)]uint64
		for i := range edges[maxEdges:] {
			more[verdictIndex(edges[maxEdges+i].Verdict)]++
		}
		p.MoreEdges, p.MoreVerdicts, edges = n-maxEdges, perVerdict(more), edges[:maxEdges]
	}
	numbers := map[string]int{}
	for i := range edges {
		p.Rows = append(p.Rows, p.newRow(&edges[i], numbers))
	}
	p.Unreported = len(r.Findings) == 0 && slices.ContainsFunc(r.Edges, func(e topology.Edge) bool { return e.Between() && e.Connections.Plaintext > 0 })
	p.addFindings(r.Findings, edges)
	p.addUnknown(r.Unknown)
	p.Made = newMade(&r.Made)
	data, err := newData(edges, p.Rows).encode()
	p.Data = trusted(data) // encoding/json escapes <, > and &
	return p, err
}

// kind is what an edge is, as far as the answer is concerned.
type kind int

const (
	between kind = iota // between workloads on the wire, which is what the answer and the matrices are about
	folded              // several edges that were counted together
	other               // DNS, probes and the like
	inside              // traffic that never leaves the pod
	kinds
)

func kindOf(e *topology.Edge) kind {
	switch {
	case e.Scope == "pod":
		return inside
	case !e.Between():
		return other
	case e.Folded:
		return folded
	}
	return between
}

// compareEdges orders edges by kind, then by verdict, the weakest first, then by their names.
func compareEdges(a, b *topology.Edge) int {
	return cmp.Or(
		cmp.Compare(kindOf(a), kindOf(b)), cmp.Compare(verdictIndex(a.Verdict), verdictIndex(b.Verdict)),
		cmp.Compare(a.From.Namespace, b.From.Namespace), cmp.Compare(a.From.Name, b.From.Name),
		cmp.Compare(a.To.Namespace, b.To.Namespace), cmp.Compare(a.To.Name, b.To.Name), cmp.Compare(a.Port, b.Port))
}

// count adds up edges and connections for each verdict.
func (p *page) count(edges []topology.Edge) {
	var list [len(verdicts)]tally
	var of [kinds]int
	for i := range edges {
		e := &edges[i]
		of[kindOf(e)]++
		p.Judged = p.Judged || e.Judged()
		if kindOf(e) == between {
			for v, n := range counts(&e.Connections) {
				list[v].Connections += n
			}
			list[verdictIndex(e.Verdict)].Edges++
		}
	}
	for v := range list {
		if list[v].Edges > 0 || list[v].Connections > 0 {
			list[v].Verdict = newVerdict(verdicts[v].value)
			p.Totals = append(p.Totals, list[v])
		}
	}
	for _, x := range []struct {
		kind kind
		what string
	}{{inside, "inside pods, such as between an application and its sidecar"}, {other, "of other traffic, such as DNS and probes"}, {folded, "for several edges, which were counted together"}} {
		if n := of[x.kind]; n > 0 {
			p.Others = append(p.Others, plural(n, "edge ", "edges ")+x.what)
		}
	}
}

func (p *page) newRow(e *topology.Edge, numbers map[string]int) row {
	x := row{
		From: newWorkload(&e.From), To: newWorkload(&e.To), Port: e.Port, Verdict: newVerdict(e.Verdict), Basis: name(e.Basis),
		Connections: connections(&e.Connections), Last: timestamp(e.Last),
		Changed: len(e.Changes) > 1, Disagree: e.Disagreement != "",
	}
	x.Protocol = protocol(e)
	var notes []string
	if e.Scope == "pod" {
		notes = append(notes, "inside the pod")
	}
	if e.Class != "" && e.Class != "workload" {
		notes = append(notes, name(e.Class))
	}
	if e.Folded {
		notes = append(notes, "several edges, counted together")
	}
	x.Note = strings.Join(notes, ", ")
	for _, code := range e.Reasons {
		if numbers[code] == 0 {
			p.Reasons = append(p.Reasons, sentence(report.ReasonWords(code)))
			numbers[code] = len(p.Reasons)
		}
		x.Reasons = append(x.Reasons, numbers[code])
	}
	for _, rule := range e.Findings {
		x.Findings = append(x.Findings, name(rule))
	}
	return x
}

// protocol returns the application protocol and the version of TLS.
func protocol(e *topology.Edge) string {
	var parts []string
	if e.Protocol != "" && (e.Protocol != "tls" || e.Version == "") {
		parts = append(parts, name(report.ProtocolName(e.Protocol)))
	}
	switch v := name(e.Version); {
	case v == "":
	case v[0] >= '0' && v[0] <= '9':
		parts = append(parts, "TLS "+v)
	default: // such as "dtls 1.2"
		parts = append(parts, strings.ToUpper(v))
	}
	return strings.Join(parts, ", ")
}

func (p *page) addUnknown(list []topology.Unknown) {
	listed := 0
	for i := range list {
		x := unknown{Text: sentence(list[i].Text)}
		for w := range list[i].Workloads {
			if listed++; listed > maxListed {
				x.More++
				continue
			}
			x.Workloads = append(x.Workloads, newWorkload(&list[i].Workloads[w]))
		}
		p.Unknown = append(p.Unknown, x)
	}
}

func newMade(m *Made) made {
	x := made{At: timestamp(m.At), Version: name(m.Version)}
	for i, s := range m.Sources {
		if i == maxListed {
			x.Losses = append(x.Losses, fmt.Sprintf("%s not listed here.", plural(len(m.Sources)-maxListed, "more source is", "more sources are")))
			break
		}
		x.Sources = append(x.Sources, Source{Kind: name(s.Kind), Name: name(s.Name), Note: sentence(s.Note)})
	}
	for _, l := range m.Losses {
		x.Losses = append(x.Losses, sentence(l))
	}
	return x
}
