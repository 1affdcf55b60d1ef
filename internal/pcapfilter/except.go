package pcapfilter

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// Connection is the two ends of a TCP connection, in either order.
type Connection struct {
	A, B netip.AddrPort
	TLS  bool // it is known for TLS
}

// Except returns a program for a live interface of Ethernet or raw IP that takes every
// packet but most of those of some connections, in both directions: of connections of
// which all is known that will ever be, and which go on. It is to be put before another
// program (And). For other link types, and for no connections, it takes everything.
//
// Of these connections it still takes what can begin, end or refute something:
//   - every SYN, FIN and RST: ports that are taken again, and the end, are seen;
//   - of TLS, all that does not consist of protected records, up to exceptSteps of them, the
//     last of which may go on in the next packet: text, another protocol and another
//     handshake, which may follow the end of TLS, also within a packet; of what is not TLS, all that
//     begins like another record. So where the ports were taken again the handshake of TLS is
//     seen even before the program was changed, the segments of a certificate too;
//   - what begins in the first 64 KiB of each 16 MiB of sequence numbers, and what is
//     longer than 64 KiB: so nothing steps over all of that, and no stream goes on unseen
//     for so long that its sequence numbers no longer tell how many bytes were sent;
//   - fragments, and IPv6 packets with an extension header.
//
// Everything else is left out, pure acknowledgements included. Of other connections
// nothing is: all words of both addresses and both ports are compared.
//
// The error, an *Error, says that it would be too long. A connection takes five
// instructions where others have the same addresses, at most 13 with IPv4 and 37 with IPv6.
func Except(c Config, connections []Connection) (Program, error) {
	g := &generator{cfg: c}
	if c.Snap == 0 {
		g.cfg.Snap = defaultSnap
	}
	take := g.label()
	if len(connections) > 0 && (c.Link == LinkEthernet || c.Link == LinkRaw) {
		g.except(connections, take)
	}
	g.place(take)
	g.emit(classRET|retK, g.cfg.Snap)
	return g.program()
}

// TCP header fields (RFC 9293, section 3.1) and flags.
const (
	tcpSequence   = 4
	tcpDataOffset = 12
	tcpFlags      = 13
	flagFIN       = 0x01
	flagSYN       = 0x02
	flagRST       = 0x04
)

// sampled are the bits of a sequence number that are 0 in what is taken of each 16 MiB,
// which are so many bytes.
const (
	sampled      = 0x00ff0000
	sampledBytes = 64 << 10
)

// except writes the program but for its end, which take stands before.
func (g *generator) except(connections []Connection, take label) {
	at := uint32(14) // of the IP header
	ip4, ip6 := g.label(), g.label()
	to := exits{clear: g.label(), tls: g.label(), miss: take}
	if g.cfg.Link == LinkRaw {
		at = 0
		g.emit(classLD|sizeB|modeABS, 0)
		g.emit(classALU|aluAND|sourceK, 0xf0)
		g.either(0x40, ip4, 0x60, ip6, take)
	} else {
		g.emit(classLD|sizeH|modeABS, 12)
		g.either(etherIP, ip4, etherIP6, ip6, take)
	}

	first, second := tuples(connections, true), tuples(connections, false)
	g.place(ip4)
	if len(first) > 0 {
		g.emit(classLDX|sizeB|modeMSH, at)
		g.check(at, ip4Protocol, take)
		unfragmented := g.label()
		g.emit(classLD|sizeH|modeABS, at+ip4Fragment)
		g.jump(jmpJSET, 0x3fff, take, unfragmented)
		g.place(unfragmented)
		g.tree(first, []load{{modeABS, at + 12}, {modeABS, at + 16}, {modeIND, at}}, to)
	} else {
		g.always(take)
	}
	g.place(ip6)
	if len(second) > 0 {
		g.emit(classLDX|modeIMM, ip6Header)
		g.check(at, ip6Next, take)
		var words []load
		for i := range uint32(8) {
			words = append(words, load{modeABS, at + 8 + 4*i})
		}
		g.tree(second, append(words, load{modeIND, at}), to)
	} else {
		g.always(take)
	}
	g.place(to.clear)
	g.leaveOut(at, false, take)
	g.place(to.tls)
	g.leaveOut(at, true, take)
}

// either jumps by the accumulator to one of two labels, or else to a third one.
func (g *generator) either(a uint32, isA label, b uint32, isB, neither label) {
	other := g.label()
	g.jump(jmpJEQ, a, isA, other)
	g.place(other)
	g.jump(jmpJEQ, b, isB, neither)
}

// check goes on where the IP header at an offset says TCP.
func (g *generator) check(at, field uint32, no label) {
	yes := g.label()
	g.emit(classLD|sizeB|modeABS, at+field)
	g.jump(jmpJEQ, protoTCP, yes, no)
	g.place(yes)
}

// load is where a word of a tuple stands in the packet.
type load struct {
	mode   uint16
	offset uint32
}

// tuple is what packets of a connection are known by: the words of both addresses, and
// the two ports in one.
type tuple struct {
	words []uint32
	tls   bool
}

// exits are where a tree leads to.
type exits struct{ clear, tls, miss label }

// tree jumps to clear or tls if the words of the packet are those of one of the tuples,
// which are in order and differ, and to miss if not. The first words that tuples have in
// common are compared once for all of them.
func (g *generator) tree(all []tuple, words []load, to exits) {
	g.emit(classLD|sizeW|words[0].mode, words[0].offset)
	var groups [][]tuple // with the same first word
	for rest := all; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].words[0] == rest[0].words[0] {
			n++
		}
		groups, rest = append(groups, rest[:n]), rest[n:]
	}
	g.branch(groups, words[1:], to)
}

// branch finds the group whose first word the accumulator holds, by halves.
func (g *generator) branch(groups [][]tuple, words []load, to exits) {
	if half := len(groups) / 2; half > 0 {
		above, below := g.label(), g.label()
		g.jump(jmpJGE, groups[half][0].words[0], above, below)
		g.place(below)
		g.half(groups[:half], words, to)
		g.place(above)
		g.half(groups[half:], words, to)
		return
	}
	first := groups[0][0]
	if len(words) == 0 {
		match := to.clear
		if first.tls {
			match = to.tls
		}
		g.jump(jmpJEQ, first.words[0], match, to.miss)
		return
	}
	same := g.label()
	g.jump(jmpJEQ, first.words[0], same, to.miss)
	g.place(same)
	var rest []tuple
	for _, t := range groups[0] {
		rest = append(rest, tuple{t.words[1:], t.tls})
	}
	g.tree(rest, words, to)
}

// nearby is how many tuples leave by jumps of their own: a conditional jump that goes
// further than 255 instructions costs one for itself.
const nearby = 16

// half is branch for one half, which gets exits nearby if it is the first one of a size
// that needs no more of them.
func (g *generator) half(groups [][]tuple, words []load, to exits) {
	if n := len(groups); n > nearby || n <= nearby/2 {
		g.branch(groups, words, to)
		return
	}
	near := exits{g.label(), g.label(), g.label()}
	g.branch(groups, words, near)
	for _, e := range [...]struct{ near, far label }{{near.clear, to.clear}, {near.tls, to.tls}, {near.miss, to.miss}} {
		g.place(e.near)
		g.always(e.far)
	}
}

// leaveOut leaves a packet of one of the connections out, but for what is taken of them.
// X is the length of the IP header.
func (g *generator) leaveOut(at uint32, tls bool, take label) {
	going, within, short, like, out := g.label(), g.label(), g.label(), g.label(), g.label()
	g.emit(classLD|sizeB|modeIND, at+tcpFlags)
	g.jump(jmpJSET, flagFIN|flagSYN|flagRST, take, going)
	g.place(going)
	g.emit(classLD|sizeW|modeIND, at+tcpSequence)
	g.jump(jmpJSET, sampled, within, take)
	g.place(within)
	g.emit(classLD|modeLEN, 0)
	g.jump(jmpJGT, sampledBytes, take, short)
	g.place(short)
	g.emit(classLD|sizeB|modeIND, at+tcpDataOffset)
	g.emit(classALU|aluRSH|sourceK, 2)
	g.emit(classALU|aluAND|sourceK, 0x3c)
	g.emit(classALU|aluADD|sourceX, 0)
	g.emit(classMISC|miscTAX, 0)
	if tls {
		g.leaveRecords(at, take, out)
		return
	}
	g.emit(classLD|sizeB|modeIND, at+1) // where there is no such byte the packet is left out
	g.jump(jmpJEQ, 3, like, out)
	g.place(like)
	g.emit(classLD|sizeB|modeIND, at)
	g.oneOf([]uint32{contentHandshake, contentAlert, contentChangeCipherSpec}, take, out)
	g.place(out)
	g.emit(classRET|retK, 0)
}

// exceptSteps is how many records of a packet are followed. A packet of more is taken.
const exceptSteps = 8

// leaveRecords leaves a packet out that consists of protected records, and takes any other.
// X is the offset of the first one from at. Where a byte of a header is not there the packet
// is left out: it has no payload, or its last bytes are the beginning of a header.
func (g *generator) leaveRecords(at uint32, take, out label) {
	for range exceptSteps {
		protected, versioned, more := g.label(), g.label(), g.label()
		g.emit(classLD|sizeB|modeIND, at)
		g.jump(jmpJEQ, contentProtected, protected, take)
		g.place(protected)
		g.emit(classLD|sizeB|modeIND, at+1)
		g.jump(jmpJEQ, 3, versioned, take)
		g.place(versioned)
		g.emit(classLD|sizeH|modeIND, at+3)
		g.emit(classALU|aluADD|sourceX, 0)
		g.emit(classALU|aluADD|sourceK, recordHeader)
		g.emit(classMISC|miscTAX, 0)
		g.emit(classLD|modeLEN, 0)
		if at > 0 {
			g.emit(classALU|aluSUB|sourceK, at)
		}
		g.jump(jmpJGT|sourceX, 0, more, out)
		g.place(more)
	}
	g.always(take)
	g.place(out)
	g.emit(classRET|retK, 0)
}

// tuples returns what packets of the connections are known by, of one IP version, in
// order and each once.
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
