package tapfilter

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/net/bpf"

	"github.com/meshtls-tap/meshtls-tap/internal/order"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Connection is a TCP connection by its two ends, in either order.
type Connection struct {
	A, B netip.AddrPort
	TLS  bool // it was judged to be TLS
}

// Thin returns a program for a live interface of Ethernet or raw IP. The program rejects most
// packets of the given connections, in both directions, and accepts all other packets whole. It is
// meant for connections that continue after their verdict has settled. It is put before another
// program by pcapfilter.And. For other link types, and without connections, it accepts every
// packet.
//
// The program still accepts every packet of these connections that can begin, end or refute something:
//   - every SYN, FIN and RST, so that the end of the connection and a reuse of its ports are
//     seen;
//   - of TLS connections, every packet that does not consist of protected records, or consists of
//     more than thinSteps of them. The last record may continue in the next packet. So text,
//     another protocol or another handshake after the end of TLS is seen, even within a packet;
//   - of other connections, every packet that begins like another TLS record. So if the ports
//     are reused, the TLS handshake is seen even before the program is replaced, including the
//     segments of a certificate;
//   - packets that begin in the first 64 KiB of each 16 MiB of sequence numbers, and packets longer
//     than 64 KiB. No stream can skip that range. So no stream continues unseen for so long that
//     its sequence numbers no longer show how many bytes were sent;
//   - fragments, and IPv6 packets with an extension header.
//
// All other packets of these connections are rejected, including pure acknowledgements. No
// packet of another connection is rejected, because both addresses and both ports are compared
// in full.
//
// Thin returns an error if the program would be too long. A connection needs five instructions if
// another connection has the same addresses. Otherwise it needs at most 13 with IPv4 and 37 with
// IPv6.
func Thin(c pcapfilter.Config, connections []Connection) (pcapfilter.Program, error) {
	f := &filter{link: c.Link}
	accept := f.Label()
	if len(connections) > 0 && f.known() {
		f.thin(connections, accept)
	}
	f.Bind(accept)
	f.Emit(bpf.RetConstant{Val: cmp.Or(c.Snap, pcapfilter.DefaultSnap)})
	return f.Program()
}

// TCP header fields (RFC 9293, section 3.1).
const (
	tcpSequence   = 4
	tcpDataOffset = 12
	tcpFlags      = 13
)

// sampled is a mask. Packets whose sequence number has none of its bits are accepted. They are
// those in the first sampledBytes of each 16 MiB.
const (
	sampled      = 0x00ff0000
	sampledBytes = 64 << 10
)

// thin writes the program except for its end, which the caller writes after the label accept.
func (f *filter) thin(connections []Connection, accept label) {
	at := uint32(14) // offset of the IP header
	ip4, ip6 := f.Label(), f.Label()
	to := exits{plain: f.Label(), tls: f.Label(), miss: accept}
	if f.link == wire.LinkRaw {
		at = 0
		f.Emit(bpf.LoadAbsolute{Off: 0, Size: 1})
		f.Emit(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0})
		f.either(0x40, ip4, 0x60, ip6, accept)
	} else {
		f.Emit(bpf.LoadAbsolute{Off: 12, Size: 2})
		f.either(wire.EtherIPv4, ip4, wire.EtherIPv6, ip6, accept)
	}

	first, second := tuples(connections, true), tuples(connections, false)
	f.Bind(ip4)
	if len(first) > 0 {
		f.Emit(bpf.LoadMemShift{Off: at})
		f.checkTCP(at, offsetProtocol, accept)
		unfragmented := f.Label()
		f.Emit(bpf.LoadAbsolute{Off: at + offsetFragment, Size: 2})
		f.If(pcapfilter.HasAnyBit, 0x3fff, accept, unfragmented)
		f.Bind(unfragmented)
		f.tree(first, []load{{offset: at + 12}, {offset: at + 16}, {indexed: true, offset: at}}, to)
	} else {
		f.Goto(accept)
	}
	f.Bind(ip6)
	if len(second) > 0 {
		f.Emit(bpf.LoadConstant{Dst: bpf.RegX, Val: headerIPv6})
		f.checkTCP(at, offsetNextHeader, accept)
		var words []load
		for i := range uint32(8) {
			words = append(words, load{offset: at + 8 + 4*i})
		}
		f.tree(second, append(words, load{indexed: true, offset: at}), to)
	} else {
		f.Goto(accept)
	}
	f.Bind(to.plain)
	f.leaveOut(at, false, accept)
	f.Bind(to.tls)
	f.leaveOut(at, true, accept)
}

// either jumps to isA if the accumulator is a, to isB if it is b, and otherwise to neither.
func (f *filter) either(a uint32, isA label, b uint32, isB, neither label) {
	other := f.Label()
	f.If(pcapfilter.Equal, a, isA, other)
	f.Bind(other)
	f.If(pcapfilter.Equal, b, isB, neither)
}

// checkTCP jumps to no unless the packet is TCP. at is the offset of the IP header. field is the
// offset of the protocol field within the IP header.
func (f *filter) checkTCP(at, field uint32, no label) {
	yes := f.Label()
	f.Emit(bpf.LoadAbsolute{Off: at + field, Size: 1})
	f.If(pcapfilter.Equal, wire.ProtoTCP, yes, no)
	f.Bind(yes)
}

// load is the position in the packet of one word of a tuple.
type load struct {
	indexed bool // offset is relative to X
	offset  uint32
}

func (l load) instruction() bpf.Instruction {
	if l.indexed {
		return bpf.LoadIndirect{Off: l.offset, Size: 4}
	}
	return bpf.LoadAbsolute{Off: l.offset, Size: 4}
}

// tuple identifies packets of a connection in one direction: the words of both addresses, and
// one word with the two ports.
type tuple struct {
	words []uint32
	tls   bool
}

// exits are the labels to which a tree jumps.
type exits struct{ plain, tls, miss label }

// tree jumps to plain or tls if the words of the packet are those of one of the tuples. Otherwise
// it jumps to miss. The tuples must be sorted and distinct. Tuples with the same first word share
// one comparison.
func (f *filter) tree(all []tuple, words []load, to exits) {
	f.Emit(words[0].instruction())
	var groups [][]tuple // tuples with the same first word
	for rest := all; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].words[0] == rest[0].words[0] {
			n++
		}
		groups, rest = append(groups, rest[:n]), rest[n:]
	}
	f.branch(groups, words[1:], to)
}

// branch finds the group whose first word is in the accumulator by binary search.
func (f *filter) branch(groups [][]tuple, words []load, to exits) {
	if half := len(groups) / 2; half > 0 {
		above, below := f.Label(), f.Label()
		f.If(pcapfilter.AtLeast, groups[half][0].words[0], above, below)
		f.Bind(below)
		f.half(groups[:half], words, to)
		f.Bind(above)
		f.half(groups[half:], words, to)
		return
	}
	first := groups[0][0]
	if len(words) == 0 {
		match := to.plain
		if first.tls {
			match = to.tls
		}
		f.If(pcapfilter.Equal, first.words[0], match, to.miss)
		return
	}
	same := f.Label()
	f.If(pcapfilter.Equal, first.words[0], same, to.miss)
	f.Bind(same)
	var rest []tuple
	for _, t := range groups[0] {
		rest = append(rest, tuple{t.words[1:], t.tls})
	}
	f.tree(rest, words, to)
}

// nearby is the number of tuples that share a copy of the exits. A conditional jump reaches only
// 255 instructions. Without a copy, each jump to a more distant exit would need an additional
// unconditional jump.
const nearby = 16

// half does the same as branch for one half of the groups. If the half is the first on its path
// with at most nearby groups, it gets a copy of the exits.
func (f *filter) half(groups [][]tuple, words []load, to exits) {
	if n := len(groups); n > nearby || n <= nearby/2 {
		f.branch(groups, words, to)
		return
	}
	near := exits{f.Label(), f.Label(), f.Label()}
	f.branch(groups, words, near)
	for _, e := range [...]struct{ near, far label }{{near.plain, to.plain}, {near.tls, to.tls}, {near.miss, to.miss}} {
		f.Bind(e.near)
		f.Goto(e.far)
	}
}

// leaveOut rejects a packet of the given connections, unless Thin accepts such a packet. at is the
// offset of the IP header. Register X must hold the length of the IP header.
func (f *filter) leaveOut(at uint32, tls bool, accept label) {
	going, within, short, like, out := f.Label(), f.Label(), f.Label(), f.Label(), f.Label()
	f.Emit(bpf.LoadIndirect{Off: at + tcpFlags, Size: 1})
	f.If(pcapfilter.HasAnyBit, wire.FlagFIN|wire.FlagSYN|wire.FlagRST, accept, going)
	f.Bind(going)
	f.Emit(bpf.LoadIndirect{Off: at + tcpSequence, Size: 4})
	f.If(pcapfilter.HasAnyBit, sampled, within, accept)
	f.Bind(within)
	f.Emit(bpf.LoadExtension{Num: bpf.ExtLen})
	f.If(pcapfilter.Greater, sampledBytes, accept, short)
	f.Bind(short)
	f.Emit(bpf.LoadIndirect{Off: at + tcpDataOffset, Size: 1})
	f.Emit(bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 2})
	f.Emit(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0x3c})
	f.Emit(bpf.ALUOpX{Op: bpf.ALUOpAdd})
	f.Emit(bpf.TAX{})
	if tls {
		f.leaveRecords(at, accept, out)
		return
	}
	f.Emit(bpf.LoadIndirect{Off: at + 1, Size: 1}) // a packet that ends before this byte is left out
	f.If(pcapfilter.Equal, 3, like, out)
	f.Bind(like)
	f.Emit(bpf.LoadIndirect{Off: at, Size: 1})
	f.OneOf([]uint32{wire.ContentHandshake, wire.ContentAlert, wire.ContentChangeCipherSpec}, accept, out)
	f.Bind(out)
	f.Emit(bpf.RetConstant{Val: 0})
}

// thinSteps is how many records of a packet are followed. A packet with more records is accepted.
const thinSteps = 8

// leaveRecords rejects a packet that consists of protected records, and accepts any other. X is the
// distance from at to the first record. A packet whose last header is incomplete is rejected,
// because it has no payload or its last bytes are the beginning of a header.
func (f *filter) leaveRecords(at uint32, accept, out label) {
	for range thinSteps {
		protected, versioned, more := f.Label(), f.Label(), f.Label()
		f.Emit(bpf.LoadIndirect{Off: at, Size: 1})
		f.If(pcapfilter.Equal, wire.ContentApplicationData, protected, accept)
		f.Bind(protected)
		f.Emit(bpf.LoadIndirect{Off: at + 1, Size: 1})
		f.If(pcapfilter.Equal, 3, versioned, accept)
		f.Bind(versioned)
		f.Emit(bpf.LoadIndirect{Off: at + 3, Size: 2})
		f.Emit(bpf.ALUOpX{Op: bpf.ALUOpAdd})
		f.Emit(bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: wire.RecordHeader})
		f.Emit(bpf.TAX{})
		f.Emit(bpf.LoadExtension{Num: bpf.ExtLen})
		if at > 0 {
			f.Emit(bpf.ALUOpConstant{Op: bpf.ALUOpSub, Val: at})
		}
		f.IfX(pcapfilter.Greater, more, out)
		f.Bind(more)
	}
	f.Goto(accept)
	f.Bind(out)
	f.Emit(bpf.RetConstant{Val: 0})
}

// tuples returns the tuples of the connections of one IP version, sorted and distinct.
func tuples(connections []Connection, ip4 bool) (out []tuple) {
	for _, c := range connections {
		a, b := c.A.Addr().Unmap(), c.B.Addr().Unmap()
		if a.Is4() != ip4 || b.Is4() != ip4 {
			continue
		}
		out = append(out,
			tuple{wordsOf(a, b, c.A.Port(), c.B.Port()), c.TLS},
			tuple{wordsOf(b, a, c.B.Port(), c.A.Port()), c.TLS})
	}
	order.Stable(out, func(a, b tuple) int { return slices.Compare(a.words, b.words) })
	return slices.CompactFunc(out, func(a, b tuple) bool { return slices.Equal(a.words, b.words) })
}

func wordsOf(src, dst netip.Addr, srcPort, dstPort uint16) (out []uint32) {
	for _, b := range [][]byte{src.AsSlice(), dst.AsSlice()} {
		for ; len(b) > 0; b = b[4:] {
			out = append(out, binary.BigEndian.Uint32(b))
		}
	}
	return append(out, uint32(srcPort)<<16|uint32(dstPort))
}
