package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

// Options controls the layout of reports. The zero value suits a pipe.
type Options struct {
	Width int  // columns of the terminal; 0: lines are not wrapped
	Color bool // ANSI colors, in addition to the words
}

// Text writes a summary ("2 edges: 1 mutual TLS, 1 plaintext"). Then follow the edges, the
// findings, the explanation of each verdict, and the limits of what was seen. A long report ends with the summary again. Text returns
// the error of w.
func Text(w io.Writer, s finding.Summary, o Options) error {
	t := &text{Options: o}
	groups := groupEdges(s.Edges)
	t.summary(groups)
	for _, g := range groups {
		t.table(g)
	}
	t.findings(s.Findings)
	t.why(groups)
	t.evidence(&s)
	if bytes.Count(t.buf.Bytes(), []byte("\n")) > longReport { // its start may have left the screen
		t.buf.WriteByte('\n')
		t.summary(groups)
	}
	_, err := w.Write(t.buf.Bytes())
	return err
}

// longReport is how many lines a report may have without the summary again at its end.
const longReport = 40

// text builds a report in a buffer.
type text struct {
	Options
	buf bytes.Buffer
}

// group is a group of edges with a title.
type group struct {
	title string // empty: edges between workloads on the wire
	note  string
	edges []finding.Edge
}

// groupEdges returns the edges in three groups: between workloads on the wire, other traffic, and
// within the pod. The first group is always returned, the others only if they have edges.
func groupEdges(edges []finding.Edge) []group {
	groups := []group{
		{},
		{title: "Other traffic", note: "DNS, probes and similar; no rule applies"},
		{title: "Within the pod", note: "never on the wire; plaintext is expected there"},
	}

	for _, e := range edges {
		at := 0
		switch {
		case e.Scope == "pod":
			at = 2
		case e.Class != "workload":
			at = 1
		}
		groups[at].edges = append(groups[at].edges, e)
	}

	out := groups[:1]
	for _, g := range groups[1:] {
		if len(g.edges) > 0 {
			out = append(out, g)
		}
	}
	return out
}

// summary writes one line for each group.
func (t *text) summary(groups []group) {
	for _, g := range groups {
		switch {
		case len(g.edges) == 0 && len(groups) > 1:
			t.wrap("", "No edges between workloads on the wire.")
		case len(g.edges) == 0:
			t.wrap("", "No edges: no connection with payload was seen.")
		case g.title == "":
			t.wrap("", tally(g.edges))
		default:
			t.wrap("", fmt.Sprintf("%s (%s): %s", g.title, g.note, tally(g.edges)))
		}
	}
}

// tally returns the numbers of edges by verdict, the best first, such as "2 edges: 1 mutual TLS, 1 plaintext". Aggregate edges are no
// edges: it adds the numbers of their connections.
func tally(edges []finding.Edge) string {
	single, together := map[string]uint64{}, map[string]uint64{} // edges, and connections of aggregate edges
	var singles, connections uint64
	for i := range edges {
		e := &edges[i]
		if !e.Folded {
			singles++
			single[edgeVerdict(e)]++
			continue
		}
		for _, s := range e.Seen {
			connections += s.Connections
			together[verdictLabel(s.Verdict)] += s.Connections
		}
	}
	out := plural(singles, "edge")
	if singles > 0 {
		out += ": " + byVerdict(single)
	}
	if connections > 0 {
		out += fmt.Sprintf("; %s of further edges, which are counted together: %s", plural(connections, "connection"), byVerdict(together))
	}
	return out
}

// byVerdict formats numbers by the words for verdicts, the best first.
func byVerdict(n map[string]uint64) string {
	var parts []string
	for _, name := range []string{"mutual TLS", "TLS", "encrypted", "partly plaintext", "plaintext", "failed", "unjudged"} {
		if n[name] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[name], name))
		}
	}
	return strings.Join(parts, ", ")
}

// edgeVerdict returns the words for the verdict of a whole edge.
func edgeVerdict(e *finding.Edge) string {
	if e.Verdict == "plaintext" {
		for _, s := range e.Seen {
			switch s.Verdict {
			case "mtls", "tls", "encrypted":
				return "partly plaintext"
			}
		}
	}
	return verdictLabel(e.Verdict)
}

func verdictLabel(verdict string) string {
	switch verdict {
	case "mtls":
		return "mutual TLS"
	case "tls":
		return "TLS"
	case "unknown", "":
		return "unjudged"
	}
	return clean(verdict) // plaintext, encrypted, failed
}

func (t *text) heading(s string) {
	fmt.Fprintf(&t.buf, "\n%s\n", t.paint(Bold, s))
}

// findings writes the findings.
func (t *text) findings(list []finding.Finding) {
	if len(list) == 0 {
		return
	}
	t.heading("Findings")
	width := 0
	for i := range list {
		width = max(width, len(list[i].Rule))
	}
	for _, f := range list {
		t.wrap(fmt.Sprintf("  %3d  %-*s  ", f.Severity, width, clean(f.Rule)), cleanEscaped(f.Message))
	}
}

// why writes the reasons for each edge and verdict. The first group with mutual TLS whose certificate was not observed ends with the
// meaning of such a verdict.
func (t *text) why(groups []group) {
	noted := false
	for i := range groups {
		hidden := t.whyGroup(&groups[i])
		if hidden && !noted {
			t.wrap("  ", "Mutual TLS means that the client presented a certificate and the server continued. TLS 1.3 does not show whose certificate it was.")
			noted = true
		}
	}
}

// whyGroup writes the reasons for the verdicts of a group. It reports whether one of them is mutual TLS whose certificate was not
// observed.
func (t *text) whyGroup(g *group) (hidden bool) {
	switch {
	case len(g.edges) == 0:
		return false
	case g.title == "":
		t.heading("Why")
	default:
		t.heading("Why: " + strings.ToLower(g.title))
	}

	var order []*sameReason
	groups := map[[2]string]*sameReason{}
	for k := range g.edges {
		e := &g.edges[k]
		for i := range e.Seen {
			s := &e.Seen[i]
			hidden = hidden || s.Verdict == "mtls" && s.Last != nil && s.Last.TLS != nil && s.Last.TLS.ClientAuthBasis != "observed"
			key := [2]string{verdictWord(s), explain(s)}
			r := groups[key]
			if r == nil {
				r = &sameReason{first: s, reason: key[1]}
				groups[key], order = r, append(order, r)
			}
			if r.edges++; r.edges <= maxNamed {
				r.ends = append(r.ends, edgeEnds(e))
			}
			r.several = r.several || s.Connections > 1
		}
	}
	for _, r := range order {
		t.wrap("  "+t.verdict(verdictWord(r.first))+"  ", r.subject()+": "+r.reason)
	}
	return hidden
}

// sameReason is a number of edges that have a verdict for the same reasons.
type sameReason struct {
	first   *finding.Seen
	reason  string
	edges   uint64
	ends    []string // of the first edges, at most maxNamed
	several bool     // an edge has several connections with the verdict: the reasons are those of the latest
}

// maxNamed is how many edges with the same reasons are named.
const maxNamed = 3

// subject returns the words for the edges.
func (r *sameReason) subject() string {
	out := strings.Join(r.ends, ", ")
	if r.edges > maxNamed {
		out = fmt.Sprintf("%s (%s, ...)", plural(r.edges, "edge"), out)
	}
	if r.several {
		out += ", latest connection"
	}
	return out
}

// edgeEnds returns the ends of an edge for a sentence.
func edgeEnds(e *finding.Edge) string {
	if e.Folded {
		return clean(folded(e))
	}
	return fmt.Sprintf("%s > %s", clean(e.From), clean(serverOf(e)))
}

// evidence writes how much of the traffic was seen, and how much was not.
func (t *text) evidence(s *finding.Summary) {
	t.heading("Seen")
	span := ""
	if s.Start != 0 {
		span = ", " + timeRange(s.Start, s.End)
	}
	t.wrap("  ", judged(s)+span)
	for _, line := range gaps(s) {
		t.wrap("  ", line)
	}

	t.undecoded(&s.Coverage)
	if s.EdgesGone > 0 {
		t.wrap("  ", fmt.Sprintf("%s evicted because there were too many; their connections are counted above", plural(s.EdgesGone, "edge")))
	}

	if s.EdgesFolded > 0 {
		t.wrap("  ", fmt.Sprintf("%s without plaintext folded into others, so that edges with plaintext keep their names", plural(s.EdgesFolded, "edge")))
	}

	if s.Filter != "" {
		t.wrap("  ", "only packets that the filter accepts: "+clean(s.Filter))
	}
}

// judged returns how many connections were judged, and how many packets were lost.
func judged(s *finding.Summary) string {
	var all, unjudged uint64
	count := func(list []finding.Seen) {
		for _, x := range list {
			all += x.Connections
			if x.Verdict == "unknown" {
				unjudged += x.Connections
			}
		}
	}
	for i := range s.Edges {
		count(s.Edges[i].Seen)
	}
	count(s.Gone)

	lost := "packet loss is unknown"
	if s.CoverageSet {
		lost = fmt.Sprintf("%s, %d lost by the capture", plural(s.Coverage.Packets, "packet"), s.Coverage.Dropped)
	}
	return fmt.Sprintf("%d of %s judged, %d unjudged; %s", all-unjudged, plural(all, "connection"), unjudged, lost)
}

// gaps returns a line for each kind of connection that was not seen as a whole.
func gaps(s *finding.Summary) (out []string) {
	var late, holed uint64
	for i := range s.Edges {
		late += s.Edges[i].MissedStart
		holed += s.Edges[i].MissedBytes
	}
	for _, line := range []struct {
		n    uint64
		what string
	}{
		{s.Silent, "without payload, so without a verdict (refused, unanswered, or opened and never used)"},
		{late, "whose start was not seen: older than the capture, or lost"},
		{holed, "with bytes that were not seen"},
		{s.Coverage.Evicted, "evicted because the table was full"},
		{s.Coverage.CutShort, "read only in part because the buffers were full"},
		{s.Coverage.Older, "older than the tap"},
	} {
		if line.n > 0 {
			out = append(out, plural(line.n, "connection")+" "+line.what)
		}
	}
	return out
}

// timeRange formats a period of time.
func timeRange(from, to int64) string {
	a, b := time.Unix(0, from).UTC(), time.Unix(0, to).UTC()
	layout := "15:04:05"
	if a.Unix() == b.Unix() {
		return a.Format("2006-01-02 15:04:05") + " UTC"
	}
	if a.YearDay() != b.YearDay() || a.Year() != b.Year() {
		layout = "2006-01-02 15:04:05"
	}
	return a.Format("2006-01-02 15:04:05") + " to " + b.Format(layout) + " UTC"
}

func plural(n uint64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
