// Package pcapfile reads packets from pcap and pcapng files, also if compressed with gzip. Files are hostile input:
// memory does not grow with the number of blocks, interfaces or options of a file, nor with a length that it claims.
//
// Order of use: [NewReader] reads the header; [Reader.Next] returns packets until io.EOF; [Reader.Skipped] reports
// skipped contents. [Reader.NextBuffered] is faster for packets that are already in the buffer. [Sniff] distinguishes
// captures from other files.
//
// Headers of link types that internal/flow does not decode are skipped, so that packets start with IP or Ethernet
// (link_types.go).
package pcapfile
