package flow

import (
	"encoding/binary"
	"math/bits"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Checksum is the verification state of a packet's checksums.
type Checksum uint8

// The states of checksums.
const (
	// ChecksumUnknown: the table does not verify the checksums. A packet in a capture file may have wrong ones, since
	// the sender's network card may have computed them after the capture.
	ChecksumUnknown Checksum = iota

	// ChecksumTrusted: the kernel trusts the TCP or UDP checksum. The network card has verified it, or the packet never
	// left the machine. The table verifies only the checksum of an IPv4 header.
	ChecksumTrusted

	// ChecksumUnverified: the table verifies the checksums.
	ChecksumUnverified
)

// A receiver drops segments and datagrams with a wrong checksum (RFC 9293, section 3.1; RFC 1122, sections 3.2.1.2 and
// 4.1.3.4). With such packets, a third host could show the tap bytes that the receiver never reads. So the table drops
// them too and counts them (Stats.BadChecksums). A truncated packet cannot be verified and is accepted.
//
// Some network cards leave all checksums of a direction wrong, and receivers accept the packets nevertheless.
// Acknowledgements reveal such a direction: see sums.

// checkSum verifies the checksum of the TCP segment or UDP datagram in the first length bytes of g.
func (d *Decoded) checkSum(g frame, length int) {
	if d.Fragment || len(g.b) < length {
		return
	}
	pseudo := [8]byte{3: d.Transport}
	binary.BigEndian.PutUint32(pseudo[4:], uint32(length))
	le := binary.LittleEndian
	sum := le.Uint64(pseudo[:]) + uint64(le.Uint32(d.Src[:])) + uint64(le.Uint32(d.Dst[:])) // no overflow, since pseudo[4] is 0
	if d.IPv6 {
		sum = addSum(addSum(sum, d.Src[4:]), d.Dst[4:])
	}
	d.badSum = d.badSum || !correct(addSum(sum, g.b[:length]))
}

// addSum adds bytes to a ones' complement sum (RFC 1071). It reads them in little-endian order, which does not
// change what correct reports.
func addSum(sum uint64, b []byte) uint64 {
	var carry uint64
	le := binary.LittleEndian
	for ; len(b) >= 32; b = b[32:] {
		sum, carry = bits.Add64(sum, le.Uint64(b), carry)
		sum, carry = bits.Add64(sum, le.Uint64(b[8:]), carry)
		sum, carry = bits.Add64(sum, le.Uint64(b[16:]), carry)
		sum, carry = bits.Add64(sum, le.Uint64(b[24:]), carry)
	}
	for ; len(b) >= 8; b = b[8:] {
		sum, carry = bits.Add64(sum, le.Uint64(b), carry)
	}

	var rest uint64 // the last bytes, fewer than 8
	shift := 0
	if len(b) >= 4 {
		rest, shift, b = uint64(le.Uint32(b)), 32, b[4:]
	}
	if len(b) >= 2 {
		rest |= uint64(le.Uint16(b)) << shift
		shift, b = shift+16, b[2:]
	}
	if len(b) == 1 {
		rest |= uint64(b[0]) << shift
	}
	sum, carry = bits.Add64(sum, rest, carry)
	sum, carry = bits.Add64(sum, 0, carry)
	return sum + carry
}

// correct reports whether sum, which covers data and their checksum, shows that the data are intact.
func correct(sum uint64) bool {
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return sum == 0xffff
}

const (
	maxSums     = 64 // maximum number of interfaces whose checksums have a history
	sumsDropped = 4  // maximum number of dropped segments that are remembered for each direction
	sumsBelieve = 3  // number of acknowledged packets with a wrong checksum after which a direction's checksums are ignored
)

// sums is the history of the checksums of one direction of an interface. It shows whether the receivers of the
// direction verify checksums. They do not if they acknowledge packets with wrong checksums, and no checksum was ever
// correct or trusted. Then the table does not verify checksums either. It does so again after one correct checksum,
// so forged packets cannot switch verification off where honest packets arrive.
type sums struct {
	correct bool
	acked   uint8
	n       uint8
	dropped [sumsDropped]droppedSegment
}

// droppedSegment identifies a segment that was dropped.
type droppedSegment struct {
	key  key
	src  [16]byte
	port uint16 // the sender's port
	end  uint32 // the acknowledgement number that acknowledges the segment
}

// sumsOf returns the history of a packet's direction, nil if the interface is beyond maxSums.
func (t *Table) sumsOf(p *Packet) *sums {
	if p.Interface >= maxSums {
		return nil
	}
	if int(p.Interface) >= len(t.sums) {
		t.sums = append(t.sums, make([][origins]sums, int(p.Interface)+1-len(t.sums))...)
	}
	return &t.sums[p.Interface][p.Origin]
}

// intact reports whether the table may accept a packet by its checksums, and counts a packet with a wrong one.
// t.key must be the packet's key, and the packet's Checksum must not be ChecksumUnknown.
func (t *Table) intact(p *Packet, d *Decoded) bool {
	s := t.sumsOf(p)
	if t.wrongSums && d.Transport == wire.ProtoTCP && d.Flags&(wire.FlagACK|wire.FlagRST) == wire.FlagACK {
		t.acknowledged(d)
	}
	switch {
	case !d.badSum:
		if s != nil {
			s.correct = true
		}
		return true
	case s != nil && !s.correct && s.acked >= sumsBelieve:
		t.stats.UnverifiedChecksums++
		return true
	}
	t.stats.BadChecksums++
	if s != nil && !s.correct && d.Transport == wire.ProtoTCP && d.Flags&wire.FlagRST == 0 {
		t.wrongSums = true
		x := &s.dropped[s.n%sumsDropped]
		s.n++
		x.key, x.src, x.port, x.end = t.key, d.Src, d.SrcPort, d.Seq+uint32(d.PayloadLen)+uint32(d.Flags&wire.FlagFIN)+uint32(d.Flags&wire.FlagSYN)>>1
	}
	return false
}

// acknowledged counts the dropped segments that a segment acknowledges.
func (t *Table) acknowledged(d *Decoded) {
	for i := range t.sums {
		for o := range t.sums[i] {
			s := &t.sums[i][o]
			for k := range s.dropped {
				if x := &s.dropped[k]; !s.correct && s.acked < sumsBelieve && x.end == d.Ack && x.port == d.DstPort && x.src == d.Dst && x.key == t.key {
					s.acked++
					*x = droppedSegment{}
				}
			}
		}
	}
}
