package flow

import (
	"encoding/binary"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Nearly every packet is a TCP segment over IPv4 and Ethernet that its receiver expects next. The functions here
// process such a packet in few instructions, and leave every other packet to decode and addSegment. The results are the
// same as those of decode and addSegment (TestFastPath, TestFastDecode).

// fastDecode does the work of decode for a packet without tags, IPv4 options and fragments, and without TCP options
// other than timestamps. It returns false for any other packet, and for a packet with a wrong checksum. d is then
// undefined, and decode must overwrite it.
func fastDecode(p *Packet, d *Decoded) bool {
	return fastHeaders(p, d) && (p.Checksum == ChecksumUnknown || d.verifyChecksums(p))
}

// fastHeaders does the work of fastDecode, but does not verify checksums.
func fastHeaders(p *Packet, d *Decoded) bool {
	const ethernet, ip, tcp, timestamps = 14, 20, 20, 12
	b := p.Data
	if p.Link != wire.LinkEthernet || len(b) < ethernet+ip+tcp || binary.BigEndian.Uint32(b[12:])&^0xff != wire.EtherIPv4<<16|0x45<<8 ||
		b[23] != wire.ProtoTCP || binary.BigEndian.Uint16(b[20:])&0x3fff != 0 {
		return false
	}

	header := ethernet + ip + tcp
	switch b[46] >> 4 {
	case tcp / 4:
	case (tcp + timestamps) / 4:
		if header += timestamps; len(b) < header || binary.BigEndian.Uint32(b[ethernet+ip+tcp:]) != timestampOptions {
			return false
		}
	default:
		return false
	}
	total := ethernet + int(binary.BigEndian.Uint16(b[16:]))
	n := total - header
	if n < 0 || n == 2 || n == 6 || total > max(p.Length, len(b)) { // 2 or 6 bytes may be padding (see padded)
		return false
	}

	*d = Decoded{}
	*(*[4]byte)(d.Src[:]), *(*[4]byte)(d.Dst[:]) = [4]byte(b[26:]), [4]byte(b[30:])
	d.Zone, d.Transport, d.scale = p.Zone, wire.ProtoTCP, scaleNone
	d.SrcPort, d.DstPort = binary.BigEndian.Uint16(b[34:]), binary.BigEndian.Uint16(b[36:])
	d.Seq, d.Ack = binary.BigEndian.Uint32(b[38:]), binary.BigEndian.Uint32(b[42:])
	d.Flags, d.Window = b[47], binary.BigEndian.Uint16(b[48:])
	d.Payload, d.PayloadLen = b[header:min(total, len(b))], n
	if p.Decapsulate {
		d.tunnels = maxTunnels
	}
	return true
}

// verifyChecksums verifies the unverified checksums of a packet that fastHeaders has decoded, and reports whether they
// are correct.
func (d *Decoded) verifyChecksums(p *Packet) bool {
	const ip, tcp = 14, 34
	d.header, d.verify = true, p.Checksum == ChecksumUnverified
	h, le := p.Data[ip:tcp], binary.LittleEndian
	d.badSum = !correct(uint64(le.Uint32(h)) + uint64(le.Uint32(h[4:])) + uint64(le.Uint32(h[8:])) + uint64(le.Uint32(h[12:])) + uint64(le.Uint32(h[16:])))
	if d.verify {
		total := ip + int(binary.BigEndian.Uint16(h[2:]))
		d.checkSum(frame{p.Data[tcp:min(total, len(p.Data))], total - tcp}, total-tcp)
	}
	return !d.badSum
}

// addFast processes a segment if it is the next one of its side, and c is steady.
// Otherwise it does nothing and returns false.
func (t *Table) addFast(c *Conn, d *Decoded, now int64) bool {
	if c.Transport != wire.ProtoTCP || c.Orig.Port == c.Resp.Port || c.Redirected != nil || c.Excluded {
		return false
	}
	side := Originator // the two ports differ, so the source port shows the side
	if d.SrcPort != c.Orig.Port {
		side = Responder
	}
	s, o := &c.tcp.side[side], &c.tcp.side[side.Other()]
	if !c.steady(s, o) || !s.isNext(o, d) {
		return false
	}

	ep, n := c.endpoint(side), int64(d.PayloadLen)
	ep.Packets++
	ep.Bytes += uint64(n)
	c.Last = max(c.Last, now)
	if c.tcp.done && ep.Packets%busyStep == 0 {
		t.noteBusy(c)
	}

	ack := o.offset(d.Ack)
	if ack > o.acked {
		o.acked, o.keepAlive = ack, false
	}
	c.noteWindow(side.Other(), d)
	switch {
	case n == 0:
		if s.sent = max(s.sent, s.next); c.endsOneSided(side, d) {
			t.h.Changed(c)
		}
	case c.tcp.done && !c.tcp.followed:
		t.countUnwanted(c, side, n, len(d.Payload))
	default:
		t.deliverNext(c, side, d.Payload, n, ack, now)
	}
	t.touch(c)
	return true
}

// steady reports whether the starts of both streams of c are confirmed, and neither stream has a gap or an end.
func (c *Conn) steady(s, o *stream) bool {
	x := &c.tcp
	return x.reassembly == nil && s.sure && o.sure && s.state != inactive && s.fin < 0 && o.fin < 0 && x.dupSYNBy == 0 && !x.faces && !x.lone
}

// maxFastPayload is the largest payload that addFast processes.
const maxFastPayload = 64 << 10

// isNext reports whether a segment starts with the next byte of s, and has no effect except by its data and its
// acknowledgement. The segment must acknowledge only bytes of o that were seen, and no fewer than before. A
// payload of one byte does not qualify, because it may be a keep-alive probe.
func (s *stream) isNext(o *stream, d *Decoded) bool {
	return d.Flags&(wire.FlagACK|wire.FlagSYN|wire.FlagRST|wire.FlagFIN|wire.FlagURG) == wire.FlagACK && d.Seq == s.base+uint32(s.next) &&
		d.Ack-(o.base+uint32(o.acked)) <= uint32(o.next-o.acked) && o.acked <= o.next &&
		d.PayloadLen != 1 && d.PayloadLen <= maxFastPayload && !d.signed && !d.Multipath && !d.Fragment
}

// deliverNext delivers the next n bytes of a side. data is the captured part of them.
func (t *Table) deliverNext(c *Conn, side Side, data []byte, n, ack, now int64) {
	s := &c.tcp.side[side]
	off := s.next
	if s.delivered != off || int64(len(data)) != n {
		var p piece
		p.off, p.n, p.data, p.ack, p.time = off, n, data, ack, now
		t.deliver(c, side, &p)
		return
	}
	if s.next = off + n; !c.tcp.done && off < recentLimit {
		t.remember(s, off, data)
	}
	s.delivered = s.next
	t.emit(c, side, off, data, ack, 0, now, false)
}
