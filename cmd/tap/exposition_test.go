package main

import (
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
