package dissect

import (
	"bytes"

	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

const (
	// maxUpgrade is the offset in a direction up to which a ClientHello is looked for after plaintext (STARTTLS, CONNECT, SOCKS).
	maxUpgrade = 64 << 10
	// mayUpgradeWithin is how many bytes both ends together must usually send, after the point from which PlainAfter counts, before
	// plaintext is assumed to stay plaintext.
	mayUpgradeWithin = 2 << 10
	// helloPrefix is how many bytes identify a hello: the headers of the record and of the message, and the version.
	helloPrefix = wire.RecordHeader + 4 + 2
)

// MayUpgrade reports whether TLS may follow the plaintext.
func (s *plainLayer) MayUpgrade() bool {
	may := false
	for i := range s.sides {
		switch st := &s.sides[i]; {
		case st.kind == KindPlain && st.protocol == "http":
			return s.httpUpgrades()
		case st.kind == KindPlain && !st.upgrades:
			return false
		case st.kind == KindPlain || st.kind == KindText || st.kind == KindStructured:
			may = may || st.upgrades
		}
	}
	return may
}

// PlainAfter returns how many bytes both ends together must have sent before plaintext is assumed to stay plaintext. Usually they must
// send 2 KiB after the point where both had sent something, or after the last mention of TLS. The result is at most 64 KiB, or 128 KiB if
// the session is Doubtful or an HTTP proxy has asked for credentials.
func (s *plainLayer) PlainAfter() int64 {
	switch {
	case s.Doubtful() || s.hop.connect && s.hop.status == 407:
		return 2 * maxUpgrade
	case s.sides[0].seen == 0 || s.sides[1].seen == 0:
		return maxUpgrade
	}
	within := int64(mayUpgradeWithin)
	for i := range s.sides {
		if p := s.sides[i].protocol; protocols.Evident(p) || p == "ldap" || p == "postgresql" {
			within = sealsWithin
		}
	}
	return min(s.plainFrom+within, maxUpgrade)
}

// movePlainFrom moves the point from which PlainAfter counts: first to where both ends have sent something, later to each mention of TLS.
func (s *plainLayer) movePlainFrom(side Side, data []byte) {
	st, other := &s.sides[side], &s.sides[side.Other()]
	first := st.seen == int64(len(data)) && other.seen > 0
	if first || st.seen <= maxUpgrade && (st.upgrades || other.upgrades) && saysTLS(data) {
		s.plainFrom = st.seen + other.seen
	}
}

// Doubtful reports whether bytes after plaintext are missing that may contain the start of TLS. It returns false again once plaintext, or
// TLS of both sides, is seen.
func (s *plainLayer) Doubtful() bool {
	return s.doubt && s.MayUpgrade() && (s.http == nil || s.http.Status != 101)
}

// httpUpgrades reports whether an HTTP proxy or server has agreed to another protocol, may have agreed in bytes that were not seen, or may
// agree once the client repeats its request with credentials. (Some proxies authenticate a connection, not a request.)
func (s *plainLayer) httpUpgrades() bool {
	h := &s.hop
	return h.connect && (h.status/100 == 2 || h.status == 407) || h.status == 101 || h.halfSeen()
}

// mayUpgrade reports whether a ClientHello is looked for after a side's plaintext. anywhere reports whether the hello may begin in the
// middle of a segment.
func (s *plainLayer) mayUpgrade(side Side) (may, anywhere bool) {
	st := &s.sides[side]
	if st.protocol == "" {
		st = &s.sides[side.Other()]
	}
	switch st.protocol {
	case "":
		return true, false
	case "http":
		return s.httpUpgrades(), false
	}
	return st.upgrades, st.upgrades
}

// saysTLS reports whether b mentions TLS or SSL within its first 512 bytes.
func saysTLS(b []byte) bool {
	b = b[:min(len(b), protocols.SampleSize)]
	for i := 0; i+3 <= len(b); i++ {
		switch b[i+1] | 0x20 {
		case 'l':
			if b[i]|0x20 == 't' && b[i+2]|0x20 == 's' {
				return true
			}
		case 's':
			if b[i]|0x20 == 's' && b[i+2]|0x20 == 'l' {
				return true
			}
		}
	}
	return false
}

// upgrade looks for TLS that begins after plaintext. It looks only early in the stream, and not within a protocol that never upgrades to
// TLS. It reports whether it processed the data.
func (s *Session) upgrade(side Side, offset int64, data []byte, ack int64) bool {
	st, other := &s.sides[side], &s.sides[side.Other()]
	if st.seen > maxUpgrade {
		return false
	}
	typ, anywhere := byte(tlsmsg.TypeClientHello), false
	if s.tls != nil && other.kind == KindTLS {
		typ, anywhere = tlsmsg.TypeServerHello, true
		if a := sniffTLS(data); a == protocols.Yes && st.p.scan.n == 0 {
			s.startTLS(side, offset, true)
			s.feed(side, offset, data, ack)
			return true
		}
	} else {
		var may bool
		if may, anywhere = s.mayUpgrade(side); !may {
			return false
		}
		if s.upgradeWithoutHello(side, offset, data, ack) {
			return true
		}
	}

	c := &st.p.scan
	held, at, ok := c.find(typ, anywhere, offset, data, ack)
	if !ok {
		return false
	}
	before, first, firstAck := c.buf, c.offset, c.ack
	begins := offset + int64(at)
	if held > 0 {
		begins = first
	}
	s.startTLS(side, begins, true)
	if held > 0 {
		s.feed(side, first, before[:held], firstAck)
	}
	s.feed(side, offset+int64(at), data[at:], ack)
	return true
}

const (
	// maxProxied bounds how many PROXY headers are read at the start of a connection.
	maxProxied = 4
	// maxPreface bounds the bytes that prefacedHello accepts before a ClientHello.
	maxPreface = 16
)

// prefacedHello looks for a ClientHello in a direction's first segment, after a few bytes of an unknown protocol, such as the type byte of
// Consul's and Nomad's RPC. It reports whether it processed buf and rest.
func (s *Session) prefacedHello(side Side, offset int64, buf, rest []byte, ack int64) bool {
	if s.tls != nil {
		return false
	}
	for at := 1; at <= maxPreface && at+helloPrefix <= len(buf); at++ {
		if helloBegins(buf[at:], tlsmsg.TypeClientHello) != protocols.Yes {
			continue
		}
		s.startTLS(side, offset+int64(at), true)
		s.feed(side, offset+int64(at), buf[at:], ack)
		if len(rest) > 0 {
			s.route(side, offset+int64(len(buf)), rest, ack)
		}
		return true
	}
	return false
}

// upgradeWithoutHello looks for TLS after plaintext if no ClientHello was seen. It looks for a ServerHello or for consecutive records, and
// reports whether it processed the data. If it did, the session is Doubtful until the other side speaks TLS, too, because plaintext can
// contain bytes that look like TLS.
func (s *Session) upgradeWithoutHello(side Side, offset int64, data []byte, ack int64) bool {
	st, other := &s.sides[side], &s.sides[side.Other()]
	c := &st.p.chain
	if st.kind == KindUnreadable || c.count == 0 && c.n == 0 && !s.doubt && ack <= other.seen+other.missed {
		return false
	}
	if helloBegins(data, tlsmsg.TypeServerHello) == protocols.Yes {
		*c = chain{}
		s.startTLS(side, offset, true)
		s.feed(side, offset, data, ack)
	} else if !s.findRecords(side, offset, data, ack, true) {
		return false
	}
	s.doubt = true
	return true
}

// scanner finds the start of a hello after other bytes, also across segments.
type scanner struct {
	buf         [helloPrefix]byte // bytes that may be the start of a hello
	n           int
	offset, ack int64 // offset and acknowledgement of buf[0]
}

// find looks for the start of a hello of a type at the start of data, or anywhere in it. ok reports whether it was found. If held is 0, the
// hello begins at data[at:]. Otherwise it begins with the first held bytes of c.buf, at c.offset, and continues in data.
func (c *scanner) find(typ byte, anywhere bool, offset int64, data []byte, ack int64) (held, at int, ok bool) {
	for c.n > 0 {
		var w [2 * helloPrefix]byte
		n := copy(w[:], c.buf[:c.n])
		n += copy(w[n:], data[:min(len(data), helloPrefix)])
		switch helloBegins(w[:n], typ) {
		case protocols.Yes:
			return c.n, 0, true
		case protocols.More:
			c.n = copy(c.buf[:], w[:n])
			return 0, 0, false
		default:
		}
		copy(c.buf[:], c.buf[1:c.n])
		c.n--
		c.offset++
	}

	for at < len(data) {
		if data[at] != wire.ContentHandshake {
			next := bytes.IndexByte(data[at:], wire.ContentHandshake)
			if !anywhere || next < 0 {
				return 0, 0, false
			}
			at += next
		}
		switch helloBegins(data[at:], typ) {
		case protocols.Yes:
			return 0, at, true
		case protocols.More:
			c.n = copy(c.buf[:], data[at:])
			c.offset, c.ack = offset+int64(at), ack
			return 0, 0, false
		default:
		}
		if !anywhere {
			return 0, 0, false
		}
		at++
	}

	return 0, 0, false
}

// helloBegins matches b against the start of a record that contains a hello of a type.
func helloBegins(b []byte, typ byte) protocols.Match {
	if len(b) == 0 || !plausibleHeader(b) || b[0] != wire.ContentHandshake {
		return protocols.No
	}
	if len(b) >= wire.RecordHeader && int(b[3])<<8|int(b[4]) < helloPrefix-wire.RecordHeader {
		return protocols.No // no message of a hello begins in a record that lacks the version
	}
	if len(b) > 5 && b[5] != typ || len(b) > 6 && b[6] != 0 || len(b) > 9 && b[9] != 3 && !tlsmsg.IsTLS13(uint16(b[9])<<8) {
		return protocols.No
	}
	if len(b) < helloPrefix {
		return protocols.More
	}
	record, message := int(b[3])<<8|int(b[4]), int(b[7])<<8|int(b[8])
	if !tlsmsg.PlausibleVersion(uint16(b[9])<<8|uint16(b[10])) || message < 38 || typ == tlsmsg.TypeClientHello && message+4 < record {
		return protocols.No
	}
	return protocols.Yes
}

// AnsweredInPlaintext reports whether the connection is not TLS although one side's bytes look like TLS, because the other side sends
// plaintext. Plaintext before TLS (STARTTLS) does not count, on three conditions: its protocol can be upgraded to TLS, it does not
// acknowledge the hello, and the hello is the originator's.
func (s *tlsLayer) AnsweredInPlaintext() bool {
	for i := range s.sides {
		st := &s.sides[i]
		switch st.kind {
		case KindPlain, KindText, KindStructured, KindEncrypted, KindGreeting:
		default:
			continue
		}
		t, other := s.tls, &s.sides[Side(i).Other()]
		if t == nil || !t.HelloBegun && t.Hello == nil || Side(i) == t.Client || st.clearAck > other.tlsAt || t.Client == Responder || !s.mayPrecede(st) {
			return true
		}
	}
	return false
}

// mayPrecede reports whether a side's plaintext may come before TLS.
func (s *plainLayer) mayPrecede(st *stream) bool {
	switch {
	case st.kind == KindText || st.kind == KindStructured:
		return true
	case st.protocol == "http":
		return s.httpUpgrades()
	}
	return st.kind == KindPlain && st.upgrades
}
