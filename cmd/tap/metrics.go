package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// metrics writes all metrics in the Prometheus text format. Names begin with
// meshtls_tap_; counters end in _total.
func (t *tap) metrics(w io.Writer) {
	counter := func(name string, v uint64) { metrics.WriteCounterUint64(w, "meshtls_tap_"+name, v) }
	gauge := func(name string, v float64) { metrics.WriteGaugeFloat64(w, "meshtls_tap_"+name, v) }
	gauge(fmt.Sprintf("build_info{version=%q}", version), 1)
	gauge("start_time_seconds", float64(t.begun.UnixMilli())/1000)
	for _, i := range t.taps {
		s, up := i.stats(), 0.0
		if i.problem() == nil {
			up = 1
		}
		label := fmt.Sprintf("{interface=%q}", i.name)
		gauge("capturing"+label, up)
		counter("ring_packets_total"+label, s.Packets)
		counter("ring_dropped_packets_total"+label, s.Drops)
		counter("ring_freezes_total"+label, s.Freezes)
	}
	t.tableMetrics(counter, gauge)
	t.sinkMetrics(counter, gauge)
	metrics.WriteProcessMetrics(w)
}

func (t *tap) tableMetrics(counter func(string, uint64), gauge func(string, float64)) {
	t.pipeline.mu.Lock()
	s, failed := t.pipeline.table.Stats(), t.pipeline.failed
	t.pipeline.mu.Unlock()
	gauge("connections", float64(s.Active))
	gauge("older_connections", float64(t.older))
	counter("connections_total", s.Created)
	counter("evicted_connections_total", s.Evicted)
	counter("own_connections_total", s.Excluded)
	counter("redirected_connections_total", s.Redirected)
	counter("dissector_failures_total", failed)
	counter("packets_total", s.Packets)
	for r, n := range s.Undecoded {
		if n > 0 {
			counter(fmt.Sprintf("undecoded_packets_total{reason=%q}", flow.Reason(r)), n)
		}
	}
	counter("gap_bytes_total", s.GapBytes)
	counter("streams_cut_short_total", s.CutShort)
	counter("conflicting_segments_total", s.Conflicts)
	gauge("buffered_bytes", float64(s.Buffered))
}

func (t *tap) sinkMetrics(counter func(string, uint64), gauge func(string, float64)) {
	s := t.publisher.Status()
	ok := 0.0
	if s.OK {
		ok = 1
	}
	gauge("sink_ok", ok)
	gauge("sink_state_seconds", time.Since(s.Since).Seconds())
	gauge("sink_queued_records", float64(s.Queued))
	gauge("sink_queued_bytes", float64(s.QueuedBytes))
	counter("sink_retries_total", s.Retries)
	each := func(name, label string, of map[string]uint64) {
		for _, k := range slices.Sorted(maps.Keys(of)) {
			counter(fmt.Sprintf("%s{%s=%q}", name, label, k), of[k])
		}
	}
	each("sink_delivered_records_total", "dataset", s.Delivered)
	each("sink_dropped_records_total", "dataset", s.Dropped)
	each("sink_drop_reasons_total", "reason", s.Reasons)
}
