// Package pcapfile reads packets from pcap and pcapng files, which may be compressed with gzip. Files are hostile
// input: memory does not grow with the number of blocks, interfaces or options of a file, nor with a length that it
// claims.
//
// Order of use: [NewReader] reads the header; [Reader.Next] returns packets until io.EOF; [Reader.Skipped] reports
// skipped contents. [Reader.NextBuffered] is faster for packets that are already in the buffer. [Sniff] distinguishes
// captures from other files.
//
// The package strips headers of link types that internal/flow does not decode (link_types.go). Such packets start with
// their IP or Ethernet header.
package pcapfile
