package htmlreport

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/report"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// finding is a finding as the page shows it.
type finding struct {
	Severity    int64
	Level       string
	Rule, State string
	Message     string
	From, To    workload
	Port        uint16
	Count       uint64
	Seen        string // from when to when
	Verdict     verdict
	Basis       string
	Reasons     []string
	Coverage    string
	Evidence    string
	Reference   string // begins with https://
	Link        string // Reference as the value of href
	Open        bool   // shown in full at first
}

const (
	severe   = 73 // least severity of a finding that is shown in full at first: high
	maxShown = 20 // findings that are shown at first
)

// level returns the word for a severity, by the steps of Elastic's detection rules.
func level(severity int64) string {
	switch {
	case severity >= 99:
		return "critical"
	case severity >= 73:
		return "high"
	case severity >= 47:
		return "medium"
	case severity > 0:
		return "low"
	}
	return "ended"
}

// edgeKey identifies an edge between workloads with a verdict.
func edgeKey(from, to *topology.Workload, port uint16, verdict string) string {
	return fmt.Sprintf("%s\x00%s\x00%s\x00%s\x00%d\x00%s", from.Kind, from, to.Kind, to, port, verdict)
}

// addFindings adds findings, the most severe first. A finding without a basis has that of its edge.
func (p *page) addFindings(list []topology.Finding, edges []topology.Edge) {
	bases := map[string]string{}
	for i := range edges {
		if e := &edges[i]; kindOf(e) == between {
			bases[edgeKey(&e.From, &e.To, e.Port, e.Verdict)] = e.Basis
		}
	}
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b topology.Finding) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Rule, b.Rule),
			cmp.Compare(a.From.Namespace, b.From.Namespace), cmp.Compare(a.From.Name, b.From.Name), b.Last.Compare(a.Last))
	})
	if n := len(list); n > maxFindings {
		p.MoreFindings, list = n-maxFindings, list[:maxFindings]
	}
	for i := range list {
		f := &list[i]
		x := finding{
			Severity: f.Severity, Level: level(f.Severity), Rule: name(f.Rule), State: name(f.State), Message: sentence(f.Message),
			From: newWorkload(&f.From), To: newWorkload(&f.To), Port: f.Port, Count: f.Count,
			Basis: name(cmp.Or(f.Basis, bases[edgeKey(&f.From, &f.To, f.Port, f.Verdict)])), Coverage: sentence(f.Coverage), Evidence: name(f.Evidence), Open: f.Severity >= severe && i < maxShown,
		}
		if !f.First.IsZero() && !f.Last.IsZero() {
			x.Seen = fmt.Sprintf("from %s to %s (UTC)", timestamp(f.First), timestamp(f.Last))
		}
		if f.Verdict != "" {
			x.Verdict = newVerdict(f.Verdict)
		}
		if strings.HasPrefix(f.Reference, "https://") {
			x.Reference, x.Link = name(f.Reference), link(name(f.Reference))
		}
		for _, code := range f.Reasons {
			x.Reasons = append(x.Reasons, sentence(report.ReasonWords(code)))
		}
		if i < maxShown {
			p.Findings = append(p.Findings, x)
		} else {
			p.OtherFindings = append(p.OtherFindings, x)
		}
	}
}
