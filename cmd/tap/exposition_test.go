package main

import (
	"io"
	"regexp"
	"strings"
	"testing"
)

func TestExposition(t *testing.T) {
	var b strings.Builder
	e := &exposition{&b, "tap_"}
	e.gauge("connections", 12)
	e.gauge("share", 0.25)
	e.counter("packets_total", 12345678901234)
	e.counters("dropped_total", "reason", map[string]uint64{"too \"large\"": 1, "full": 2})
	e.family("info", "gauge")
	e.sample("info", 1, "version", "v1", "os", "linux")
	want := `# TYPE tap_connections gauge
tap_connections 12
# TYPE tap_share gauge
tap_share 0.25
# TYPE tap_packets_total counter
tap_packets_total 12345678901234
# TYPE tap_dropped_total counter
tap_dropped_total{reason="full"} 2
tap_dropped_total{reason="too \"large\""} 1
# TYPE tap_info gauge
tap_info{version="v1",os="linux"} 1
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

// TestCapturingMetric: an alert is for a tap that should capture and does not. A tap that was ended, or whose interface was
// deleted, has no sample of 0.
func TestCapturingMetric(t *testing.T) {
	s, err := readEnvironment([]string{"TAP_INTERFACES=eth0,lo"})
	if err != nil {
		t.Fatal(err)
	}
	tap, err := newTap(s, streams{err: io.Discard, out: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range tap.captures() {
		i.begin()
	}
	said := func() string {
		var b strings.Builder
		tap.metrics(&b)
		return strings.Join(regexp.MustCompile(`(?m)^meshtls_tap_(?:capturing|idle)\{.*`).FindAllString(b.String(), -1), " ")
	}
	tap.captures()[1].leave()
	if got := said(); got != `meshtls_tap_capturing{interface="eth0"} 0` {
		t.Errorf("blind on eth0, without lo: %s", got)
	}
	why := "until"
	tap.idling.Store(&why)
	if got := said(); got != `meshtls_tap_idle{reason="until"} 1` {
		t.Errorf("ended on purpose: %s", got)
	}
}
