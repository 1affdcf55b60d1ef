package dissect

import (
	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// tdsLayer reads the packets of TDS in one direction, to find the TLS handshake in packets of type PRELOGIN (MS-TDS section 2.2.6.5). After
// the handshake TLS records are sent without packets, or TLS ends after the login and plaintext packets follow.
type tdsLayer struct {
	on         bool
	tls        bool // the payload of the packet is TLS
	headerRead bool // hdr is complete, and no payload was seen
	hdr        [8]byte
	n          uint8 // bytes of hdr
	left       int   // remaining bytes of the payload
}

// Wrapped reports whether the next TLS record of an end may still be in a packet of TDS, or TLS may end after the login. An end settles
// both questions with the first record or packet that it sends after the handshake.
func (s *streams) Wrapped() bool {
	for i := range s.sides {
		if p := s.sides[i].p; p != nil && p.tds.on && !s.sides[i].ended {
			return true
		}
	}
	return false
}

// tdsBegin starts the reader of a direction with its first bytes.
func (s *Session) tdsBegin(side Side, buf []byte) {
	st := &s.sides[side]
	st.p.tds.on = true
	s.tdsData(side, st.seen+st.missed-int64(len(buf)), buf, -1)
}

// tdsData processes the next bytes of a direction of TDS.
func (s *Session) tdsData(side Side, offset int64, data []byte, ack int64) {
	st := &s.sides[side]
	t := &st.p.tds
	for len(data) > 0 && t.on {
		n := 0
		switch {
		case t.left > 0:
			n = min(t.left, len(data))
			s.tdsPayload(side, offset, data[:n], ack)
			t.left -= n
		case t.n == 0 && st.kind == KindTLS && data[0] >= wire.ContentChangeCipherSpec:
			t.on = false
			s.feed(side, offset, data, ack)
			return
		default:
			n = copy(t.hdr[t.n:], data)
			if t.n += uint8(n); int(t.n) == len(t.hdr) {
				t.packet()
			}
		}
		if t.headerRead && st.kind == KindTLS && t.hdr[0] != 0x12 && s.depth < maxAfter && s.tls.answered() {
			t.on = false
			s.endTLS(side, offset+int64(n-len(t.hdr)), t.hdr[:], data[n:], ack, true)
			return
		}
		data, offset = data[n:], offset+int64(n)
	}
}

// packet parses a complete header.
func (t *tdsLayer) packet() {
	size, a := protocols.TDSHeader(t.hdr[:])
	t.n, t.left, t.headerRead = 0, size-len(t.hdr), true
	t.on = a == protocols.Yes
}

// tdsPayload processes a part of a packet's payload. TLS begins with a handshake record. The options of a PRELOGIN never look like the
// start of a handshake record.
func (s *Session) tdsPayload(side Side, offset int64, b []byte, ack int64) {
	st := &s.sides[side]
	t := &st.p.tds
	if t.headerRead {
		typ := t.hdr[0]
		t.headerRead, t.tls = false, st.kind == KindTLS || b[0] == wire.ContentHandshake && (typ == 0x12 || typ == 0x04)
	}
	if !t.tls {
		return
	}
	if st.kind != KindTLS {
		s.startTLS(side, offset, true)
	}
	s.feed(side, offset, b, ack)
}
