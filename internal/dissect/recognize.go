package dissect

import (
	"bytes"

	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
)

// recognize determines the protocol of a direction from its first bytes.
func (s *Session) recognize(side Side, offset int64, data []byte, ack int64) {
	p := s.sides[side].p
	s.acknowledges(side, ack)
	buf, rest := data, []byte(nil)
	if len(p.head) > 0 {
		// The start of TLS may be too short to be recognized, even if it is a whole record. It then belongs to the hello that data continues.
		if sniffTLS(p.head) != protocols.More && s.upgrade(side, offset, data, ack) {
			return
		}
		before := len(p.head)
		p.head, _ = s.bufferBytes(p.head, data, protocols.MaxHead)
		buf, rest = p.head, data[len(p.head)-before:]
		if p.scan.n > 0 && len(rest) == 0 {
			return // the latest bytes may be the start of TLS
		}
		offset, ack = p.headOffset, p.headAck
	}

	switch size, a := protocols.ProxyHeader(buf); {
	case p.proxied >= maxProxied || a == protocols.No:
	case a == protocols.Yes:
		if p.proxied++; p.proxied > 1 {
			s.afterOther, s.upgraded = true, "proxy_protocol"
		}
		s.release(&p.head)
		if after := buf[size:]; len(after) > 0 {
			s.recognize(side, offset+int64(size), after, ack)
		}
		return
	default:
		s.bufferHead(side, offset, buf, ack)
		return
	}

	switch sniffTLS(buf) {
	case protocols.Yes:
		s.startTLS(side, offset, false)
		s.feed(side, offset, buf, ack)
		if len(rest) > 0 {
			s.route(side, offset+int64(len(buf)), rest, ack)
		}
		return
	case protocols.More:
		s.bufferHead(side, offset, buf, ack)
		return
	default:
	}

	if s.sslv2Hello(side, offset, buf, ack) {
		return
	}
	s.selectProtocol(side, offset, buf, rest, ack)
	s.weigh(side, data)
}

// selectProtocol tries the recognizers. A direction that none of them matches is text or unreadable. rest follows buf and is not buffered.
func (s *Session) selectProtocol(side Side, offset int64, buf, rest []byte, ack int64) {
	st := &s.sides[side]
	p := st.p
	full := len(rest) > 0 || len(buf) >= protocols.MaxHead
	if !full && !p.askAgain(buf) {
		return
	}
	a := s.match(side, buf)
	switch {
	case a == protocols.Yes && st.kind == KindGreeting:
		s.revision++
		s.release(&p.head)
		p.ssh = &sshReader{}
		s.readSSH(side, offset, buf, ack)
		if len(rest) > 0 {
			s.route(side, offset+int64(len(buf)), rest, ack)
		}
		return
	case a != protocols.Yes && s.prefacedHello(side, offset, buf, rest, ack):
		return
	case a == protocols.Yes:
		s.revision++
		s.release(&p.head)
		s.startReader(side, buf)
		s.readLogin(side, rest)
		if st.kind == KindPlain && protocols.Seals(st.protocol) {
			s.sealing(side, buf)
			if len(rest) > 0 {
				s.sealing(side, rest)
			}
		}
		if st.upgrades && s.upgrade(side, offset, buf, ack) {
			s.feed(side, offset+int64(len(buf)), rest, ack)
		}
		return
	case !full && (a == protocols.More || len(buf) < protocols.MinText):
		s.bufferHead(side, offset, buf, ack)
		return
	}

	kind := textKind(buf)
	if kind == KindUnreadable && textTail(buf) {
		kind = KindText
	}
	if p.maybe != (maybes{}) && !full && len(buf) < maxDoubt && (kind == KindUnreadable || s.sides[side.Other()].seen == 0) {
		s.bufferHead(side, offset, buf, ack)
		return
	}
	if kind == KindText && s.handshaking(side) {
		kind = KindUnreadable
	}
	st.kind = kind
	st.upgrades = kind == KindText // TLS may follow any text
	s.revision++
	if kind == KindUnreadable {
		s.findRecords(side, offset, buf, ack, false)
	}
	s.release(&p.head)
}

// askAgain reports whether the recognizers should be tried again: if a line has ended since the last try, or an eighth more bytes have
// come. Many small segments then cost no more than large ones.
func (p *parser) askAgain(buf []byte) bool {
	const always = 64
	if len(buf) > always && len(buf) < p.asked+p.asked/8 && bytes.IndexByte(buf[p.asked:], '\n') < 0 {
		return false
	}
	p.asked = len(buf)
	return true
}

// bufferHead buffers the first bytes of a direction until more bytes come.
func (s *streams) bufferHead(side Side, offset int64, buf []byte, ack int64) {
	p := s.sides[side].p
	if len(p.head) == 0 {
		p.head, _ = s.bufferBytes(nil, buf, protocols.MaxHead)
		p.headOffset, p.headAck = offset, ack
	}
}

// acknowledges notes how many bytes of the other direction a side acknowledged when it sent plaintext. If the packet does not show the
// number, the order of the capture is used instead.
func (s *streams) acknowledges(side Side, ack int64) {
	if ack < 0 {
		ack = 0
		if s.sides[side.Other()].kind == KindTLS {
			ack = 1 << 62
		}
	}
	st := &s.sides[side]
	st.clearAck = max(st.clearAck, ack)
}

// startReader starts the reader of a protocol that was just recognized; buf are the first bytes.
func (s *Session) startReader(side Side, buf []byte) {
	st := &s.sides[side]
	switch st.protocol {
	case "http":
		st.p.http = s.pool.lineReader(false)
		s.readHTTP(side, buf)
	case "http2":
		st.p.http2 = newHTTP2Reader(buf)
		s.readHTTP2(side, buf)
	case "dns":
		if s.dns == nil {
			s.dns = &dns{}
		}
		s.dnsData(side, buf)
	case "tds":
		s.tdsBegin(side, buf)
	case "socks4":
		if len(buf) == 8 && buf[0] == 0 && buf[1] == 90 {
			s.openTunnel()
		}
	default:
		s.startLogin(st.protocol)
		s.readLogin(side, buf)
	}
}

// plaintext processes bytes of a direction whose kind is decided and is not KindTLS.
func (s *Session) plaintext(side Side, offset int64, data []byte, ack int64) {
	st := &s.sides[side]
	s.acknowledges(side, ack)
	if st.p.tds.on {
		s.tdsData(side, offset, data, ack)
		return
	}
	if s.upgrade(side, offset, data, ack) || s.throughTunnel(side, offset, data, ack) {
		return
	}
	if s.login.reader != nil {
		s.checkLoginAck(side, ack)
		s.readLogin(side, data)
	}
	switch {
	case (st.kind == KindPlain || st.kind == KindEncrypted) && protocols.Seals(st.protocol):
		s.sealing(side, data)
	case st.kind == KindText && !s.plainDecided && s.turnsOpaque(side, data):
		return
	}

	if s.doubt && (readable(data) || st.speaks(data)) {
		s.doubt = false
		s.revision++
	}
	switch {
	case st.p.ssh != nil:
		s.readSSH(side, offset, data, ack)
	case st.kind == KindEncrypted && st.protocol == "ssh" && st.seen <= maxUpgrade && len(data) >= protocols.MinText && allText(data[:min(len(data), protocols.SampleSize)]):
		s.recognizeAnew(side, offset, nil, data, ack)
	case st.p.http != nil:
		s.readHTTP(side, data)
	case st.p.http2 != nil:
		s.readHTTP2(side, data)
	case st.asks && s.tunnels == 0 && st.p.after.on:
		s.followHTTP2(side, data)
	case st.asks && s.tunnels == 0:
		s.followHTTP(side, data)
	case st.protocol == "dns" && s.dns != nil:
		s.dnsData(side, data)
	case st.protocol == "":
		s.retryRecognize(side, offset, data, ack)
	}
}

// speaks reports whether b begins like a message of the side's protocol.
func (st *stream) speaks(b []byte) bool {
	candidates := protocols.StartingWith(b[0])
	for i := candidates.Next(0); i >= 0; i = candidates.Next(i + 1) {
		if r := &protocols.TCP[i]; protocols.Same(st.protocol, r.Protocol) && max(r.Client(b), r.Server(b)) >= protocols.Maybe {
			return true
		}
	}
	return false
}

// readable reports whether b is text, even if it is short. The header of a TLS record is not text.
func readable(b []byte) bool {
	const short = 8
	b = b[:min(len(b), protocols.SampleSize)]
	return textKind(b) == KindText || len(b) >= short && protocols.CountNonText(b) == 0
}

// maxTries bounds how many later segments are examined for a protocol if the first bytes of a direction were not recognized. After
// maxTries segments, only segments that begin with text are examined.
const maxTries = 256

// retryRecognize looks for a protocol in a later segment of a direction whose first bytes were not recognized: the tap may have been
// attached in the middle of a message.
func (s *Session) retryRecognize(side Side, offset int64, data []byte, ack int64) {
	st := &s.sides[side]
	if st.p.tries++; st.p.tries > maxTries && !textPacket(data) {
		return
	}
	if st.kind == KindUnreadable && s.findRecords(side, offset, data, ack, false) {
		return
	}
	if st.kind == KindText && s.matchLines(side, data) == protocols.Yes {
		s.revision++
		s.startLogin(st.protocol)
		s.readLogin(side, data)
		return
	}
	defer s.examineLater(side, data)
	candidates := protocols.MiddleStartingWith(data[0])
	for i := candidates.Next(0); i >= 0; i = candidates.Next(i + 1) {
		if r := &protocols.TCP[i]; max(r.Client(data), r.Server(data)) == protocols.Yes {
			st.kind, st.protocol, st.upgrades = kindOf(r), r.Protocol, r.Upgrades
			s.revision++
			s.markStrayed() // the bytes before were of an unknown protocol
			s.login.lost = true
			s.startReader(side, data)
			if protocols.Seals(st.protocol) {
				s.sealing(side, data)
			}
			return
		}
	}
}

// examineLater examines a later segment of a direction whose first bytes were not readable: text or structured binary may follow.
func (s *recognition) examineLater(side Side, b []byte) {
	st := &s.sides[side]
	if st.kind != KindUnreadable || s.handshaking(side) {
		return
	}
	text := b[:min(len(b), protocols.SampleSize)]
	if before := st.p.readable; protocols.CountNonText(text) > 0 {
		st.p.readable = 0
	} else if st.p.readable += len(text); st.p.readable >= minTextBehind && before > 0 && int64(2*st.p.readable) >= st.seen-st.p.flight.passed {
		st.kind, st.upgrades = KindText, true
		s.revision++
		return
	}
	s.weigh(side, b)
}

// Conclude decides the kinds that are still undecided at the end of the connection.
func (s *Session) Conclude() {
	if s.udp != nil && s.udp.quic != nil && s.udp.quic.deferred > 0 && s.pool.mayRead(s.source) {
		s.readDeferred()
	}
	if s.after != nil {
		s.after.Conclude()
	}
	s.concludeReplies()
	short, clean := 0, true
	for i := range s.sides {
		st := &s.sides[i]
		if st.p == nil || st.kind != KindNone || len(st.p.head) == 0 || sniffTLS(st.p.head) != protocols.No {
			continue
		}
		if len(st.p.head) >= protocols.MinText {
			st.kind = textKind(st.p.head)
		}
		if s.handshaking(Side(i)) {
			st.kind = KindUnreadable
		}
		if st.kind != KindNone {
			continue
		}
		short += len(st.p.head)
		clean = clean && protocols.CountNonText(st.p.head) == 0
	}

	s.decideStructure()
	if short < minShortText || !clean {
		return
	}
	for i := range s.sides {
		if st := &s.sides[i]; st.p != nil && st.kind == KindNone && len(st.p.head) > 0 {
			st.kind = KindText
		}
	}
}

const (
	// minShortText is the least number of bytes, in both directions together, that are called text at the end of the connection: 20
	// random bytes are text with a probability of 10^-8.
	minShortText = 20
	// minTextBehind is the least number of bytes of text that count after a start that was not text. The text must be in at least two
	// consecutive segments and be half of the direction's bytes, because compressed data contains runs of text, too.
	minTextBehind = 64
	// maxDoubt is how many unreadable bytes of a direction, or bytes of text before the other side's first answer, are buffered while a
	// recognizer returns Maybe.
	maxDoubt = 256
)

// textKind returns KindText or KindUnreadable.
func textKind(b []byte) Kind {
	if protocols.IsText(b) {
		return KindText
	}
	return KindUnreadable
}

// textTail reports whether b ends with text, like a plaintext message after a binary header. It examines the second half of b, but at
// least 64 and at most SampleSize bytes.
func textTail(b []byte) bool {
	n := max(minTextBehind, (len(b)+1)/2)
	return n <= len(b) && protocols.CountNonText(b[len(b)-min(n, protocols.SampleSize):]) == 0
}
