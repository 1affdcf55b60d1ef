package dissect

import (
	"bytes"

	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// A second handshake on a connection begins with a hello in plaintext at the start of a record. The hello belongs to the first handshake
// only if its side has not yet sent protected data and the other messages permit it (RFC 8446 section 4.1.4: after a HelloRetryRequest,
// the client sends a second ClientHello). Missing bytes do not matter for this decision: if they hide the first handshake's hello, the
// hello of the second one must not take its place.

// Mixed reports whether a hello belongs to another handshake than an earlier hello of the same side. The facts then do not describe one
// handshake, and they prove nothing.
func (t *TLS) Mixed() bool { return t.mixed }

// mix notes whether a second hello of a side differs from the first one. Over UDP a late copy of an earlier handshake's hello proves nothing.
func (t *TLS) mix(differs bool) { t.mixed = t.mixed || differs && t.Over == tlsmsg.OverTCP }

// Overrun reports whether TLS ended so often in one connection that the rest is not examined.
func (s *afterLayer) Overrun() bool { return s.overrun }

// mayEnd reports whether an After can be created. If not, the session is Overrun from now on.
func (s *afterLayer) mayEnd() bool {
	if s.depth < maxAfter {
		return true
	}
	if !s.overrun {
		s.overrun = true
		s.revision++
	}
	return false
}

// nextHandshake looks for another handshake at the start of a record; data are the next bytes of the side at offset. ends reports whether
// it was found; the side's TLS has then ended before it. If waits is true, data may be the first bytes of a hello. They are held until more
// bytes come.
func (s *afterLayer) nextHandshake(side Side, offset int64, data []byte, ack int64) (waits, ends bool) {
	r := &s.sides[side].p.rec
	h := &r.text
	n := copy(h.head[h.n:], data)
	b := h.head[:int(h.n)+n]
	m := max(helloBegins(b, tlsmsg.TypeClientHello), helloBegins(b, tlsmsg.TypeServerHello))
	protected := s.tls.protectedBy(side)
	switch {
	case protected && len(b) >= wire.RecordHeader && (s.secondCipher(side, b) || b[0] == wire.ContentHandshake && plausibleHeader(b) && int(b[3])<<8|int(b[4]) < minSealed):
	case m == protocols.More || protected && len(b) < wire.RecordHeader && plausibleHeader(b):
		h.n += uint8(n)
		s.tls.layers[side].inHeader = true
		return true, false
	case m != protocols.Yes || !s.renews(side, b[wire.RecordHeader], ack):
		return false, false
	}
	switch {
	case s.tls.Server != nil && s.tls.Server.V2:
		return false, false
	case !s.mayEnd():
		return true, false
	}
	held := int(h.n)
	s.tls.layers[side].inHeader, h.n = false, 0
	s.endTLS(side, offset-int64(held), h.head[:held], data, ack, true)
	return false, true
}

// secondCipher reports whether b begins with a ChangeCipherSpec of a side that has sent one before.
func (s *tlsLayer) secondCipher(side Side, b []byte) bool {
	return s.tls.layers[side].ccs && plausibleHeader(b) && changesCipher(b[0], int(b[3])<<8|int(b[4]))
}

// renews reports whether a hello of a type at the start of a side's record belongs to another handshake than the session's. ack is how many
// bytes of the other side its packet acknowledges, -1 if unknown.
func (s *afterLayer) renews(side Side, typ byte, ack int64) bool {
	t, other := s.tls, &s.sides[side.Other()]
	retried := t.HelloRetry && !t.SecondHello
	switch {
	case typ == tlsmsg.TypeClientHello && retried && t.Server == nil:
		return false // early data may come before the second ClientHello
	case t.protectedBy(side):
		return true
	case typ == tlsmsg.TypeServerHello:
		return t.Server != nil || other.ended && (ack < 0 || ack > s.after.sides[side.Other()].tlsAt)
	case t.Server == nil || retried:
		return false // if this is not the answer to a HelloRetryRequest that was lost, the randoms differ (clientHello)
	}
	return t.Hello != nil || ack >= t.ServerHelloEnd
}

// protectedBy reports whether a side has sent records that only its handshake's keys can protect.
func (t *TLS) protectedBy(side Side) bool {
	return t.AppRecords[side] > 0 || t.SealedAlerts[side] > 0 || t.Finished[side] || t.layers[side].ccs && t.before13()
}

// helloIn returns the first offset in b where a hello in plaintext begins, or len(b) if there is none. Ciphertext contains a hello's first
// bytes with a probability of less than 2^-40 per offset.
func helloIn(b []byte) int {
	for at := 0; at < len(b); at++ {
		next := bytes.IndexByte(b[at:], wire.ContentHandshake)
		if next < 0 {
			break
		}
		if at += next; anyHello(b[at:]) {
			return at
		}
	}
	return len(b)
}
