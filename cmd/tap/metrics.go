package main

import (
	"io"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/limits"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
)

// metrics writes all metrics. Metrics of the process have the names that Prometheus uses. All other
// names start with meshtls_tap_. Names of counters end in _total.
func (t *tap) metrics(w io.Writer) {
	e := &exposition{w, "meshtls_tap_"}
	e.family("build_info", "gauge")
	e.sample("build_info", 1, "version", version)
	e.gauge("unusable_settings", float64(len(t.settingErrors)))
	e.gauge("start_time_seconds", float64(t.started.UnixMilli())/1000)
	t.ringMetrics(e)
	t.tableMetrics(e)
	t.sinkMetrics(e)
	processMetrics(&exposition{w, ""})
}

func (t *tap) ringMetrics(e *exposition) {
	packets, drops, freezes, changes := map[string]uint64{}, map[string]uint64{}, map[string]uint64{}, map[string]uint64{}
	thinned := 0
	t.capturingMetrics(e)
	for _, i := range t.live.Interfaces() {
		s := i.Stats()
		packets[i.Name()], drops[i.Name()], freezes[i.Name()] = s.Packets, s.Drops, s.Freezes
		n, c := i.Thinning()
		thinned, changes[i.Name()] = thinned+n, c
	}

	var uncaptured []string
	t.pipeline.Do(func(*pipeline.Locked) { uncaptured = t.live.Uncaptured() })
	e.family("uncaptured", "gauge")
	for _, name := range uncaptured {
		e.sample("uncaptured", 1, "interface", name)
	}
	e.family("unfiltered", "gauge")
	for _, i := range t.live.Interfaces() {
		e.sample("unfiltered", oneIf(i.IsUnfiltered()), "interface", i.Name())
	}

	e.counters("ring_packets_total", "interface", packets)
	e.counters("ring_dropped_packets_total", "interface", drops)

	tcp := map[string]uint64{}
	for _, i := range t.live.Interfaces() {
		s, _ := i.RingStats()
		tcp[i.Name()] = s.Drops
	}
	e.counters("ring_dropped_tcp_packets_total", "interface", tcp)

	e.counters("ring_freezes_total", "interface", freezes)
	e.counters("filter_changes_total", "interface", changes)
	e.gauge("thinned_connections", float64(thinned))
	e.gauge("ring_bytes", float64(t.limits.Ring))
}

// capturingMetrics writes a sample for each interface that should be captured: 1 if it is captured, else 0. While
// nothing should be captured there are no such samples, so no alert is raised. The metric idle then has the reason.
func (t *tap) capturingMetrics(e *exposition) {
	reason := t.idling.Load()
	e.family("idle", "gauge")
	if reason != nil {
		e.sample("idle", 1, "reason", *reason)
	}
	e.family("capturing", "gauge")
	if reason != nil {
		return
	}
	for _, s := range t.live.States() {
		e.sample("capturing", oneIf(s.Captured), "interface", s.Name)
	}
}

func (t *tap) tableMetrics(e *exposition) {
	all := t.pipeline.Stats()
	s := &all.Table
	if t.limits.Group > 0 {
		e.gauge("memory_limit_bytes", float64(t.limits.Group))
	}
	e.gauge("connections", float64(s.Active))
	e.gauge("max_connections", float64(t.limits.Connections))
	e.gauge("pending_bytes", float64(all.Pending))
	e.gauge("max_pending_bytes", float64(t.limits.Pending))
	e.gauge("conclusion_bytes", float64(all.Conclusions))
	e.gauge("max_conclusion_bytes", float64(t.limits.Conclusions))
	e.gauge("older_connections", float64(t.live.Older()))
	e.counter("connections_total", s.Created)
	e.counter("evicted_connections_total", s.Evicted)
	e.counter("shed_connections_total", s.Shed)
	e.counter("own_connections_total", s.Excluded)
	e.counter("redirected_connections_total", s.Redirected)
	e.counter("refused_packets_total", s.Refused)
	e.counter("foreign_packets_total", s.Foreign)
	e.counter("bad_checksum_packets_total", s.BadChecksums)
	e.counter("unverified_checksum_packets_total", s.UnverifiedChecksums)
	e.counter("unacceptable_segments_total", s.Unacceptable)
	e.counter("unanswered_packets_total", all.Unanswered)
	e.counter("unread_packets_total", all.Unread)
	e.counter("dissector_failures_total", all.DissectorFailures)
	e.counter("internal_faults_total", all.Panics)
	e.counter("packets_total", s.Packets)

	undecoded := map[string]uint64{}
	for r, n := range s.Undecoded {
		if n > 0 {
			undecoded[flow.Reason(r).String()] = n
		}
	}

	e.counters("undecoded_packets_total", "reason", undecoded)
	e.counter("reassembled_datagrams_total", s.Reassembled)
	e.counter("gap_bytes_total", s.GapBytes)
	e.counter("cut_bytes_total", s.TruncatedBytes)
	e.counter("thinned_bytes_total", s.ThinnedBytes)
	e.counter("streams_cut_short_total", s.BufferFull)
	e.counter("conflicting_segments_total", s.Conflicts)
	e.gauge("buffered_bytes", float64(s.Buffered))
}

func (t *tap) sinkMetrics(e *exposition) {
	s := t.publisher.Status()
	e.gauge("sink_ok", oneIf(s.OK))
	e.gauge("sink_down", oneIf(s.Down))
	e.family("sink_fault", "gauge")
	if s.ErrorClass != "" {
		e.sample("sink_fault", 1, "class", s.ErrorClass)
	}
	e.gauge("sink_state_seconds", time.Since(s.Since).Seconds())
	e.gauge("sink_queued_records", float64(s.Queued))
	e.gauge("sink_queued_bytes", float64(s.QueuedBytes))
	e.gauge("sink_spooled_records", float64(s.Spooled))
	e.gauge("sink_spool_bytes", float64(s.SpoolBytes))
	e.counter("sink_recovered_records_total", uint64(s.Recovered))
	e.counter("sink_spool_removals_total", s.SpoolRemovals)
	e.family("sink_throttled_seconds_total", "counter")
	e.sample("sink_throttled_seconds_total", s.Throttled.Seconds())
	e.counter("sink_retries_total", s.Retries)
	e.counters("sink_delivered_records_total", "dataset", s.Delivered)
	e.counters("sink_dropped_records_total", "dataset", s.Dropped)
	e.counters("sink_drop_reasons_total", "reason", s.Reasons)
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// processMetrics writes metrics of the process, under the names that Prometheus' own collectors use.
func processMetrics(e *exposition) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	e.gauge("go_goroutines", float64(runtime.NumGoroutine()))
	e.gauge("go_memstats_heap_inuse_bytes", float64(m.HeapInuse-uint64(limits.Ballast())))
	e.gauge("go_memstats_sys_bytes", float64(m.Sys))
	e.counter("go_gc_cycles_total", uint64(m.NumGC))
	e.gauge("go_gc_gomemlimit_bytes", float64(debug.SetMemoryLimit(-1)-int64(limits.Ballast()))) // a negative argument only reads the limit
	if cpu, ok := cpuTime(); ok {
		e.family("process_cpu_seconds_total", "counter")
		e.sample("process_cpu_seconds_total", cpu.Seconds())
	}
	if rss, ok := residentMemory(); ok {
		e.gauge("process_resident_memory_bytes", float64(rss))
	}
}
