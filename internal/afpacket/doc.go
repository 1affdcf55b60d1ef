// Package afpacket captures the packets of one Linux network interface through a ring that it shares with the kernel (TPACKET_V3: packet(7),
// and packet_mmap in the kernel's networking documentation). Packets are passed on block by block, without a copy.
//
// Order of use:
//
//   - [Link] returns the link type of an interface, for which a filter must be compiled.
//   - [Open] starts the capture. The filter is effective before the first packet can arrive, because the socket is opened with protocol
//     0, which receives nothing, and is bound last.
//   - [Handle.Run] calls a function for each [Block]. The block and its packets are valid only during the call. Run is called once.
//   - [Handle.SetFilter] and [Handle.Stats] may be called meanwhile, from any goroutine.
//   - [Handle.Close] makes Run drain the ring and return. Then the totals of Stats are final.
//
// On other systems the package compiles, and Open returns an error that it needs Linux.
package afpacket
