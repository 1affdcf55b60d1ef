package dissect

// answer is what a recognizer says of the first bytes of a direction.
type answer uint8

const (
	no answer = iota
	more
	maybe // it looks so; the other side must agree
	yes
)

// maxUpgrade bounds how far into a direction a ClientHello is looked for behind
// cleartext (STARTTLS, CONNECT, SOCKS), in bytes.
const maxUpgrade = 64 << 10

// sniffTLS says whether b begins with a ClientHello or ServerHello, an alert, or with
// records of an established connection. hello tells the first of these from the rest.
func sniffTLS(b []byte) (a answer, hello bool) {
	if !plausibleHeader(b) {
		return no, false
	}
	if len(b) < recordHeader+1 {
		return more, false
	}
	size := int(b[3])<<8 | int(b[4])
	switch b[0] {
	case contentHandshake:
		if b[5] == typeClientHello || b[5] == typeServerHello {
			return sniffHello(b, size)
		}
		return yes, false
	case contentAlert:
		if size == 2 && (b[5] < 1 || b[5] > 2) {
			return no, false
		}
	case contentChangeCipherSpec:
		if size != 1 || b[5] != 1 {
			return no, false
		}
	}
	return yes, false
}

// sniffHello looks at the handshake header and the hello's version, as far as the
// first record holds them (a hello may be split over records at any byte).
func sniffHello(b []byte, size int) (answer, bool) {
	const upToVersion = recordHeader + 4 + 2
	if size >= 6 {
		if len(b) < upToVersion {
			return more, false
		}
		if b[6] != 0 || !plausibleVersion(uint16(b[9])<<8|uint16(b[10])) {
			return no, false
		}
		return yes, true
	}
	if len(b) < recordHeader+size+recordHeader {
		return more, false
	}
	if !plausibleHeader(b[recordHeader+size:]) {
		return no, false
	}
	return yes, true
}

// recognize decides what a direction speaks, from its first bytes.
func (s *Session) recognize(side Side, offset int64, data []byte, ack int64) {
	st := &s.sides[side]
	buf := data
	if len(st.head) > 0 {
		if s.upgrade(side, offset, data, ack) {
			return
		}
		room := maxHead - len(st.head)
		st.head = append(st.head, data[:min(room, len(data))]...)
		buf = st.head
		offset, ack = st.headOffset, st.headAck
	}
	if size, a := proxyHeader(buf); a == yes {
		st.head = nil
		if rest := buf[size:]; len(rest) > 0 {
			s.recognize(side, offset+int64(size), rest, ack)
		}
		return
	}
	a, _ := sniffTLS(buf)
	if a == yes {
		st.head = nil
		s.startTLS(side)
		s.feed(side, offset, buf, ack)
		return
	}
	if s.v2Hello(side, offset, buf, ack) {
		return
	}
	if a != more {
		a = s.consult(side, buf)
	}
	if a == more && len(buf) < maxHead || a == no && len(buf) < minText {
		if len(st.head) == 0 {
			st.head = append(st.head, data[:min(maxHead, len(data))]...)
			st.headOffset, st.headAck = offset, ack
		}
		return
	}
	if a != yes {
		st.kind = textKind(buf)
		st.head = nil
	}
	s.revision++
	if a == yes && st.protocol == "http" {
		s.readHTTP(side, buf)
		return
	}
	st.head = nil
}

// consult asks the table. It sets the direction's kind where one says yes, or where
// one says maybe of this side and of the other.
func (s *Session) consult(side Side, b []byte) answer {
	st, other := &s.sides[side], &s.sides[side.Other()]
	best := no
	st.maybe = 0
	for i := range recognizers {
		r := &recognizers[i]
		a := max(r.ask(r.client, b), r.ask(r.server, b))
		switch {
		case a == yes, a == maybe && other.maybe&(1<<i) != 0:
			st.kind, st.protocol = r.kind, r.protocol
			if other.maybe&(1<<i) != 0 && other.protocol == "" && other.kind != KindTLS {
				other.kind, other.protocol = r.kind, r.protocol
			}
			return yes
		case a == maybe:
			st.maybe |= 1 << i
		case a == more:
			best = more
		}
	}
	if named := other.protocol; named != "" && st.maybe != 0 {
		for i := range recognizers {
			if st.maybe&(1<<i) != 0 && recognizers[i].protocol == named {
				st.kind, st.protocol = other.kind, named
				return yes
			}
		}
	}
	return best
}

// cleartext takes what follows in a direction that is not TLS.
func (s *Session) cleartext(side Side, offset int64, data []byte, ack int64) {
	st := &s.sides[side]
	if s.upgrade(side, offset, data, ack) {
		return
	}
	if st.protocol == "http" && st.head != nil {
		s.readHTTP(side, data)
	}
	if !s.settledPlain && s.sides[0].seen+s.sides[1].seen > MayUpgradeWithin {
		s.settledPlain = true
		s.revision++
	}
}

// MayUpgradeWithin is how many bytes both sides together send before cleartext that
// TLS may follow (STARTTLS) is taken for what stays.
const MayUpgradeWithin = 2 << 10

// upgrade looks for TLS that begins behind cleartext: at the start of a segment, early
// in the stream, and not inside of a protocol that never upgrades. It tells whether it
// took the data.
func (s *Session) upgrade(side Side, offset int64, data []byte, ack int64) bool {
	st := &s.sides[side]
	if st.seen > maxUpgrade {
		return false
	}
	a, hello := sniffTLS(data)
	if a != yes {
		return false
	}
	answers := s.tls != nil && s.sides[side.Other()].kind == KindTLS
	if !answers && (!hello || data[5] != typeClientHello || !s.mayUpgrade(side)) {
		return false
	}
	s.startTLS(side)
	st.head = nil
	s.feed(side, offset, data, ack)
	return true
}

// mayUpgrade tells whether the cleartext so far is of a kind that TLS may follow.
func (s *Session) mayUpgrade(side Side) bool {
	switch s.sides[side].protocol {
	case "http":
		return s.http != nil && (s.http.Method == "CONNECT" && s.http.Status/100 == 2 || s.http.Status == 101)
	case "http2", "ssh":
		return false
	}
	return true
}

// Conclude decides what was left open, now that no more bytes will come.
func (s *Session) Conclude() {
	for i := range s.sides {
		st := &s.sides[i]
		if st.kind == KindNone && len(st.head) >= minText {
			if a, _ := sniffTLS(st.head); a == no {
				st.kind = textKind(st.head)
			}
		}
	}
}

// minText is how many bytes it takes to call a direction text.
const minText = 8

// textKind tells text from binary: printable ASCII, UTF-8 continuation included only as
// far as it is rare, with line ends and tabs.
func textKind(b []byte) Kind {
	if len(b) > 512 {
		b = b[:512]
	}
	if len(b) < minText {
		return KindUnreadable
	}
	odd := 0
	for _, c := range b {
		if c < 0x20 && c != '\n' && c != '\r' && c != '\t' || c >= 0x7f {
			odd++
		}
	}
	if odd*20 > len(b) {
		return KindUnreadable
	}
	return KindText
}
