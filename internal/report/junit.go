package report

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

// JUnitOptions controls which edges pass in a JUnit report.
type JUnitOptions struct {
	Fails         func(*finding.Finding) bool // reports whether an edge with this finding fails
	UnjudgedFails bool                        // an edge with connections that were not judged fails; otherwise it is skipped if none was judged
	Problem       string                      // why the report is incomplete, or proves nothing; empty: it is complete
}

// JUnit writes a summary as a test report in the JUnit XML format, as CI systems read it: a test case for each edge, and one named
// "capture" for the capture itself. It returns the error of w.
func JUnit(w io.Writer, s *finding.Summary, o JUnitOptions) error {
	failures := map[string][]*finding.Finding{} // by edge
	known := map[string]bool{}
	for i := range s.Edges {
		known[s.Edges[i].Key] = true
	}
	rest := finding.Summary{} // findings whose edge is not in the report
	for i := range s.Findings {
		f := &s.Findings[i]
		if o.Fails(f) {
			failures[f.Edge] = append(failures[f.Edge], f)
			if !known[f.Edge] {
				known[f.Edge] = true
				rest.Edges = append(rest.Edges, finding.Edge{Key: f.Edge, Class: "workload"})
			}
		}
	}

	var cases bytes.Buffer
	tests, failed, skipped, errored := 1, 0, 0, 0
	fmt.Fprintf(&cases, `  <testcase classname="tap.read" name="capture" time="0">`)
	if o.Problem != "" {
		errored++
		fmt.Fprintf(&cases, "\n    <error message=%s/>\n  ", attribute(o.Problem))
	}
	cases.WriteString("</testcase>\n")

	for _, list := range [][]finding.Edge{s.Edges, rest.Edges} {
		for i := range list {
			e := &list[i]
			tests++
			name := edgeEnds(e)
			if e.From == "" && !e.Folded {
				name = clean(e.Key)
			}
			fmt.Fprintf(&cases, "  <testcase classname=%s name=%s time=\"0\">\n", attribute("tap.read."+cmp.Or(e.Scope, "wire")+"."+e.Class), attribute(name))
			if len(e.Seen) > 0 {
				fmt.Fprintf(&cases, "    <properties><property name=\"verdict\" value=%s/></properties>\n", attribute(edgeVerdict(e)))
			}
			var unjudged uint64
			for k := range e.Seen {
				if e.Seen[k].Verdict == "unknown" {
					unjudged = e.Seen[k].Connections
				}
			}
			broken := failures[e.Key]
			switch {
			case len(broken) > 0 || unjudged > 0 && o.UnjudgedFails:
				failed++
			case len(e.Seen) > 0 && e.Verdict == "unknown":
				skipped++
				fmt.Fprintf(&cases, "    <skipped message=%s/>\n", attribute(plural(unjudged, "connection")+" not judged: "+explain(&e.Seen[0])))
			}
			for _, f := range broken {
				fmt.Fprintf(&cases, "    <failure type=%s message=%s/>\n", attribute(f.Rule), attribute(f.Message))
			}
			if unjudged > 0 && o.UnjudgedFails {
				fmt.Fprintf(&cases, "    <failure type=\"unjudged\" message=%s/>\n", attribute(plural(unjudged, "connection")+" not judged"))
			}
			cases.WriteString("  </testcase>\n")
		}
	}

	at := ""
	if s.Start != 0 {
		at = fmt.Sprintf(" timestamp=%s", attribute(time.Unix(0, s.Start).UTC().Format("2006-01-02T15:04:05")))
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n <testsuite name=\"tap read\" tests=\"%d\" failures=\"%d\" errors=\"%d\" skipped=\"%d\" time=\"0\"%s>\n", tests, failed, errored, skipped, at)
	b.Write(cases.Bytes())
	b.WriteString(" </testsuite>\n</testsuites>\n")
	_, err := w.Write(b.Bytes())
	return err
}

// escapeXML escapes the characters that end or start something in a quoted attribute (XML 1.0, section 2.3).
var escapeXML = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;")

// attribute returns a text as a quoted attribute. Characters that XML does not allow are escaped as in a report.
func attribute(text string) string { return `"` + escapeXML.Replace(clean(text)) + `"` }
