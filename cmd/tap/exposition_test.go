package main

import (
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// testTable describes the metrics of the tests.
var testTable = byName([]metric{
	{"tap_connections", gauge, "", "Connections."},
	{"tap_share", gauge, "", "A share."},
	{"tap_packets_total", counter, "interface", "Packets."},
	{"tap_bytes_total", counter, "", "Bytes."},
	{"tap_info", gauge, "version", "1, with the version."},
})

// TestExposition: the text of gauges, counters and labels is the expected one.
func TestExposition(t *testing.T) {
	var b strings.Builder
	e := &exposition{&b, testTable}
	e.gauge("tap_connections", 12)
	e.gauge("tap_share", 0.25)
	e.counter("tap_bytes_total", 12345678901234)
	e.counters("tap_packets_total", map[string]uint64{"too \"large\"": 1, "full": 2})
	e.family("tap_info")
	e.sample("tap_info", 1, "v1")
	want := `# HELP tap_connections Connections.
# TYPE tap_connections gauge
tap_connections 12
# HELP tap_share A share.
# TYPE tap_share gauge
tap_share 0.25
# HELP tap_bytes_total Bytes.
# TYPE tap_bytes_total counter
tap_bytes_total 12345678901234
# HELP tap_packets_total Packets.
# TYPE tap_packets_total counter
tap_packets_total{interface="full"} 2
tap_packets_total{interface="too \"large\""} 1
# HELP tap_info 1, with the version.
# TYPE tap_info gauge
tap_info{version="v1"} 1
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

// TestExpositionParses: Prometheus' own parser accepts a page with odd label values, and reads the same values.
func TestExpositionParses(t *testing.T) {
	for value, want := range map[string]string{
		"eth0":               "eth0",
		"":                   "",
		"a\tb":               "a\tb",
		"a\x7fb\x00\x1b\r":   "a\x7fb\x00\x1b\r",
		"a\u00adb":           "a\u00adb",
		"a\u2028b\U0001f512": "a\u2028b\U0001f512",
		`a"b\c\n`:            `a"b\c\n`,
		"a\nb\n":             "a\nb\n",
		"a\xff\xfeb\xc3":     "a\ufffdb\ufffd",
		`{},="`:              `{},="`,
	} {
		if got := parsed(t, value); got != want {
			t.Errorf("%q became %q, want %q", value, got, want)
		}
	}
}

// FuzzExposition: for any label value, Prometheus' parser reads the value that was written.
func FuzzExposition(f *testing.F) {
	f.Add("eth0")
	f.Add("a\tb\\\"\n\u00ad\xff")
	f.Fuzz(func(t *testing.T, value string) {
		if got, want := parsed(t, value), strings.ToValidUTF8(value, "\ufffd"); got != want {
			t.Errorf("%q became %q, want %q", value, got, want)
		}
	})
}

// parsed returns the label value that Prometheus' parser reads from a page with the given value.
func parsed(t *testing.T, value string) string {
	t.Helper()
	var b strings.Builder
	e := &exposition{&b, testTable}
	e.counters("tap_packets_total", map[string]uint64{value: 12})
	e.gauge("tap_share", 1)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(b.String()))
	if err != nil {
		t.Fatalf("%q: %v in\n%s", value, err, b.String())
	}
	metrics := families["tap_packets_total"].GetMetric()
	if len(families) != 2 || len(metrics) != 1 || metrics[0].GetCounter().GetValue() != 12 {
		t.Fatalf("%q became %v", value, families)
	}
	return metrics[0].GetLabel()[0].GetValue()
}

// tapOn returns a tap for these interfaces that has not started.
func tapOn(t *testing.T, interfaces string) *tap {
	t.Helper()
	s, err := readEnvironment([]string{"TAP_INTERFACES=" + interfaces})
	if err != nil {
		t.Fatal(err)
	}
	x, err := newTap(s, streams{err: io.Discard, out: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// TestMetricsPage: Prometheus accepts the whole page of a tap, even with odd names of interfaces.
func TestMetricsPage(t *testing.T) {
	tap := tapOn(t, "eth0,e\tth,e\u00adth,e\x7fth,e\xffth")
	var b strings.Builder
	tap.metrics(&b)
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(b.String()))
	if err != nil {
		t.Fatalf("%v in\n%s", err, &b)
	}
	if got := len(families["meshtls_tap_unfiltered"].GetMetric()); got != 5 {
		t.Errorf("%d interfaces, want 5:\n%s", got, &b)
	}
}

// TestCapturingMetric: the metric is 0 for an interface that should be captured and is not. While nothing should be captured
// there is no such sample, so no alert is raised.
func TestCapturingMetric(t *testing.T) {
	tap := tapOn(t, "eth0,lo")
	samples := func() string {
		var b strings.Builder
		tap.metrics(&b)
		return strings.Join(regexp.MustCompile(`(?m)^meshtls_tap_(?:capturing|idle)\{.*`).FindAllString(b.String(), -1), " ")
	}
	if got := samples(); got != `meshtls_tap_capturing{interface="eth0"} 0 meshtls_tap_capturing{interface="lo"} 0` {
		t.Errorf("no interface is open: %s", got)
	}
	reason := "until"
	tap.idling.Store(&reason)
	if got := samples(); got != `meshtls_tap_idle{reason="until"} 1` {
		t.Errorf("ended on purpose: %s", got)
	}
}
