// Package pcapfile reads packets from pcap and pcapng files, also compressed by gzip. Files are hostile input: memory does not grow with
// the number of blocks, interfaces or options of a file, nor with a length that it claims.
//
// Order of use: [NewReader] reads the header; [Reader.Next] returns packets until io.EOF; [Reader.Skipped] reports what was left out.
// [Reader.NextBuffered] is faster for packets that are in the buffer already. [Sniff] tells captures from other files.
//
// Link layers that internal/flow does not decode are skipped, so that packets begin with IP or Ethernet (link_types.go).
package pcapfile
