package pcapfilter

import "encoding/binary"

// What the default filter keeps of a packet.
const (
	// Most packets are no longer than this: they are kept whole, and what they hold is
	// not looked at.
	wholePacket = 2 << 10
	// A payload of which nothing is known may be the middle of a handshake: what receive
	// offload has put together of a certificate's later segments, with the application's
	// first bytes behind them; or the second and third of the three records in a row by
	// which the middle of a stream is known for TLS. So it is kept whole, unless it is
	// larger than anything near a handshake: a sender's initial window is ten segments
	// (RFC 6928), and thirty where somebody has tuned it.
	bulk = 48 << 10
	// Of bulk this is kept: the copy is what a tap costs its pod.
	headOfBulk = 1 << 10
	// Of bulk that begins like an HTTP message this is: header fields can be long.
	headOfHTTP = 16 << 10
	// Protected records are followed this far: over the two largest ones to the third
	// one's header, and no more of them than recordSteps. In the middle of a stream it
	// takes three in a row to know it for TLS.
	recordReach = 37 << 10
	recordSteps = 8
	// Of a datagram this is kept: answers of DNS are that long at times.
	headOfDatagram = 8 << 10
	// Of a record this is kept, its header included: enough to know it for one.
	headOfRecord = 64
)

// Words of memory of the default filter.
const (
	wordProto  = iota // IP protocol number
	wordEnd           // offset right behind the IP packet
	wordStart         // offset of the TCP payload
	wordRecord        // offset of the record that is looked at
	wordNext          // offset of the one behind it
)

// Default returns the tap's own program for a live interface of Ethernet or raw IP. For
// other link types it keeps every packet whole.
//
// Classic BPF has no state: what a packet is worth has to stand in the packet. So the
// program drops nothing at all. It cuts, and only where the dissectors do not
// look, so that all that internal/flow goes by (numbers, acknowledgements, flags, lengths)
// stays as it is without a filter: streams are in order, lost is what was lost, a pure
// acknowledgement that closes a hole arrives, and packets and bytes are counted as they
// were sent. A program that drops bulk or acknowledgements would make holes that nobody
// can tell from loss. What a connection that is judged goes on with is left out by a
// program of its own (Except).
//
// It cuts packets longer than 2 KiB, which come from segmentation and receive offload,
// from loopback and from jumbo frames; where there is none of these nothing is cut:
//   - a payload that begins with a record of a handshake, an alert or a ChangeCipherSpec
//     is kept whole: hellos, certificates, TLS 1.3 flights behind their ChangeCipherSpec;
//   - one that begins with a protected record is kept up to the header of its last record,
//     as far as 37 KiB: sizes are all that a protected record tells, and the TLS 1.3 rule
//     lives by those of the first ones of both sides. The next record's header, which
//     confirms a size, is within reach whatever the size;
//   - any other payload (the middle of a record, or cleartext) is kept whole up to 48 KiB,
//     and 1 KiB of a larger one, 16 KiB if it begins like an HTTP message: that is bulk,
//     64 KiB at a time on a veth pair.
//
// The one loss: a record layer that is followed through bulk which begins inside of a
// record loses its place there, until a payload begins with a header.
// Handshakes are over by then. What is cut within a protected record is no loss, since
// the next header's place is known (internal/dissect, Session.Cut).
//
// Measured (cmd/tap, TestDefaultFilterKeepsEveryVerdict): over generated connections of all
// kinds and sizes, segmented and put together in many ways, seen from the start or not,
// every verdict is the same with the filter and without, and so is every other byte of the
// record, but that of HTTP in the clear more may be read with it.
func Default(c Config) Program {
	g := &generator{cfg: c}
	if c.Snap == 0 {
		g.cfg.Snap = defaultSnap
	}
	whole := g.label()
	if c.Link == LinkEthernet || c.Link == LinkRaw {
		g.defaultFilter(whole)
	}
	g.place(whole)
	g.emit(classRET|retK, g.cfg.Snap)
	p, err := g.program()
	if err != nil { // it is always the same
		return Program{{Op: classRET | retK, K: g.cfg.Snap}}
	}
	return p
}

// defaultFilter writes the program. What jumps to whole keeps all of the packet. A packet
// that comes past the first test has more bytes than all headers together, so that no
// load of a header can end the program.
func (g *generator) defaultFilter(whole label) {
	long := g.label()
	g.emit(classLD|modeLEN, 0)
	g.jump(jmpJGT, wholePacket, long, whole)
	g.place(long)

	ip4, ip6, transport := g.label(), g.label(), g.label()
	g.findNetwork(ip4, ip6, whole)
	g.place(ip4)
	g.readIPv4(transport, whole)
	g.place(ip6)
	g.readIPv6(transport, whole)
	g.place(transport)
	g.checkEnd(whole)
	tcp := g.label()
	g.cutDatagram(tcp, whole)
	g.place(tcp)
	g.cutSegment(whole)
}

// findNetwork leaves the offset of the IP header in X. A live packet has a VLAN tag in
// its bytes only where it leaves by an interface that does not put it in by itself.
func (g *generator) findNetwork(ip4, ip6, whole label) {
	if g.cfg.Link == LinkRaw {
		notIP4 := g.label()
		g.emit(classLDX|modeIMM, 0)
		g.emit(classLD|modeIND|sizeB, 0)
		g.emit(classALU|aluAND|sourceK, 0xf0)
		g.jump(jmpJEQ, 0x40, ip4, notIP4)
		g.place(notIP4)
		g.jump(jmpJEQ, 0x60, ip6, whole)
		return
	}
	const typ, payload = 12, 14
	for _, tags := range []uint32{0, tagSize} {
		g.emit(classLDX|modeIMM, payload+tags)
		g.emit(classLD|modeABS|sizeH, typ+tags)
		other, tagged := g.label(), g.label()
		g.jump(jmpJEQ, etherIP, ip4, other)
		g.place(other)
		if tags > 0 {
			g.jump(jmpJEQ, etherIP6, ip6, whole)
			g.place(tagged)
			continue
		}
		next := g.label()
		g.jump(jmpJEQ, etherIP6, ip6, next)
		g.place(next)
		g.jump(jmpJEQ, etherVLAN, tagged, whole)
		g.place(tagged)
	}
}

// readIPv4 stores protocol and end, and leaves the offset of the payload in X. A fragment
// is kept whole.
func (g *generator) readIPv4(transport, whole label) {
	const length, moreOrOffset = 2, 0x3fff
	unfragmented, known, offload := g.label(), g.label(), g.label()
	g.emit(classLD|modeIND|sizeH, ip4Fragment)
	g.jump(jmpJSET, moreOrOffset, whole, unfragmented)
	g.place(unfragmented)
	g.emit(classLD|modeIND|sizeB, ip4Protocol)
	g.emit(classST, wordProto)
	g.emit(classLD|modeIND|sizeH, length)
	g.jump(jmpJEQ, 0, offload, known)
	g.place(offload) // longer than the field can say
	g.emit(classLD|modeLEN, 0)
	g.emit(classALU|aluSUB|sourceX, 0)
	g.place(known)
	g.emit(classALU|aluADD|sourceX, 0)
	g.emit(classST, wordEnd)
	g.emit(classLD|modeIND|sizeB, 0)
	g.emit(classALU|aluAND|sourceK, 0xf)
	g.emit(classALU|aluLSH|sourceK, 2)
	g.emit(classALU|aluADD|sourceX, 0)
	g.emit(classMISC|miscTAX, 0)
	g.always(transport)
}

// readIPv6 is the same for IPv6. Packets with an extension header are kept whole, since the
// protocol of that header is not one of those that are truncated. An exception are hop-by-hop
// options of eight bytes: Linux puts a
// jumbo payload option (RFC 2675) before a segment of more than 64 KiB (BIG TCP).
func (g *generator) readIPv6(transport, whole label) {
	const length = 4
	known, offload := g.label(), g.label()
	g.emit(classLD|modeIND|sizeB, ip6Next)
	g.emit(classST, wordProto)
	g.emit(classLD|modeIND|sizeH, length)
	g.jump(jmpJEQ, 0, offload, known)
	g.place(offload)
	g.emit(classLD|modeLEN, 0)
	g.emit(classALU|aluSUB|sourceX, 0)
	g.emit(classALU|aluSUB|sourceK, ip6Header)
	g.place(known)
	g.emit(classALU|aluADD|sourceX, 0)
	g.emit(classALU|aluADD|sourceK, ip6Header)
	g.emit(classST, wordEnd)
	g.emit(classMISC|miscTXA, 0)
	g.emit(classALU|aluADD|sourceK, ip6Header)
	g.emit(classMISC|miscTAX, 0)

	options, eight := g.label(), g.label()
	g.emit(classLD|modeMEM, wordProto)
	g.jump(jmpJEQ, protoHopByHop, options, transport)
	g.place(options)
	g.emit(classLD|modeIND|sizeB, 1) // its length in units of eight bytes, without the first
	g.jump(jmpJEQ, 0, eight, whole)
	g.place(eight)
	g.emit(classLD|modeIND|sizeB, 0)
	g.emit(classST, wordProto)
	g.emit(classMISC|miscTXA, 0)
	g.emit(classALU|aluADD|sourceK, 8)
	g.emit(classMISC|miscTAX, 0)
}

// checkEnd keeps a packet whole that claims more bytes than it has, or so few that its
// headers are not within it. X stays.
func (g *generator) checkEnd(whole label) {
	enough, all := g.label(), g.label()
	g.emit(classLD|modeMEM, wordEnd)
	g.jump(jmpJGT, wholePacket, enough, whole)
	g.place(enough)
	g.emit(classSTX, wordStart)
	g.emit(classLD|modeLEN, 0)
	g.emit(classLDX|modeMEM, wordEnd)
	g.jump(jmpJGE|sourceX, 0, all, whole)
	g.place(all)
	g.emit(classLDX|modeMEM, wordStart)
}

// cutDatagram cuts UDP. X is the offset of its header.
func (g *generator) cutDatagram(tcp, whole label) {
	other, udp := g.label(), g.label()
	g.emit(classLD|modeMEM, wordProto)
	g.jump(jmpJEQ, protoTCP, tcp, other)
	g.place(other)
	g.jump(jmpJEQ, protoUDP, udp, whole)
	g.place(udp)
	g.keep(headOfDatagram)
}

// keep keeps so many bytes from the offset in X on.
func (g *generator) keep(n uint32) {
	g.emit(classMISC|miscTXA, 0)
	g.emit(classALU|aluADD|sourceK, n)
	g.emit(classRET|retA, 0)
}

// httpStarts returns the first four bytes of HTTP/1 requests by their methods (RFC 9110,
// section 9.3, RFC 5789), of responses, and of HTTP/2 (RFC 9113, section 3.4).
func httpStarts() []uint32 {
	var out []uint32
	for _, word := range []string{"GET ", "HEAD", "POST", "PUT ", "DELE", "CONN", "OPTI", "TRAC", "PATC", "HTTP", "PRI "} {
		out = append(out, binary.BigEndian.Uint32([]byte(word)))
	}
	return out
}

// cutSegment cuts TCP. X is the offset of its header.
func (g *generator) cutSegment(whole label) {
	const dataOffset = 12
	g.emit(classLD|modeIND|sizeB, dataOffset)
	g.emit(classALU|aluRSH|sourceK, 2)
	g.emit(classALU|aluAND|sourceK, 0x3c)
	g.emit(classALU|aluADD|sourceX, 0)
	g.emit(classMISC|miscTAX, 0)
	g.emit(classSTX, wordStart)

	// TLS records (RFC 8446, section 5.1): a type, the version 3.x, a length.
	protected, unknown, versioned := g.label(), g.label(), g.label()
	g.emit(classLD|modeIND|sizeB, 1)
	g.jump(jmpJEQ, 3, versioned, unknown)
	g.place(versioned)
	g.emit(classLD|modeIND|sizeB, 0)
	open := g.label()
	g.jump(jmpJEQ, contentProtected, protected, open)
	g.place(open)
	g.oneOf([]uint32{contentHandshake, contentAlert, contentChangeCipherSpec}, whole, unknown)

	g.place(unknown)
	large, http, other := g.label(), g.label(), g.label()
	g.emit(classLD|modeMEM, wordEnd)
	g.emit(classALU|aluSUB|sourceX, 0)
	g.jump(jmpJGT, bulk, large, whole)
	g.place(large)
	g.emit(classLD|modeIND|sizeW, 0)
	g.oneOf(httpStarts(), http, other)
	g.place(http)
	g.keep(headOfHTTP)
	g.place(other)
	g.keep(headOfBulk)

	g.place(protected)
	g.followRecords(whole)
}

// TLS content types (RFC 8446, section 5.1).
const (
	contentChangeCipherSpec = 20
	contentAlert            = 21
	contentHandshake        = 22
	contentProtected        = 23
	recordHeader            = 5
)

// followRecords keeps a payload up to the header of its last record. X is the offset of
// the first one.
func (g *generator) followRecords(whole label) {
	last, many := g.label(), g.label()
	for range recordSteps {
		valid, versioned, within, follows := g.label(), g.label(), g.label(), g.label()
		g.emit(classSTX, wordRecord)
		g.emit(classLD|modeIND|sizeB, 1)
		g.jump(jmpJEQ, 3, versioned, many)
		g.place(versioned)
		g.emit(classLD|modeIND|sizeB, 0)
		g.emit(classALU|aluSUB|sourceK, contentChangeCipherSpec)
		g.jump(jmpJGT, contentProtected-contentChangeCipherSpec, many, valid)
		g.place(valid)
		g.emit(classLD|modeIND|sizeH, 3)
		g.emit(classALU|aluADD|sourceX, 0)
		g.emit(classALU|aluADD|sourceK, recordHeader) // where the next one begins
		g.emit(classST, wordNext)
		g.emit(classLDX|modeMEM, wordStart)
		g.emit(classALU|aluSUB|sourceX, 0)
		g.jump(jmpJGT, recordReach, last, within)
		g.place(within)
		g.emit(classLD|modeMEM, wordNext)
		g.emit(classALU|aluADD|sourceK, recordHeader)
		g.emit(classLDX|modeMEM, wordEnd)
		next := g.label()
		g.jump(jmpJGT|sourceX, 0, next, follows)
		g.place(next) // its header is not within the payload
		behind := g.label()
		g.emit(classLD|modeMEM, wordNext)
		g.jump(jmpJGE|sourceX, 0, last, behind)
		g.place(behind) // a part of it is
		g.always(many)
		g.place(follows)
		g.emit(classLDX|modeMEM, wordNext)
	}
	g.emit(classSTX, wordRecord)

	// More records than are followed, or something else behind them.
	g.place(many)
	large := g.label()
	g.emit(classLD|modeMEM, wordEnd)
	g.emit(classLDX|modeMEM, wordStart)
	g.emit(classALU|aluSUB|sourceX, 0)
	g.jump(jmpJGT, recordReach, large, whole)
	g.place(large)
	g.keep(recordReach)

	g.place(last)
	g.emit(classLD|modeMEM, wordRecord)
	g.emit(classALU|aluADD|sourceK, headOfRecord)
	g.emit(classRET|retA, 0)
}
