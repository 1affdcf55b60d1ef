// Package offline reads records from files: those that a capture (pcap, pcapng) gives, and those that a tap wrote as JSON lines. Either may be
// compressed by gzip, zstd or lz4.
//
// Order of use: [Read] for each file. It keeps no state between files, so each capture is judged alone. A capture is judged as `tap read` does,
// without a limit on findings, and traffic within a pod, DNS and probes keep their edges.
package offline
