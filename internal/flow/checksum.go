package flow

import (
	"encoding/binary"
	"math/bits"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Checksum says who has verified the checksums of a packet.
type Checksum uint8

// The values.
const (
	ChecksumUnknown    Checksum = iota // nothing is known, as in a capture file, where the sender's device computes them later: not verified
	ChecksumTrusted                    // the kernel takes TCP's or UDP's for correct: a device has verified it, or the packet never left the machine; that of IPv4's header it verifies all the same
	ChecksumUnverified                 // nobody has verified them: the table does
)

// A receiver drops segments and datagrams with a wrong checksum (RFC 9293, section 3.1; RFC
// 1122, sections 3.2.1.2 and 4.1.3.4), so a third host could show the tap bytes that the
// receiver never reads. The table drops them too and counts them (Stats.BadChecksums). A
// packet that the capture truncated cannot be verified and is taken.
//
// A device that leaves the checksums of a whole direction wrong, and whose packets are
// accepted all the same, is recognized by acknowledgements: see sums.

// checkSum verifies a TCP segment or UDP datagram, all of g but what follows the datagram.
func (d *Decoded) checkSum(g frame, length int) {
	if d.Fragment || len(g.b) < length {
		return
	}
	pseudo := [8]byte{3: d.Transport}
	binary.BigEndian.PutUint32(pseudo[4:], uint32(length))
	le := binary.LittleEndian
	sum, carry := bits.Add64(le.Uint64(pseudo[:]), uint64(le.Uint32(d.Src[:]))+uint64(le.Uint32(d.Dst[:])), 0)
	sum += carry
	if d.IPv6 {
		sum = addSum(addSum(sum, d.Src[4:]), d.Dst[4:])
	}
	d.badSum = d.badSum || !correct(addSum(sum, g.b[:length]))
}

// addSum adds bytes to a sum of RFC 1071, in an order of bytes that only correct needs to know.
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

// correct reports whether a sum over data and their checksum is that of intact data.
func correct(sum uint64) bool {
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return sum == 0xffff
}

const (
	maxSums     = 64 // interfaces whose devices are recognized
	sumsDropped = 4
	sumsBelieve = 3 // acknowledged packets that make a direction one without checksums
)

// sums is the history of the checksums of one direction of an interface. Where none was
// ever correct or vouched for, and packets that are wrong are acknowledged, the receiver
// does not go by them. One correct packet ends that: nobody can switch verification off
// where honest packets come.
type sums struct {
	correct bool
	acked   uint8
	n       uint8
	dropped [sumsDropped]droppedSegment
}

// droppedSegment names a segment that was dropped.
type droppedSegment struct {
	key  key
	src  [16]byte
	port uint16 // of its sender
	end  uint32 // the sequence number that acknowledges it
}

// sumsOf returns the history of a packet's direction, nil if there are too many interfaces.
func (t *Table) sumsOf(p *Packet) *sums {
	if p.Interface >= maxSums {
		return nil
	}
	if int(p.Interface) >= len(t.sums) {
		t.sums = append(t.sums, make([][origins]sums, int(p.Interface)+1-len(t.sums))...)
	}
	return &t.sums[p.Interface][p.Origin]
}

// intact reports whether the checksums of a packet are correct, as far as that is known and
// means something, and counts it if they are not. t.key is the packet's, whose Checksum is not
// ChecksumUnknown.
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

// acknowledged notes that a segment acknowledges segments that were dropped for a wrong checksum.
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
