package dissect

import (
	"encoding/binary"

	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

const (
	dtlsHeader      = 13 // RFC 6347 section 4.1
	dtlsFragment    = 12 // RFC 6347 section 4.2.2
	maxDTLSMessages = 32 // handshake messages of one side that are stored
	// maxDTLSRecords bounds the records of a datagram that are processed.
	maxDTLSRecords = 64
)

// dtls reassembles the handshake messages of a DTLS connection.
type dtls struct{ sides [2]dtlsSide }

// dtlsSide is one direction. A position in its handshake is one number: the upper bits are the sequence number of a message, the lower 24
// bits are the offset in that message.
type dtlsSide struct {
	begun bool
	at    uint64 // position of the next byte
	size  int    // size of the current message, if open is set
	open  bool   // the header of the current message was delivered
	early reorderBuffer
	stuck bool // an early fragment was dropped

	finished int // size of the record with the encrypted Finished

	first [maxDTLSMessages]uint32 // type and size of each message, 0 if it was not seen
}

// contradicts reports whether an earlier message with the same number as the message of f had another type or size. Then it is unknown
// which of the two messages the receiver used. Hellos are excluded: they are sent again with a cookie, and the numbers may start again.
func (d *dtlsSide) contradicts(f *fragment) bool {
	if int(f.seq) >= len(d.first) || f.typ <= tlsmsg.TypeHelloVerifyRequest {
		return false
	}
	was, is := d.first[f.seq], uint32(f.typ)<<24|uint32(f.size)
	d.first[f.seq] = is
	return was != 0 && was != is
}

// dtlsPosition returns the position of a message and an offset in it.
func dtlsPosition(seq uint16, offset int) uint64 { return uint64(seq)<<24 | uint64(offset) }

// dtlsBegins reports whether b is a datagram of DTLS records: their lengths fill b, or one of them contains a plaintext handshake message.
func dtlsBegins(b []byte) bool {
	handshakes, at := 0, 0
	for at < len(b) {
		r := b[at:]
		if len(r) < dtlsHeader || r[0] < wire.ContentChangeCipherSpec || r[0] > wire.ContentApplicationData || !tlsmsg.IsDTLS(uint16(r[1])<<8|uint16(r[2])) {
			return false
		}
		size := int(r[11])<<8 | int(r[12])
		if size == 0 || size > maxRecord {
			return false
		}
		if r[0] == wire.ContentHandshake && r[3] == 0 && r[4] == 0 {
			if _, ok := readFragment(r[dtlsHeader:min(len(r), dtlsHeader+size)], size); !ok {
				return false
			}
			handshakes++
		}
		at += dtlsHeader + size
	}
	return at == len(b) || handshakes > 0 // a truncated datagram still shows its hello
}

// fragment is a handshake message of DTLS, or a part of one (RFC 6347 section 4.2.2).
type fragment struct {
	typ          uint8
	size, offset int // size of the message, and offset of the fragment in it
	seq          uint16
	length       int
	data         []byte // the captured part of the fragment's body
}

// readFragment parses the fragment at the start of b. b is the captured part of the bytes that remain in a record. left is the number of
// these bytes on the wire.
func readFragment(b []byte, left int) (f fragment, ok bool) {
	if len(b) < dtlsFragment {
		return f, false
	}
	f = fragment{
		typ:    b[0],
		size:   int(b[1])<<16 | int(b[2])<<8 | int(b[3]),
		seq:    binary.BigEndian.Uint16(b[4:]),
		offset: int(b[6])<<16 | int(b[7])<<8 | int(b[8]),
		length: int(b[9])<<16 | int(b[10])<<8 | int(b[11]),
	}
	if !knownMessage(f.typ) || f.offset+f.length > f.size || dtlsFragment+f.length > left {
		return f, false
	}
	f.data = b[dtlsFragment:min(len(b), dtlsFragment+f.length)]
	return f, true
}

// dtlsDatagram processes the records of one datagram.
func (s *udpLayer) dtlsDatagram(side Side, b []byte) {
	t := s.tls
	for range maxDTLSRecords {
		if len(b) == 0 {
			return
		}
		if b[0]&0xe0 == 0x20 { // a ciphertext of DTLS 1.3 (RFC 9147 section 4)
			s.examinePacket(side, b)
			if b[0]&3 == 3 {
				if t.Protected1RTT[side]++; t.Protected1RTT[side] <= enough1RTT {
					s.revision++
				}
			}
			return
		}
		if len(b) < dtlsHeader || !tlsmsg.IsDTLS(uint16(b[1])<<8|uint16(b[2])) {
			return
		}
		epoch, size := binary.BigEndian.Uint16(b[3:]), int(b[11])<<8|int(b[12])
		body := b[dtlsHeader:min(len(b), dtlsHeader+size)]
		if b[0] == wire.ContentApplicationData || b[0] == wire.ContentCID || epoch > 0 {
			s.examinePacket(side, body)
		}
		switch {
		case b[0] == wire.ContentCID:
			s.dtlsSealed(side, wire.ContentApplicationData, size)
			return
		case epoch > 0:
			s.dtlsSealed(side, b[0], size)
		default:
			s.dtlsPlaintext(side, b[0], body, size)
		}
		b = b[min(len(b), dtlsHeader+size):]
	}
}

// dtlsSealed notes a protected record of size bytes. The Finished is retransmitted if the answer to it is lost (RFC 6347 section 4.2.4).
// Therefore a handshake record of the same size as the Finished does not count as another message.
func (s *udpLayer) dtlsSealed(side Side, typ uint8, size int) {
	t, d := s.tls, &s.udp.dtls.sides[side]
	first := false
	switch typ {
	case wire.ContentHandshake:
		if first = !t.Finished[side]; first {
			t.Finished[side], d.finished = true, size
		}
		if first || size != d.finished {
			t.SealedHandshakes[side]++
		}
	case wire.ContentAlert:
		t.SealedAlerts[side]++
		first = t.SealedAlerts[side] <= maxSealed
	case wire.ContentApplicationData:
		t.AppRecords[side]++
		first = t.AppRecords[side] <= 2
	}
	if first {
		s.revision++
	}
}

// dtlsPlaintext processes a plaintext record of size bytes. body is the captured part.
func (s *udpLayer) dtlsPlaintext(side Side, typ uint8, body []byte, size int) {
	t := s.tls
	switch typ {
	case wire.ContentChangeCipherSpec:
		if !t.layers[side].ccs {
			t.layers[side].ccs = true
			s.revision++
		}
		// bytes of the handshake are still missing: they were lost, or they arrive after the ChangeCipherSpec
		if d := &s.udp.dtls.sides[side]; d.open || len(d.early.list) > 0 || d.stuck || !d.begun {
			t.LostHandshake[side] = true
		}
	case wire.ContentAlert:
		if len(body) == 2 {
			t.alert(Alert{Side: side, Level: body[0], Description: body[1]})
			s.revision++
		}
	case wire.ContentHandshake:
		left := size
		for len(body) > 0 {
			f, ok := readFragment(body, left)
			if !ok {
				return
			}
			s.dtlsFragment(side, f)
			n := dtlsFragment + f.length
			left -= n
			body = body[min(len(body), n):]
		}
	}
}

// dtlsFragment processes a fragment: it delivers bytes that are in order and buffers a fragment that is early.
func (s *udpLayer) dtlsFragment(side Side, f fragment) {
	d := &s.udp.dtls.sides[side]
	at := dtlsPosition(f.seq, f.offset)
	if d.contradicts(&f) && !s.tls.Conflict {
		s.tls.Conflict = true
		s.revision++
	}
	switch {
	case !d.begun && f.offset == 0:
		d.begun, d.at = true, at
		if f.typ != tlsmsg.TypeClientHello && f.typ != tlsmsg.TypeServerHello && f.typ != tlsmsg.TypeHelloVerifyRequest {
			s.tls.LostHandshake[side] = true
		}
	case f.typ == tlsmsg.TypeServerHello && f.offset == 0 && s.tls.HelloVerify && s.tls.Server == nil && at < d.at && !d.open:
		d.at = at // some servers restart the message numbers after a HelloVerifyRequest
	}

	if len(f.data) < f.length || f.seq > d.current()+maxDTLSMessages {
		return
	}
	if at > d.at || !d.begun || f.seq == d.current() && !d.open && f.offset > 0 {
		// the fragment's header is buffered, too, so that the fragment can be parsed later
		d.stuck = !d.early.add(&s.memory, at, at+uint64(max(f.length, 1)), f.whole()) || d.stuck
		return
	}
	s.dtlsDeliver(side, f)
	for !s.sides[side].p.hs.broken {
		next, ok := d.early.next(&s.memory, d.at)
		if !ok {
			return
		}
		if f, ok := readFragment(next.data, len(next.data)); ok {
			s.dtlsDeliver(side, f)
		}
	}
}

// current returns the number of the message that comes next.
func (d *dtlsSide) current() uint16 { return uint16(d.at >> 24) }

// whole returns a fragment with its header, as it was sent.
func (f *fragment) whole() []byte {
	b := make([]byte, dtlsFragment, dtlsFragment+len(f.data))
	binary.BigEndian.PutUint32(b, uint32(f.typ)<<24|uint32(f.size))
	binary.BigEndian.PutUint16(b[4:], f.seq)
	b[6], b[7], b[8] = byte(f.offset>>16), byte(f.offset>>8), byte(f.offset)
	b[9], b[10], b[11] = byte(f.length>>16), byte(f.length>>8), byte(f.length)
	return append(b, f.data...)
}

// dtlsDeliver passes the new bytes of a fragment on, in the form of a TLS handshake.
func (s *udpLayer) dtlsDeliver(side Side, f fragment) {
	d := &s.udp.dtls.sides[side]
	have := int(d.at & (1<<24 - 1))
	switch {
	case f.seq != d.current():
		return // a retransmission
	case !d.open && f.offset == 0:
		d.open, d.size = true, f.size
		s.handshake(side, []byte{f.typ, byte(f.size >> 16), byte(f.size >> 8), byte(f.size)}, 0)
	case f.size != d.size:
		return
	}

	if end := f.offset + f.length; end > have {
		s.handshake(side, f.data[have-f.offset:], 0)
		have = end
	}
	d.at = dtlsPosition(f.seq, have)
	if have >= d.size {
		d.open, d.at = false, dtlsPosition(f.seq+1, 0)
		if f.seq == 1<<16-1 {
			s.addHandshakeGap(side, &s.sides[side].p.hs)
		}
	}
}
