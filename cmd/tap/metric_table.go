package main

// metric describes one metric of /metrics. docs/metrics.md is generated from the table of metrics.
type metric struct {
	name  string
	kind  string // counter or gauge, as in a TYPE line
	label string // the only label, or "" if the metric has none
	help  string // one sentence, without "|", backslashes and line ends
}

const (
	counter = "counter"
	gauge   = "gauge"
)

// metricTable lists all metrics, in the order of /metrics. Metrics of the process have the names that Prometheus uses. All
// other names start with meshtls_tap_. Names of counters end in _total.
var metricTable = []metric{
	{"meshtls_tap_build_info", gauge, "version", "1, with the version of the tap."},
	{"meshtls_tap_unusable_settings", gauge, "", "Number of settings with an invalid value. The log and /readyz name them."},
	{"meshtls_tap_start_time_seconds", gauge, "", "Time at which the tap started, in seconds since 1970."},

	{"meshtls_tap_idle", gauge, "reason", "1 while the tap captures nothing on purpose, with the reason: until or disabled."},
	{"meshtls_tap_capturing", gauge, "interface", "1 if this interface is captured, 0 if it should be and is not. Absent while the tap is idle."},
	{"meshtls_tap_uncaptured", gauge, "interface", "1 for each interface that is up and not captured."},
	{"meshtls_tap_unfiltered", gauge, "interface", "1 if the kernel had no memory for the capture filter, so that the tap itself applies it."},
	{"meshtls_tap_ring_packets_total", counter, "interface", "Packets that passed the filter, including dropped ones."},
	{"meshtls_tap_ring_dropped_packets_total", counter, "interface", "Packets that the kernel dropped because a ring was full."},
	{"meshtls_tap_ring_dropped_tcp_packets_total", counter, "interface", "Packets counted in ring_dropped_packets that were dropped by the ring of TCP."},
	{"meshtls_tap_ring_freezes_total", counter, "interface", "How often a ring was full."},
	{"meshtls_tap_filter_changes_total", counter, "interface", "How often the kernel's filter was changed to thin other connections (TAP_THIN)."},
	{"meshtls_tap_thinned_connections", gauge, "", "Connections of which the kernel now leaves out most packets. A redirected connection counts twice."},
	{"meshtls_tap_ring_bytes", gauge, "", "Kernel memory for the rings of one interface, in bytes."},

	{"meshtls_tap_memory_limit_bytes", gauge, "", "Memory limit from which all limits of the tap follow, in bytes. Absent if there is none."},
	{"meshtls_tap_connections", gauge, "", "Connections that are now in the table."},
	{"meshtls_tap_max_connections", gauge, "", "Largest number of connections in the table."},
	{"meshtls_tap_pending_bytes", gauge, "", "Memory of sessions whose verdict has not settled, an upper estimate in bytes."},
	{"meshtls_tap_max_pending_bytes", gauge, "", "Limit of pending_bytes."},
	{"meshtls_tap_conclusion_bytes", gauge, "", "Memory of conclusions, which replace the sessions of judged connections, in bytes."},
	{"meshtls_tap_max_conclusion_bytes", gauge, "", "Limit of conclusion_bytes."},
	{"meshtls_tap_older_connections", gauge, "", "TCP connections that were established before the capture began."},
	{"meshtls_tap_connections_total", counter, "", "Connections that were seen."},
	{"meshtls_tap_evicted_connections_total", counter, "", "Connections that were removed to make room for others."},
	{"meshtls_tap_shed_connections_total", counter, "", "Connections counted in evicted_connections that were removed because pending_bytes or conclusion_bytes was at its limit."},
	{"meshtls_tap_own_connections_total", counter, "", "Connections of the tap itself, which are excluded."},
	{"meshtls_tap_redirected_connections_total", counter, "", "Connections on a loopback interface that were paired from two faces, because a mesh redirects them."},
	{"meshtls_tap_refused_packets_total", counter, "", "Forged packets: they arrived from an address of the pod, or carry TCP to a group or to all hosts."},
	{"meshtls_tap_foreign_packets_total", counter, "", "Packets between other hosts, which are ignored unless TAP_FORWARDED is true."},
	{"meshtls_tap_bad_checksum_packets_total", counter, "", "Packets with a wrong checksum, which their receiver drops. They are ignored."},
	{"meshtls_tap_unverified_checksum_packets_total", counter, "", "Packets with a wrong checksum that were examined, because their receiver accepts them."},
	{"meshtls_tap_unacceptable_segments_total", counter, "", "TCP segments that their receiver drops because of their numbers. They are ignored."},
	{"meshtls_tap_unanswered_packets_total", counter, "", "QUIC Initial packets that were not read at once because nobody had answered them."},
	{"meshtls_tap_unread_packets_total", counter, "", "Packets counted in unanswered_packets that were never read."},
	{"meshtls_tap_dissector_failures_total", counter, "", "Connections that are unknown because a parser failed on their bytes: please report this."},
	{"meshtls_tap_internal_faults_total", counter, "", "Failures outside of the parsers, each of which emptied the table of connections: please report this."},
	{"meshtls_tap_packets_total", counter, "", "Packets that were examined."},
	{"meshtls_tap_undecoded_packets_total", counter, "reason", "Packets that belong to no connection that the tap can judge, by cause: truncated, malformed, later_fragment, other_transport, other_network or unknown_link."},
	{"meshtls_tap_reassembled_datagrams_total", counter, "", "IP datagrams that were reassembled from fragments."},
	{"meshtls_tap_gap_bytes_total", counter, "", "Bytes of streams that were on the wire and not captured."},
	{"meshtls_tap_cut_bytes_total", counter, "", "Bytes that are missing because the filter truncated their packet."},
	{"meshtls_tap_thinned_bytes_total", counter, "", "Bytes of thinned connections that the kernel left out."},
	{"meshtls_tap_streams_cut_short_total", counter, "", "How often an out-of-order buffer was full, so that a gap was skipped or buffered bytes were dropped."},
	{"meshtls_tap_conflicting_segments_total", counter, "", "Segments that contradict earlier ones."},
	{"meshtls_tap_buffered_bytes", gauge, "", "Memory of the out-of-order buffers, in bytes."},

	{"meshtls_tap_sink_ok", gauge, "", "1 if the last attempt to deliver records succeeded."},
	{"meshtls_tap_sink_down", gauge, "", "1 if no broker could be reached at the last attempt."},
	{"meshtls_tap_sink_fault", gauge, "class", "1 if the last attempt failed, with the kind of error: connection, name, advertised, timeout, closed, tls, login, file, topic, authorization, broker, quota, output or other."},
	{"meshtls_tap_sink_state_seconds", gauge, "", "Time since sink_ok or the reason of a failure last changed, in seconds."},
	{"meshtls_tap_sink_queued_records", gauge, "", "Records that are neither delivered nor dropped."},
	{"meshtls_tap_sink_queued_bytes", gauge, "", "Memory of the queue, in bytes."},
	{"meshtls_tap_sink_spooled_records", gauge, "", "Records counted in sink_queued_records that are on disk (TAP_SPOOL_DIR)."},
	{"meshtls_tap_sink_spool_bytes", gauge, "", "Size of the spool's files, in bytes."},
	{"meshtls_tap_sink_recovered_records_total", counter, "", "Records that an earlier run left in the spool."},
	{"meshtls_tap_sink_spool_removals_total", counter, "", "How often the spool's folder or a file in it was removed by others."},
	{"meshtls_tap_sink_throttled_seconds_total", counter, "", "Time for which the brokers' quotas have made the tap wait, in seconds."},
	{"meshtls_tap_sink_retries_total", counter, "", "Attempts to deliver that failed. Each is repeated."},
	{"meshtls_tap_sink_delivered_records_total", counter, "dataset", "Records that were delivered, by event.dataset."},
	{"meshtls_tap_sink_dropped_records_total", counter, "dataset", "Records that were dropped, by event.dataset."},
	{"meshtls_tap_sink_drop_reasons_total", counter, "reason", "The same records by reason: queue_full, spool_full, spool_damaged, too_large, closed, bad_dataset, bad_time or rejected."},

	{"meshtls_tap_evidence_files", gauge, "", "Files of evidence in TAP_EVIDENCE_DIR."},
	{"meshtls_tap_evidence_packet_bytes", gauge, "", "Memory of the packets that are stored for evidence, in bytes."},
	{"meshtls_tap_max_evidence_packet_bytes", gauge, "", "Limit of evidence_packet_bytes; 0 if no evidence is stored."},
	{"meshtls_tap_evidence_written_total", counter, "", "Files of evidence that were written."},
	{"meshtls_tap_evidence_failed_total", counter, "", "Files of evidence that could not be written. Their findings name them nevertheless."},
	{"meshtls_tap_evidence_dropped_total", counter, "", "Files of evidence that were not written because too many waited for the disk. Their findings name none."},

	{"go_goroutines", gauge, "", "Goroutines."},
	{"go_memstats_heap_inuse_bytes", gauge, "", "Memory of the heap in use, in bytes."},
	{"go_memstats_sys_bytes", gauge, "", "Memory that the Go runtime obtained from the system, in bytes."},
	{"go_gc_cycles_total", counter, "", "Garbage collections."},
	{"go_gc_gomemlimit_bytes", gauge, "", "Size of memory from which garbage is collected more often (GOMEMLIMIT), in bytes."},
	{"process_cpu_seconds_total", counter, "", "CPU time, user and system, in seconds."},
	{"process_resident_memory_bytes", gauge, "", "Resident memory, in bytes."},
}

// metricsByName is metricTable by name.
var metricsByName = byName(metricTable)

func byName(table []metric) map[string]metric {
	names := make(map[string]metric, len(table))
	for _, m := range table {
		names[m.name] = m
	}
	return names
}
