package main

import (
	"io"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/evidence"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/limits"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
)

// metrics writes all metrics, which metricTable describes.
func (t *tap) metrics(w io.Writer) {
	e := &exposition{w, metricsByName}
	e.family("meshtls_tap_build_info")
	e.sample("meshtls_tap_build_info", 1, version)
	e.gauge("meshtls_tap_unusable_settings", float64(len(t.settingErrors)))
	e.gauge("meshtls_tap_start_time_seconds", float64(t.started.UnixMilli())/1000)
	t.ringMetrics(e)
	t.tableMetrics(e)
	t.sinkMetrics(e)
	t.evidenceMetrics(e)
	processMetrics(e)
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
	e.family("meshtls_tap_uncaptured")
	for _, name := range uncaptured {
		e.sample("meshtls_tap_uncaptured", 1, name)
	}
	e.family("meshtls_tap_unfiltered")
	for _, i := range t.live.Interfaces() {
		e.sample("meshtls_tap_unfiltered", oneIf(i.IsUnfiltered()), i.Name())
	}

	e.counters("meshtls_tap_ring_packets_total", packets)
	e.counters("meshtls_tap_ring_dropped_packets_total", drops)

	tcp := map[string]uint64{}
	for _, i := range t.live.Interfaces() {
		s, _ := i.RingStats()
		tcp[i.Name()] = s.Drops
	}
	e.counters("meshtls_tap_ring_dropped_tcp_packets_total", tcp)

	e.counters("meshtls_tap_ring_freezes_total", freezes)
	e.counters("meshtls_tap_filter_changes_total", changes)
	e.gauge("meshtls_tap_thinned_connections", float64(thinned))
	e.gauge("meshtls_tap_ring_bytes", float64(t.limits.Ring))
}

// capturingMetrics writes a sample for each interface that should be captured: 1 if it is captured, else 0. While
// nothing should be captured there are no such samples, so no alert is raised. The metric idle then has the reason.
func (t *tap) capturingMetrics(e *exposition) {
	reason := t.idling.Load()
	e.family("meshtls_tap_idle")
	if reason != nil {
		e.sample("meshtls_tap_idle", 1, *reason)
	}
	e.family("meshtls_tap_capturing")
	if reason != nil {
		return
	}
	for _, s := range t.live.States() {
		e.sample("meshtls_tap_capturing", oneIf(s.Captured), s.Name)
	}
}

func (t *tap) tableMetrics(e *exposition) {
	all := t.pipeline.Stats()
	s := &all.Table
	if t.limits.Group > 0 {
		e.gauge("meshtls_tap_memory_limit_bytes", float64(t.limits.Group))
	}
	e.gauge("meshtls_tap_connections", float64(s.Active))
	e.gauge("meshtls_tap_max_connections", float64(t.limits.Connections))
	e.gauge("meshtls_tap_pending_bytes", float64(all.Pending))
	e.gauge("meshtls_tap_max_pending_bytes", float64(t.limits.Pending))
	e.gauge("meshtls_tap_conclusion_bytes", float64(all.Conclusions))
	e.gauge("meshtls_tap_max_conclusion_bytes", float64(t.limits.Conclusions))
	e.gauge("meshtls_tap_older_connections", float64(t.live.Older()))
	e.counter("meshtls_tap_connections_total", s.Created)
	e.counter("meshtls_tap_evicted_connections_total", s.Evicted)
	e.counter("meshtls_tap_shed_connections_total", s.Shed)
	e.counter("meshtls_tap_own_connections_total", s.Excluded)
	e.counter("meshtls_tap_redirected_connections_total", s.Redirected)
	e.counter("meshtls_tap_refused_packets_total", s.Refused)
	e.counter("meshtls_tap_foreign_packets_total", s.Foreign)
	e.counter("meshtls_tap_bad_checksum_packets_total", s.BadChecksums)
	e.counter("meshtls_tap_unverified_checksum_packets_total", s.UnverifiedChecksums)
	e.counter("meshtls_tap_unacceptable_segments_total", s.Unacceptable)
	e.counter("meshtls_tap_unanswered_packets_total", all.Unanswered)
	e.counter("meshtls_tap_unread_packets_total", all.Unread)
	e.counter("meshtls_tap_dissector_failures_total", all.DissectorFailures)
	e.counter("meshtls_tap_internal_faults_total", all.Panics)
	e.counter("meshtls_tap_packets_total", s.Packets)

	undecoded := map[string]uint64{}
	for r, n := range s.Undecoded {
		if n > 0 {
			undecoded[flow.Reason(r).String()] = n
		}
	}

	e.counters("meshtls_tap_undecoded_packets_total", undecoded)
	e.counter("meshtls_tap_reassembled_datagrams_total", s.Reassembled)
	e.counter("meshtls_tap_gap_bytes_total", s.GapBytes)
	e.counter("meshtls_tap_cut_bytes_total", s.TruncatedBytes)
	e.counter("meshtls_tap_thinned_bytes_total", s.ThinnedBytes)
	e.counter("meshtls_tap_streams_cut_short_total", s.BufferFull)
	e.counter("meshtls_tap_conflicting_segments_total", s.Conflicts)
	e.gauge("meshtls_tap_buffered_bytes", float64(s.Buffered))
}

func (t *tap) sinkMetrics(e *exposition) {
	s := t.publisher.Status()
	e.gauge("meshtls_tap_sink_ok", oneIf(s.OK))
	e.gauge("meshtls_tap_sink_down", oneIf(s.Down))
	e.family("meshtls_tap_sink_fault")
	if s.ErrorClass != "" {
		e.sample("meshtls_tap_sink_fault", 1, s.ErrorClass)
	}
	e.gauge("meshtls_tap_sink_state_seconds", time.Since(s.Since).Seconds())
	e.gauge("meshtls_tap_sink_queued_records", float64(s.Queued))
	e.gauge("meshtls_tap_sink_queued_bytes", float64(s.QueuedBytes))
	e.gauge("meshtls_tap_sink_spooled_records", float64(s.Spooled))
	e.gauge("meshtls_tap_sink_spool_bytes", float64(s.SpoolBytes))
	e.counter("meshtls_tap_sink_recovered_records_total", uint64(s.Recovered))
	e.counter("meshtls_tap_sink_spool_removals_total", s.SpoolRemovals)
	e.family("meshtls_tap_sink_throttled_seconds_total")
	e.sample("meshtls_tap_sink_throttled_seconds_total", s.Throttled.Seconds())
	e.counter("meshtls_tap_sink_retries_total", s.Retries)
	e.counters("meshtls_tap_sink_delivered_records_total", s.Delivered)
	e.counters("meshtls_tap_sink_dropped_records_total", s.Dropped)
	e.counters("meshtls_tap_sink_drop_reasons_total", s.Reasons)
}

func (t *tap) evidenceMetrics(e *exposition) {
	var s evidence.StoreStats
	used := 0
	if t.evidence != nil {
		t.pipeline.Do(func(*pipeline.Locked) { used = t.evidence.recorder.BytesInUse() })
		if t.evidence.store != nil {
			s = t.evidence.store.Stats()
		}
	}
	e.gauge("meshtls_tap_evidence_files", float64(s.Files))
	e.gauge("meshtls_tap_evidence_packet_bytes", float64(used))
	e.gauge("meshtls_tap_max_evidence_packet_bytes", float64(t.limits.Evidence))
	e.counter("meshtls_tap_evidence_written_total", s.Written)
	e.counter("meshtls_tap_evidence_failed_total", s.Failed)
	e.counter("meshtls_tap_evidence_dropped_total", s.Dropped)
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
		e.family("process_cpu_seconds_total")
		e.sample("process_cpu_seconds_total", cpu.Seconds())
	}
	if rss, ok := residentMemory(); ok {
		e.gauge("process_resident_memory_bytes", float64(rss))
	}
}
