package tapfilter

import (
	"cmp"
	"encoding/binary"

	"golang.org/x/net/bpf"

	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// label is a position in a program.
type label = pcapfilter.Label

// filter writes one of the tap's programs.
type filter struct {
	pcapfilter.Assembler
	link wire.LinkType
}

// Bounds of the bytes that the default filter keeps of a packet.
const (
	// wholePacket is the largest size in bytes of a packet that is kept whole without examining its
	// content. Most packets are not longer.
	wholePacket = 2 << 10

	// bulk is the least size in bytes of an unrecognized payload that is treated as bulk. A shorter
	// payload is kept whole, because it may belong to a handshake. It may be the later segments of
	// a certificate, which receive offload has joined with the application's first bytes. Or it may
	// be the second and third of the three consecutive records that show TLS in mid-stream. No
	// handshake is longer: a sender's initial window is ten segments (RFC 6928), and thirty if
	// tuned.
	bulk = 48 << 10

	// headOfBulk is how many bytes of bulk are kept. It is short because copying bulk is the tap's
	// main cost to its pod.
	headOfBulk = 1 << 10

	// headOfHTTP is how many bytes are kept of bulk that begins like an HTTP message, because
	// header fields can be long.
	headOfHTTP = 16 << 10

	// recordReach and recordSteps bound how far protected records are followed. recordReach is in
	// bytes: enough for the two largest records and the header of the third. TLS in mid-stream is
	// recognized by three consecutive records.
	recordReach = 37 << 10
	recordSteps = 8

	// headOfDatagram is how many bytes of a datagram are kept. Some DNS answers are this long.
	headOfDatagram = 8 << 10

	// headOfRecord is how many bytes of the last record are kept, header included. They are enough
	// to recognize the record.
	headOfRecord = 64
)

// Header fields of IPv4 (RFC 791, section 3.1), IPv6 (RFC 8200, section 3) and IEEE 802.1Q.
const (
	offsetFragment   = 6 // IPv4: flags and offset
	offsetProtocol   = 9 // IPv4
	offsetNextHeader = 6 // IPv6
	headerIPv6       = 40
	vlanTag          = 4
)

// Words of memory of the default filter.
const (
	wordProto  = iota // IP protocol number
	wordEnd           // offset after the IP packet
	wordStart         // offset of the TCP payload
	wordRecord        // offset of the current record
	wordNext          // offset of the next record
)

// Default returns the program for a live interface of Ethernet or raw IP. For other link types the
// program keeps every packet whole. Only the fields Link and Snap of c have an effect.
//
// Classic BPF has no state, so everything is decided from one packet. The program drops no packet.
// It only truncates, and only bytes that the dissectors do not read. Everything that internal/flow
// uses (numbers, acknowledgements, flags, lengths) is the same as without a filter. Streams are in
// order, and only lost packets are missing. A pure acknowledgement that ends a gap arrives. Packets
// and bytes are counted as they were sent. A program that drops bulk or acknowledgements would
// create gaps that cannot be distinguished from loss. Packets of judged connections are left out by
// another program (Thin).
//
// It truncates packets longer than 2 KiB, which come from segmentation and receive offload,
// from loopback and from jumbo frames:
//   - a payload that begins with a record of a handshake, an alert or a ChangeCipherSpec is
//     kept whole: hellos, certificates, TLS 1.3 flights that follow a ChangeCipherSpec;
//   - a payload that begins with a protected record is kept up to the header of its last record, at
//     most 37 KiB. A protected record shows only its size, and the TLS 1.3 rule needs the sizes of
//     the first records of both sides. The header of the next record confirms a size, and 37 KiB
//     are enough to include this header after a record of any size;
//   - any other payload (the middle of a record, or plaintext) is kept whole up to 48 KiB. A larger
//     payload is bulk, which arrives in packets of 64 KiB on a veth pair. Only 1 KiB of bulk is
//     kept, or 16 KiB if it begins like an HTTP message.
//
// This loses one fact. If bulk begins inside a record, the position in the record layer is unknown
// until a payload begins with a header. By then the handshake is over. Truncation within a
// protected record loses nothing, because the position of the next header is known
// (internal/dissect, Session.Truncated).
//
// TestDefaultFilterKeepsEveryVerdict (cmd/tap) generates connections of all kinds and sizes,
// segmented and joined in many ways, and seen from the start or not. Every verdict is the same with
// and without the filter. The rest of the record is also the same, with one exception: with the
// filter, more of plaintext HTTP may be read.
func Default(c pcapfilter.Config) pcapfilter.Program {
	f := &filter{link: c.Link}
	snap := cmp.Or(c.Snap, pcapfilter.DefaultSnap)
	whole := f.Label()
	if f.known() {
		f.defaultFilter(whole)
	}
	f.Bind(whole)
	f.Emit(bpf.RetConstant{Val: snap})
	p, err := f.Program()
	if err != nil {
		panic(err) // cannot happen: the program depends only on the link type, and tests compile it for every type
	}
	return p
}

// known reports whether the filter can parse packets of its link type.
func (f *filter) known() bool { return f.link == wire.LinkEthernet || f.link == wire.LinkRaw }

// defaultFilter writes the program. A jump to the label whole keeps the packet whole. A packet that
// passes the first test is longer than all headers together. So no load of a header can fail, which
// would end the program.
func (f *filter) defaultFilter(whole label) {
	long := f.Label()
	f.Emit(bpf.LoadExtension{Num: bpf.ExtLen})
	f.If(pcapfilter.Greater, wholePacket, long, whole)
	f.Bind(long)

	ip4, ip6, transport := f.Label(), f.Label(), f.Label()
	f.findNetwork(ip4, ip6, whole)
	f.Bind(ip4)
	f.readIPv4(transport, whole)
	f.Bind(ip6)
	f.readIPv6(transport, whole)
	f.Bind(transport)
	f.checkEnd(whole)
	tcp := f.Label()
	f.truncateDatagram(tcp, whole)
	f.Bind(tcp)
	f.truncateSegment(whole)
}

// findNetwork sets X to the offset of the IP header. The bytes of a live packet contain a VLAN tag
// only if the packet leaves by an interface that does not insert the tag itself.
func (f *filter) findNetwork(ip4, ip6, whole label) {
	if f.link == wire.LinkRaw {
		notIP4 := f.Label()
		f.Emit(bpf.LoadConstant{Dst: bpf.RegX, Val: 0})
		f.Emit(bpf.LoadIndirect{Off: 0, Size: 1})
		f.Emit(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0})
		f.If(pcapfilter.Equal, 0x40, ip4, notIP4)
		f.Bind(notIP4)
		f.If(pcapfilter.Equal, 0x60, ip6, whole)
		return
	}
	const typ, payload = 12, 14
	for _, tags := range []uint32{0, vlanTag} {
		f.Emit(bpf.LoadConstant{Dst: bpf.RegX, Val: payload + tags})
		f.Emit(bpf.LoadAbsolute{Off: typ + tags, Size: 2})
		other, tagged := f.Label(), f.Label()
		f.If(pcapfilter.Equal, wire.EtherIPv4, ip4, other)
		f.Bind(other)
		if tags > 0 {
			f.If(pcapfilter.Equal, wire.EtherIPv6, ip6, whole)
			f.Bind(tagged)
			continue
		}
		next := f.Label()
		f.If(pcapfilter.Equal, wire.EtherIPv6, ip6, next)
		f.Bind(next)
		f.If(pcapfilter.Equal, wire.EtherVLAN, tagged, whole)
		f.Bind(tagged)
	}
}

// readIPv4 stores the protocol and the end of an IPv4 packet, and sets X to the offset of its
// payload. Fragments are kept whole.
func (f *filter) readIPv4(transport, whole label) {
	const length, moreOrOffset = 2, 0x3fff
	unfragmented, known, offload := f.Label(), f.Label(), f.Label()
	f.Emit(bpf.LoadIndirect{Off: offsetFragment, Size: 2})
	f.If(pcapfilter.HasAnyBit, moreOrOffset, whole, unfragmented)
	f.Bind(unfragmented)
	f.Emit(bpf.LoadIndirect{Off: offsetProtocol, Size: 1})
	f.Emit(bpf.StoreScratch{Src: bpf.RegA, N: wordProto})
	f.Emit(bpf.LoadIndirect{Off: length, Size: 2})
	f.If(pcapfilter.Equal, 0, offload, known)
	f.Bind(offload) // a length of 0: the packet is longer than the field can express
	f.Emit(bpf.LoadExtension{Num: bpf.ExtLen})
	f.Emit(bpf.ALUOpX{Op: bpf.ALUOpSub})
	f.Bind(known)
	f.Emit(bpf.ALUOpX{Op: bpf.ALUOpAdd})
	f.Emit(bpf.StoreScratch{Src: bpf.RegA, N: wordEnd})
	f.Emit(bpf.LoadIndirect{Off: 0, Size: 1})
	f.Emit(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf})
	f.Emit(bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2})
	f.Emit(bpf.ALUOpX{Op: bpf.ALUOpAdd})
	f.Emit(bpf.TAX{})
	f.Goto(transport)
}

// readIPv6 does the same as readIPv4 for IPv6. Packets with an extension header are kept whole,
// because only TCP and UDP are truncated. The exception is hop-by-hop options of eight bytes: Linux
// puts a jumbo payload option (RFC 2675) before a segment of more than 64 KiB (BIG TCP).
func (f *filter) readIPv6(transport, whole label) {
	const length = 4
	known, offload := f.Label(), f.Label()
	f.Emit(bpf.LoadIndirect{Off: offsetNextHeader, Size: 1})
	f.Emit(bpf.StoreScratch{Src: bpf.RegA, N: wordProto})
	f.Emit(bpf.LoadIndirect{Off: length, Size: 2})
	f.If(pcapfilter.Equal, 0, offload, known)
	f.Bind(offload)
	f.Emit(bpf.LoadExtension{Num: bpf.ExtLen})
	f.Emit(bpf.ALUOpX{Op: bpf.ALUOpSub})
	f.Emit(bpf.ALUOpConstant{Op: bpf.ALUOpSub, Val: headerIPv6})
	f.Bind(known)
	f.Emit(bpf.ALUOpX{Op: bpf.ALUOpAdd})
	f.Emit(bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: headerIPv6})
	f.Emit(bpf.StoreScratch{Src: bpf.RegA, N: wordEnd})
	f.Emit(bpf.TXA{})
	f.Emit(bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: headerIPv6})
	f.Emit(bpf.TAX{})

	options, eight := f.Label(), f.Label()
	f.Emit(bpf.LoadScratch{Dst: bpf.RegA, N: wordProto})
	f.If(pcapfilter.Equal, wire.ProtoHopByHop, options, transport)
	f.Bind(options)
	f.Emit(bpf.LoadIndirect{Off: 1, Size: 1}) // the header's length in units of eight bytes, minus one
	f.If(pcapfilter.Equal, 0, eight, whole)
	f.Bind(eight)
	f.Emit(bpf.LoadIndirect{Off: 0, Size: 1})
	f.Emit(bpf.StoreScratch{Src: bpf.RegA, N: wordProto})
	f.Emit(bpf.TXA{})
	f.Emit(bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 8})
	f.Emit(bpf.TAX{})
}

// checkEnd keeps a packet whole in two cases: its header claims more bytes than the packet has, or
// so few that it would not be truncated. It preserves X.
func (f *filter) checkEnd(whole label) {
	enough, all := f.Label(), f.Label()
	f.Emit(bpf.LoadScratch{Dst: bpf.RegA, N: wordEnd})
	f.If(pcapfilter.Greater, wholePacket, enough, whole)
	f.Bind(enough)
	f.Emit(bpf.StoreScratch{Src: bpf.RegX, N: wordStart})
	f.Emit(bpf.LoadExtension{Num: bpf.ExtLen})
	f.Emit(bpf.LoadScratch{Dst: bpf.RegX, N: wordEnd})
	f.IfX(pcapfilter.AtLeast, all, whole)
	f.Bind(all)
	f.Emit(bpf.LoadScratch{Dst: bpf.RegX, N: wordStart})
}

// truncateDatagram truncates UDP. X is the offset of its header.
func (f *filter) truncateDatagram(tcp, whole label) {
	other, udp := f.Label(), f.Label()
	f.Emit(bpf.LoadScratch{Dst: bpf.RegA, N: wordProto})
	f.If(pcapfilter.Equal, wire.ProtoTCP, tcp, other)
	f.Bind(other)
	f.If(pcapfilter.Equal, wire.ProtoUDP, udp, whole)
	f.Bind(udp)
	f.accept(headOfDatagram)
}

// accept keeps n bytes, counted from the offset in X.
func (f *filter) accept(n uint32) {
	f.Emit(bpf.TXA{})
	f.Emit(bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: n})
	f.Emit(bpf.RetA{})
}

// httpStarts returns the first four bytes of HTTP messages: HTTP/1 requests with each method (RFC
// 9110, section 9.3, RFC 5789), responses, and HTTP/2 (RFC 9113, section 3.4).
func httpStarts() []uint32 {
	var out []uint32
	for _, word := range []string{"GET ", "HEAD", "POST", "PUT ", "DELE", "CONN", "OPTI", "TRAC", "PATC", "HTTP", "PRI "} {
		out = append(out, binary.BigEndian.Uint32([]byte(word)))
	}
	return out
}

// truncateSegment truncates TCP. X is the offset of its header.
func (f *filter) truncateSegment(whole label) {
	const dataOffset = 12
	f.Emit(bpf.LoadIndirect{Off: dataOffset, Size: 1})
	f.Emit(bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 2})
	f.Emit(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0x3c})
	f.Emit(bpf.ALUOpX{Op: bpf.ALUOpAdd})
	f.Emit(bpf.TAX{})
	f.Emit(bpf.StoreScratch{Src: bpf.RegX, N: wordStart})

	// A TLS record begins with a type, the version 3.x and a length (RFC 8446, section 5.1).
	protected, unknown, versioned := f.Label(), f.Label(), f.Label()
	f.Emit(bpf.LoadIndirect{Off: 1, Size: 1})
	f.If(pcapfilter.Equal, 3, versioned, unknown)
	f.Bind(versioned)
	f.Emit(bpf.LoadIndirect{Off: 0, Size: 1})
	open := f.Label()
	f.If(pcapfilter.Equal, wire.ContentApplicationData, protected, open)
	f.Bind(open)
	f.OneOf([]uint32{wire.ContentHandshake, wire.ContentAlert, wire.ContentChangeCipherSpec}, whole, unknown)

	f.Bind(unknown)
	large, http, other := f.Label(), f.Label(), f.Label()
	f.Emit(bpf.LoadScratch{Dst: bpf.RegA, N: wordEnd})
	f.Emit(bpf.ALUOpX{Op: bpf.ALUOpSub})
	f.If(pcapfilter.Greater, bulk, large, whole)
	f.Bind(large)
	f.Emit(bpf.LoadIndirect{Off: 0, Size: 4})
	f.OneOf(httpStarts(), http, other)
	f.Bind(http)
	f.accept(headOfHTTP)
	f.Bind(other)
	f.accept(headOfBulk)

	f.Bind(protected)
	f.followRecords(whole)
}

// followRecords keeps a payload up to the header of its last record. X is the offset of the
// first record.
func (f *filter) followRecords(whole label) {
	last, many := f.Label(), f.Label()
	for range recordSteps {
		valid, versioned, within, follows := f.Label(), f.Label(), f.Label(), f.Label()
		f.Emit(bpf.StoreScratch{Src: bpf.RegX, N: wordRecord})
		f.Emit(bpf.LoadIndirect{Off: 1, Size: 1})
		f.If(pcapfilter.Equal, 3, versioned, many)
		f.Bind(versioned)
		f.Emit(bpf.LoadIndirect{Off: 0, Size: 1})
		f.Emit(bpf.ALUOpConstant{Op: bpf.ALUOpSub, Val: wire.ContentChangeCipherSpec})
		f.If(pcapfilter.Greater, wire.ContentApplicationData-wire.ContentChangeCipherSpec, many, valid)
		f.Bind(valid)
		f.Emit(bpf.LoadIndirect{Off: 3, Size: 2})
		f.Emit(bpf.ALUOpX{Op: bpf.ALUOpAdd})
		f.Emit(bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: wire.RecordHeader}) // offset of the next record
		f.Emit(bpf.StoreScratch{Src: bpf.RegA, N: wordNext})
		f.Emit(bpf.LoadScratch{Dst: bpf.RegX, N: wordStart})
		f.Emit(bpf.ALUOpX{Op: bpf.ALUOpSub})
		f.If(pcapfilter.Greater, recordReach, last, within)
		f.Bind(within)
		f.Emit(bpf.LoadScratch{Dst: bpf.RegA, N: wordNext})
		f.Emit(bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: wire.RecordHeader})
		f.Emit(bpf.LoadScratch{Dst: bpf.RegX, N: wordEnd})
		next := f.Label()
		f.IfX(pcapfilter.Greater, next, follows)
		f.Bind(next) // the next header is not wholly within the payload
		partial := f.Label()
		f.Emit(bpf.LoadScratch{Dst: bpf.RegA, N: wordNext})
		f.IfX(pcapfilter.AtLeast, last, partial)
		f.Bind(partial) // the payload ends within the next header
		f.Goto(many)
		f.Bind(follows)
		f.Emit(bpf.LoadScratch{Dst: bpf.RegX, N: wordNext})
	}
	f.Emit(bpf.StoreScratch{Src: bpf.RegX, N: wordRecord})

	// The payload has more than recordSteps records, or bytes after them that are not a record.
	f.Bind(many)
	large := f.Label()
	f.Emit(bpf.LoadScratch{Dst: bpf.RegA, N: wordEnd})
	f.Emit(bpf.LoadScratch{Dst: bpf.RegX, N: wordStart})
	f.Emit(bpf.ALUOpX{Op: bpf.ALUOpSub})
	f.If(pcapfilter.Greater, recordReach, large, whole)
	f.Bind(large)
	f.accept(recordReach)

	f.Bind(last)
	f.Emit(bpf.LoadScratch{Dst: bpf.RegA, N: wordRecord})
	f.Emit(bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: headOfRecord})
	f.Emit(bpf.RetA{})
}
