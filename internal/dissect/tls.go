package dissect

import "github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"

// Alert is a TLS alert in plaintext (RFC 8446 section 6).
type Alert struct {
	Side        Side
	Level       uint8 // 1: warning, 2: fatal
	Description uint8
	before      [2]int // TLS.AppRecords when the alert came
}

// maxAlerts bounds the alerts that are stored.
const maxAlerts = 8

// TLS stores what was seen of TLS in a connection. Arrays are indexed by Side.
type TLS struct {
	Over           tlsmsg.Over
	Client         Side // the side that sent the ClientHello; the originator until that is known
	RolesKnown     bool // a hello was seen, at least its beginning
	Hello          *tlsmsg.ClientHello
	Server         *tlsmsg.ServerHello // never the HelloRetryRequest
	HelloRetry     bool
	HelloVerify    bool  // DTLS: a HelloVerifyRequest was seen
	SecondHello    bool  // a second ClientHello, after a HelloRetryRequest, was seen
	ServerHelloEnd int64 // stream offset right after the ServerHello
	// ClientHelloEnd is the stream offset right after the last ClientHello.
	ClientHelloEnd int64
	// HelloBegun reports whether a ClientHello has begun, but is not complete.
	HelloBegun bool

	CertificateRequest bool
	ServerHelloDone    bool
	ServerKeyGroup     uint16           // named group of a ServerKeyExchange, 0 if none
	Certs              [2]*tlsmsg.Chain // Certificate messages in plaintext
	CertificateVerify  bool
	ClientKeyExchange  bool
	NewSessionTicket   bool
	NewTicket          tlsmsg.TicketHash // hash of the ticket in a NewSessionTicket of TLS 1.2
	TicketLifetime     uint32            // its lifetime in seconds, 0 if the server states none
	Finished           [2]bool           // TLS 1.2 and older: the encrypted Finished was seen
	Alerts             []Alert
	SealedAlerts       [2]int
	SealedHandshakes   [2]int // encrypted handshake records of TLS 1.2 and older: Finished, and renegotiation
	AppRecords         [2]int
	// LostHandshake reports whether bytes of a side's plaintext handshake are missing. The side may then have sent messages that were not
	// seen.
	LostHandshake [2]bool
	// Readable reports whether protected records contain text, although all their bytes should be ciphertext.
	Readable bool
	// Conflict reports whether a handshake message of DTLS came twice with different types or sizes.
	Conflict bool
	mixed    bool // see Mixed
	// Protected1RTT counts packets or records that are protected by the keys of application data: with the short header of QUIC, or in
	// epoch 3 of DTLS 1.3.
	Protected1RTT [2]int
	QUICVersion   uint32 // version in the last long header that was read, 0 if none
	QUICRetry     bool   // a Retry packet was seen

	layers [2]recordLayer
	first  firstEnd
}

// firstEnd describes the first FIN or RST of either side.
type firstEnd struct {
	seen, reset bool
	side        Side
	before      [2]int // TLS.AppRecords when the FIN or RST came
}

// recordLayer describes what the record layer of one side has shown.
type recordLayer struct {
	headers  int  // records started
	telling  int  // records started that are large enough for ciphertext
	ccs      bool // ChangeCipherSpec seen
	broken   bool // the position in the record layer is unknown, after an invalid header or a gap over a header
	torn     bool // broken is set because of a gap
	text     textRun
	holes    bool // the position was unknown once: list may lack records from index holeAt on
	holeAt   int
	inHeader bool // the bytes end within the header of a record
	early    int  // records of early data that are not in list
	list     []TLSRecord
	rest     int   // protected records that are not in list
	ended    bool  // the other side has sent a FIN or RST
	before   int   // length of list when ended was set
	at       int64 // packet time of the other side's first FIN or RST
}

// Records returns the protected records (type 23) of a side in stream order, at most the first 48. If complete is true, no record is
// missing between them. Otherwise the list ends before the first gap. A client's records that acknowledge no byte of the server are early
// data; only the first four of them are listed. The slice is valid until the next call of Data.
func (t *TLS) Records(side Side) (list []TLSRecord, complete bool) {
	l := &t.layers[side]
	if l.holes {
		return l.list[:min(l.holeAt, len(l.list))], false
	}
	return l.list, true
}

// More returns how many protected records a side sent in addition to the listed records.
func (t *TLS) More(side Side) int { return t.layers[side].rest }

// BeforeEnd returns how many of the listed records of a side came before the other side's first FIN or RST. ended reports whether the other
// side has sent a FIN or RST.
func (t *TLS) BeforeEnd(side Side) (n int, ended bool) {
	return t.layers[side].before, t.layers[side].ended
}

// ClosedAt returns the packet time of a side's first FIN or RST, in ns since the epoch. It returns 0 if the time is unknown or the side has
// sent neither.
func (t *TLS) ClosedAt(side Side) int64 { return t.layers[side.Other()].at }

// closed notes a FIN or RST of a side. Only the first one counts.
func (t *TLS) closed(side Side, reset bool, now int64) {
	if !t.first.seen {
		t.first = firstEnd{true, reset, side, t.AppRecords}
	}
	if l := &t.layers[side.Other()]; !l.ended {
		l.ended, l.before, l.at = true, len(l.list), now
	}
}

// InHeader reports whether a side's bytes end within the header of a record.
func (t *TLS) InHeader(side Side) bool {
	return t.layers[side].inHeader
}

// ChangeCipherSpec reports whether a side has sent a ChangeCipherSpec.
func (t *TLS) ChangeCipherSpec(side Side) bool { return t.layers[side].ccs }

// Chained returns how many records a side has started, without those that are too small for ciphertext.
func (t *TLS) Chained(side Side) int { return t.layers[side].telling }

// before13 reports whether the negotiated version is older than TLS 1.3.
func (t *TLS) before13() bool { return t.Server != nil && !t.Server.TLS13() }

// alert stores an alert.
func (t *TLS) alert(a Alert) {
	if a.before = t.AppRecords; len(t.Alerts) < maxAlerts {
		t.Alerts = append(t.Alerts, a)
	}
}

// startTLS notes that a side speaks TLS from an offset on. afterOther reports whether other bytes of the side came before.
func (s *recognition) startTLS(side Side, offset int64, afterOther bool) {
	st, other := &s.sides[side], &s.sides[side.Other()]
	s.passOver(side.Other())
	if s.depth > 0 && !s.startUnseen(side) {
		s.precede(side, offset)
	}
	if afterOther && !s.startUnseen(side) {
		s.afterOther = true
		if s.tls == nil && s.depth == 0 {
			s.precede(side, offset)
		}
		switch {
		case st.protocol != "":
			s.upgraded = st.protocol
		case other.protocol != "" && other.kind != KindTLS:
			s.upgraded = other.protocol
		}
	}
	st.kind, st.protocol, st.tlsAt = KindTLS, "tls", offset
	s.release(&st.p.head)
	s.stopReading(st.p)
	if s.tls == nil {
		s.tls = s.pool.tls()
	}
	s.revision++
}

// notTLS reverts a false positive: only the first bytes of the side looked like TLS.
func (s *tlsLayer) notTLS(side Side) {
	st := &s.sides[side]
	st.kind, st.protocol = KindUnreadable, ""
	s.release(&st.p.hs.buf)
	if c := st.p.hs.chain; c != nil {
		s.release(&c.leaf)
	}
	st.p.rec, st.p.hs = recordReader{}, handshake{}
	if s.sides[side.Other()].kind == KindTLS || s.tls.RolesKnown {
		s.tls.layers[side] = recordLayer{}
		return
	}
	s.tls = nil
}

// Outlived reports whether both ends sent application data after an alert.
func (t *TLS) Outlived(a Alert) bool { return t.grew(&a.before) }

// WentOn reports whether both ends sent application data after the first FIN or RST, which therefore did not end the connection.
func (t *TLS) WentOn() bool { return t.first.seen && t.grew(&t.first.before) }

// Carried reports whether both ends sent application data. If a FIN or RST was seen, the data must have come before the first one.
func (t *TLS) Carried() bool {
	n := &t.AppRecords
	if t.first.seen {
		n = &t.first.before
	}
	return n[Originator] > 0 && n[Responder] > 0
}

// FirstEnd returns the side that sent the first FIN or RST since TLS began, and whether it was a RST. seen reports whether a FIN or RST was
// seen.
func (t *TLS) FirstEnd() (side Side, reset, seen bool) {
	return t.first.side, t.first.reset, t.first.seen
}

// grew reports whether both ends have sent records of application data since before, an earlier copy of AppRecords, was
// made.
func (t *TLS) grew(before *[2]int) bool {
	return t.AppRecords[Originator] > before[Originator] && t.AppRecords[Responder] > before[Responder]
}

// setRoles notes which side is the TLS client. Only the first call has an effect.
func (t *TLS) setRoles(client Side) {
	if !t.RolesKnown {
		t.Client, t.RolesKnown = client, true
	}
}
