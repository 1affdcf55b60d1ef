package tapfilter

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/net/bpf"

	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Connection is the two ends of a TCP connection, in either order.
type Connection struct {
	A, B netip.AddrPort
	TLS  bool // it was judged to be TLS
}

// Thin returns a program for a live interface of Ethernet or raw IP that leaves out most
// packets of some connections, in both directions, and takes all others whole: for
// connections that are judged for good and go on. It is to be put before another program
// (pcapfilter.And). For other link types, and for no connections, it takes everything.
//
// Of these connections it still takes every packet that can begin, end or refute something:
//   - every SYN, FIN and RST, so that the end is seen, and that the ports are used again;
//   - of TLS, every packet that does not consist of protected records, at most thinSteps of
//     them, the last of which may continue in the next packet: text, another protocol and
//     another handshake, which may follow the end of TLS, also within a packet; of other
//     connections, every packet that begins like another record. So where the ports are used
//     again, the TLS handshake is seen even before the program is changed, and the segments
//     of a certificate too;
//   - packets that begin in the first 64 KiB of each 16 MiB of sequence numbers, and those
//     longer than 64 KiB: nothing skips that range, and no stream continues unseen for so
//     long that its sequence numbers no longer show how many bytes were sent;
//   - fragments, and IPv6 packets with an extension header.
//
// All other packets of these connections are left out, pure acknowledgements included. No
// packet of another connection is: all words of both addresses and both ports are compared.
//
// It returns an error if the program would be too long. A connection takes five instructions
// where others have the same addresses, at most 13 with IPv4 and 37 with IPv6.
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

// sampled are the bits of a sequence number that are 0 in the sampledBytes that are taken of
// each 16 MiB.
const (
	sampled      = 0x00ff0000
	sampledBytes = 64 << 10
)

// thin writes the program without its end, which follows the label accept.
func (f *filter) thin(connections []Connection, accept label) {
	at := uint32(14) // of the IP header
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

// either jumps to one of two labels by the accumulator, or to a third one.
func (f *filter) either(a uint32, isA label, b uint32, isB, neither label) {
	other := f.Label()
	f.If(pcapfilter.Equal, a, isA, other)
	f.Bind(other)
	f.If(pcapfilter.Equal, b, isB, neither)
}

// checkTCP jumps to no unless the IP header at an offset says TCP.
func (f *filter) checkTCP(at, field uint32, no label) {
	yes := f.Label()
	f.Emit(bpf.LoadAbsolute{Off: at + field, Size: 1})
	f.If(pcapfilter.Equal, wire.ProtoTCP, yes, no)
	f.Bind(yes)
}

// load is the place of a word of a tuple in the packet.
type load struct {
	indexed bool // offset is from X
	offset  uint32
}

func (l load) instruction() bpf.Instruction {
	if l.indexed {
		return bpf.LoadIndirect{Off: l.offset, Size: 4}
	}
	return bpf.LoadAbsolute{Off: l.offset, Size: 4}
}

// tuple identifies packets of a connection in one direction: the words of both addresses,
// and the two ports in one.
type tuple struct {
	words []uint32
	tls   bool
}

// exits are the labels that a tree leads to.
type exits struct{ plain, tls, miss label }

// tree jumps to plain or tls if the words of the packet are those of one of the tuples, else
// to miss. The tuples are in order and differ. First words that tuples have in common are
// compared once for all of them.
func (f *filter) tree(all []tuple, words []load, to exits) {
	f.Emit(words[0].instruction())
	var groups [][]tuple // with the same first word
	for rest := all; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].words[0] == rest[0].words[0] {
			n++
		}
		groups, rest = append(groups, rest[:n]), rest[n:]
	}
	f.branch(groups, words[1:], to)
}

// branch finds the group whose first word is in the accumulator, by halves.
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

// nearby is the number of tuples that share exits of their own: a conditional jump further
// than 255 instructions takes an unconditional one for itself.
const nearby = 16

// half is branch for one half. It gets exits of its own if it is the first one that is small
// enough for them.
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

// leaveOut leaves out a packet of one of the connections unless it is one of those that are
// taken. X is the length of the IP header.
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
	f.Emit(bpf.LoadIndirect{Off: at + 1, Size: 1}) // without such a byte the packet is left out
	f.If(pcapfilter.Equal, 3, like, out)
	f.Bind(like)
	f.Emit(bpf.LoadIndirect{Off: at, Size: 1})
	f.OneOf([]uint32{wire.ContentHandshake, wire.ContentAlert, wire.ContentChangeCipherSpec}, accept, out)
	f.Bind(out)
	f.Emit(bpf.RetConstant{Val: 0})
}

// thinSteps is how many records of a packet are followed. A packet of more is taken.
const thinSteps = 8

// leaveRecords leaves out a packet that consists of protected records, and takes any other. X
// is the offset of the first one from at. If a byte of a header is missing the packet is left
// out: it has no payload, or its last bytes are the beginning of a header.
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

// tuples returns the tuples of the connections of one IP version, in order and each once.
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
	slices.SortStableFunc(out, func(a, b tuple) int { return slices.Compare(a.words, b.words) })
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
