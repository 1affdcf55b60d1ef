package htmlreport

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"html"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

var update = flag.Bool("update", false, "write the golden page and the pictures in docs")

// render returns the page of a report.
func render(t *testing.T, r *Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestGolden: the page of a small report, without its style and scripts. Update it with -update.
func TestGolden(t *testing.T) {
	const golden = "testdata/small.html"
	got := render(t, small())
	for _, part := range []struct{ text, name string }{{charts, "CHARTS"}, {script, "SCRIPT"}, {style, "STYLE"}} {
		if strings.Count(got, part.text) != 1 {
			t.Fatalf("the page does not have %s once", part.name)
		}
		got = strings.Replace(got, part.text, part.name, 1)
		if !strings.Contains(html.UnescapeString(got), hash(part.text)) {
			t.Errorf("the policy lacks the hash of %s", part.name)
		}
	}
	got = regexp.MustCompile(`sha256-[^ =]*=`).ReplaceAllString(got, "sha256-HASH")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		lines := strings.Split(string(want), "\n")
		for i, line := range strings.Split(got, "\n") {
			if i >= len(lines) || line != lines[i] {
				t.Fatalf("line %d differs from %s (update with -update):\n%.600s", i+1, golden, line)
			}
		}
		t.Fatalf("%s has more lines", golden)
	}
}

// TestNothingJudged: a page without a judged connection says so first, whatever the answer says.
func TestNothingJudged(t *testing.T) {
	edge := func(c record.ByVerdict) topology.Edge {
		return topology.Edge{From: deployment("a", "a"), To: deployment("b", "b"), Port: 1, Scope: "wire", Verdict: "unknown", Connections: c}
	}
	dns, inside := edge(record.ByVerdict{Plaintext: 3}), edge(record.ByVerdict{MTLS: 3})
	dns.Class, dns.Verdict, inside.Scope, inside.Verdict = "dns", "plaintext", "pod", "mtls"
	for name, r := range map[string]*Report{
		"no edge":            {},
		"an answer":          {Answer: "All is fine."},
		"unjudged":           {Edges: []topology.Edge{edge(record.ByVerdict{Unknown: 3})}},
		"failed":             {Edges: []topology.Edge{edge(record.ByVerdict{Failed: 3})}},
		"other traffic":      {Answer: "No connection with data between workloads was seen.", Edges: []topology.Edge{dns, inside}},
		"without connection": {Edges: []topology.Edge{edge(record.ByVerdict{})}},
	} {
		page := render(t, r)
		at := strings.Index(page, "Nothing was judged.")
		if at < 0 || at > strings.Index(page, "</section>") {
			t.Errorf("%s: the first section does not say that nothing was judged", name)
		}
		if !strings.Contains(page, "No finding, because nothing was judged.") || strings.Contains(page, `<p class="answer">`) {
			t.Errorf("%s: it looks fine", name)
		}
	}
	if page := render(t, &Report{Edges: []topology.Edge{edge(record.ByVerdict{Unknown: 3, MTLS: 1})}}); strings.Contains(page, "Nothing was judged.") {
		t.Error("a judged connection is not seen")
	}
}

// TestSections: the parts of the page come in this order.
func TestSections(t *testing.T) {
	page := render(t, small())
	last := -1
	for _, id := range []string{"answer", "matrix", "findings", "edges", "neighbors", "timeline", "unknown", "made"} {
		at := strings.Index(page, `<section id="`+id+`"`)
		if at < last || at < 0 {
			t.Errorf("section %s is at %d, after %d", id, at, last)
		}
		last = at
	}
}

// TestBounds: the page is bounded, and says what it left out.
func TestBounds(t *testing.T) {
	r := large()
	size := len(render(t, r))
	t.Logf("a report with %d edges has %d bytes, of which %d are code", len(r.Edges), size, len(charts)+len(script)+len(style))
	if size > 4<<20 {
		t.Errorf("%d bytes", size)
	}
	few := r.Findings[:3]
	for i := range maxEdges {
		e := r.Edges[i%2000]
		e.To.Namespace, e.Changes = fmt.Sprintf("n%d", i%100), slices.Repeat(r.Edges[0].Changes[:1], 64)
		r.Edges = append(r.Edges, e)
	}
	for range maxFindings {
		r.Findings = append(r.Findings, few[0])
	}
	r.Unknown = []topology.Unknown{{Text: "untapped", Workloads: slices.Repeat([]topology.Workload{deployment("a", "b")}, maxListed+7)}}
	before := slices.Clone(r.Edges)
	page := render(t, r)
	for _, want := range []string{"2000 more edges are not on this page:</strong> ", fmt.Sprintf("%d more findings of equal or lower severity", len(r.Findings)-maxFindings), "more namespaces are only in the table", "and 7 more"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say: %s", want)
		}
	}
	if m := regexp.MustCompile(`</strong> (\d+) mutual TLS, (\d+) failed\. The answer`).FindStringSubmatch(page); m == nil {
		t.Error("the page does not say which verdicts the edges have that are left out")
	}
	if got := strings.Count(page, "<tr><td>"); got < maxEdges || got > maxEdges+1 {
		t.Errorf("%d rows", got)
	}
	if got := strings.Count(page, "["+fmt.Sprint(start.Unix())+","); got > maxChanges {
		t.Errorf("%d changes", got)
	}
	t.Logf("the largest of these reports has %d bytes", len(page))
	for i := range before {
		if before[i].From.Name != r.Edges[i].From.Name {
			t.Fatal("Write reordered the edges of its caller")
		}
	}
}

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"shop/web": "shop/web", "日本語 пример": "日本語 пример", "a\x1b[31mb": `a\x1b[31mb`, "a\u202eb": `a\u202eb`, "a\u200bb": `a\u200bb`, "\u2028": `\u2028`,
		"\xff\xfe": `\xff\xfe`, "\ufffd": "\ufffd", "a\u0301": "a\u0301", "a\u0301\u0301\u0301": "a\u0301\u0301" + `\u0301`, "\u3164": `\u3164`, "\u00a0": `\u00a0`,
		"\U000e0041": `\U000e0041`, "a\nb\tc": `a\x0ab\x09c`, "\u2800": `\u2800`, "\ufe0f": `\ufe0f`, `\x1b`: `\x1b`, "abcdefghijklmnopqrstuvwxyz": "abcdefghijklmnopqrst…",
	} {
		if got := visible(in, 20); got != want {
			t.Errorf("visible(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestCharts: the bundle ends no script element, loads nothing, and carries its licenses.
func TestCharts(t *testing.T) {
	for _, text := range []string{charts, script} {
		if strings.Contains(strings.ToLower(text), "</script") || strings.Contains(text, "<!--") {
			t.Error("the script would end its element")
		}
		if m := regexp.MustCompile(`\beval\(|new Function|importScripts|XMLHttpRequest|\bfetch\(|WebSocket|sendBeacon|localStorage`).FindString(text); m != "" {
			t.Errorf("the script has %s", m)
		}
	}
	header, code, _ := strings.Cut(charts, "*/")
	for _, want := range []string{"Apache ECharts", "The Apache Software Foundation", "apache.org/licenses/LICENSE-2.0", "Baidu", "Mike Bostock", "Microsoft", "Thomas Fuchs", "Marco Ziccardi", "Tween.js authors"} {
		if !strings.Contains(header, want) {
			t.Errorf("the licenses lack %s", want)
		}
	}
	if strings.ContainsFunc(code, func(r rune) bool { return r > 0x7e }) {
		t.Error("the code is not ASCII")
	}
	for _, text := range []string{script, strings.Join(regexp.MustCompile(`(?s)<script>.*?</script>`).Split(pageText, -1), "")} {
		if m := regexp.MustCompile(`innerHTML|insertAdjacentHTML|document\.write| on[a-z]+="| style="`).FindString(text); m != "" {
			t.Errorf("the page has %s", m)
		}
	}
}

// TestChartsAreReproducible: bundle/build.sh writes the bytes of charts.min.js again.
func TestChartsAreReproducible(t *testing.T) {
	build(t, "-check")
}

// build runs bundle/build.sh.
func build(t *testing.T, arg string) {
	t.Helper()
	if _, err := exec.LookPath("npm"); err != nil {
		skipOrFail(t, "%v (on Debian: apt-get install npm, or tools/setup.sh test)", err)
	}
	out, err := exec.Command("bundle/build.sh", arg).CombinedOutput()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && bytes.Contains(out, []byte("npm error")) {
		skipOrFail(t, "the packages of bundle/package-lock.json cannot be installed: %s", out)
	}
	if err != nil {
		t.Fatalf("bundle/build.sh %s: %v: %s", arg, err, out)
	}
}

// TestUnreported: a page without findings does not say that no rule was broken: the records may lack the findings.
func TestUnreported(t *testing.T) {
	e := topology.Edge{From: deployment("a", "a"), To: deployment("b", "b"), Port: 1, Scope: "wire", Class: "workload", Verdict: "plaintext", Connections: record.ByVerdict{Plaintext: 1}}
	if page := render(t, &Report{Edges: []topology.Edge{e}}); !strings.Contains(page, "There are no findings in the records, although connections carried plaintext.") {
		t.Error("the missing findings are not named")
	}
	e.Verdict, e.Connections = "mtls", record.ByVerdict{MTLS: 1}
	if page := render(t, &Report{Edges: []topology.Edge{e}}); !strings.Contains(page, "There are no findings in the records. That does not mean that no rule was broken") {
		t.Error("it looks fine beside mutual TLS")
	}
}
