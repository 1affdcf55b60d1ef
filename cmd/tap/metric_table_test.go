package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// TestMetricTable: /metrics has exactly the metrics of the table, in its order, with its kinds and labels.
func TestMetricTable(t *testing.T) {
	tap := tapOn(t, "eth0,lo")
	tap.limits.Group = 1 << 30
	reason := "until"
	tap.idling.Store(&reason)
	var b strings.Builder
	tap.metrics(&b)

	var got, want []string
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (.*)$`).FindAllStringSubmatch(b.String(), -1) {
		got = append(got, m[1])
	}
	for _, m := range metricTable {
		if !strings.HasPrefix(m.name, "process_") || runtime.GOOS == "linux" { // other systems have fewer metrics of the process
			want = append(want, m.name+" "+m.kind)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("/metrics has\n%q\nand the table has\n%q", got, want)
	}

	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range families {
		if f.GetHelp() != metricsByName[name].help {
			t.Errorf("%s: HELP %q, and the table has %q", name, f.GetHelp(), metricsByName[name].help)
		}
		for _, sample := range f.GetMetric() {
			if labels := sample.GetLabel(); len(labels) > 1 || len(labels) == 1 != (metricsByName[name].label != "") {
				t.Errorf("%s has the labels %v, and the table has %q", name, labels, metricsByName[name].label)
			}
		}
	}
}

// TestMetricsAreDescribed: names of counters, and no others, end in _total, and every metric has a sentence.
func TestMetricsAreDescribed(t *testing.T) {
	for _, m := range metricTable {
		if strings.HasSuffix(m.name, "_total") != (m.kind == counter) || m.kind != counter && m.kind != gauge {
			t.Errorf("%s is a %s", m.name, m.kind)
		}
		if !strings.HasSuffix(m.help, ".") || strings.ContainsAny(m.help, "|\\\n") {
			t.Errorf("%s: %q is not a sentence without |, backslash and line end", m.name, m.help)
		}
	}
	if len(metricsByName) != len(metricTable) {
		t.Errorf("%d metrics have %d names", len(metricTable), len(metricsByName))
	}
}

// TestMetricsDocument: docs/metrics.md has the table of metrics. -update rewrites it.
func TestMetricsDocument(t *testing.T) {
	file := filepath.Join("..", "..", "docs", "metrics.md")
	const begin, end = "\n## The tap\n", "\n## The webhook\n"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s lacks the headings %q and %q", file, begin, end)
	}
	want := head + begin + "\n" + metricRows() + end + tail
	if want == string(text) {
		return
	}
	if !*update {
		t.Fatalf("%s differs from metricTable: go test ./cmd/tap -run '^TestMetricsDocument$' -update", file)
	}
	if err := os.WriteFile(file, []byte(want), 0o644); err != nil { //nolint:gosec // a document
		t.Fatal(err)
	}
}

// metricRows returns the table of docs/metrics.md.
func metricRows() string {
	var b strings.Builder
	b.WriteString("| metric | kind | label | meaning |\n|---|---|---|---|\n")
	for _, m := range metricTable {
		label := ""
		if m.label != "" {
			label = "`" + m.label + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.name, m.kind, label, m.help)
	}
	return b.String()
}
