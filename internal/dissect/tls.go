package dissect

import "github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"

// Alert is a TLS alert in the clear (RFC 8446 section 6).
type Alert struct {
	Side        Side
	Level       uint8 // 1 warning, 2 fatal
	Description uint8
	before      [2]int // TLS.AppRecords then
}

// maxAlerts bounds the alerts remembered.
const maxAlerts = 8

// TLS is what was seen of TLS in a connection. Arrays are indexed by Side.
type TLS struct {
	Over           tlsmsg.Over
	Client         Side // who sent the ClientHello; the originator until that is known
	RolesKnown     bool // a hello was seen, or began
	Hello          *tlsmsg.ClientHello
	SecondHello    bool                // a ClientHello after a HelloRetryRequest was seen
	Server         *tlsmsg.ServerHello // never the HelloRetryRequest
	HelloRetry     bool
	HelloVerify    bool  // DTLS: a HelloVerifyRequest was seen
	ServerHelloEnd int64 // stream offset right after the ServerHello
	// ClientHelloEnd is the stream offset right after the ClientHello, the second one
	// if there are two.
	ClientHelloEnd int64
	// HelloBegun: a ClientHello began, but not all of it was seen (yet).
	HelloBegun bool

	CertificateRequest bool
	ServerHelloDone    bool
	ServerKeyGroup     uint16           // named group of a ServerKeyExchange, 0 if none
	Certs              [2]*tlsmsg.Chain // Certificate messages in the clear
	CertificateVerify  bool
	ClientKeyExchange  bool
	NewSessionTicket   bool
	NewTicket          tlsmsg.TicketHash // of the NewSessionTicket, TLS 1.2
	Finished           [2]bool           // TLS 1.2 and older: the encrypted Finished was seen
	Alerts             []Alert
	SealedAlerts       [2]int
	SealedHandshakes   [2]int // encrypted handshake records of TLS 1.2 and older: the Finished, and renegotiation
	AppRecords         [2]int
	// LostHandshake: bytes of a side's cleartext handshake were lost, so that what
	// was not seen may have been there.
	LostHandshake [2]bool
	// Readable: text stands in records of application data, where only ciphertext may be.
	Readable bool
	// Conflict: a handshake message of DTLS came twice, and not as the same one.
	Conflict bool
	// Protected1RTT counts packets or records that only the keys of application data
	// protect: QUIC's short header, DTLS 1.3's epoch 3.
	Protected1RTT [2]int
	QUICVersion   uint32 // of the last long header read, 0 if none
	QUICRetry     bool   // a Retry packet was seen

	layers [2]recordLayer
	first  firstEnd
}

// firstEnd is the first FIN or RST of either side.
type firstEnd struct {
	seen, reset bool
	side        Side
	before      [2]int // TLS.AppRecords then
}

// recordLayer is what the record layer of one side has shown.
type recordLayer struct {
	headers  int  // records begun
	telling  int  // of these, records as TLS sends them
	ccs      bool // ChangeCipherSpec seen
	broken   bool // the record layer is lost: a header that is none, or a gap over a header
	torn     bool // it was lost by bytes that are missing
	text     textRun
	holes    bool // it was lost once: the list below may lack records from holeAt on
	holeAt   int
	inHeader bool // the bytes end inside of a record's header
	early    int  // records before the ServerHello that the list leaves out
	list     []TLSRecord
	rest     int   // protected records beyond the list
	ended    bool  // the other side has closed, and ...
	before   int   // ... so many of the list came before, and it was
	at       int64 // this packet time
}

// Records returns the protected records (type 23) of a side in stream order: at most
// the first 48, and none behind a place where records may have been lost; complete
// tells that there was no such place. Of a client's records that acknowledge nothing of
// the server, which are early data, only the first four are listed. The slice is valid
// until the next call of Data.
func (t *TLS) Records(side Side) (list []TLSRecord, complete bool) {
	l := &t.layers[side]
	if l.holes {
		return l.list[:min(l.holeAt, len(l.list))], false
	}
	return l.list, true
}

// More returns how many protected records a side sent beyond those listed.
func (t *TLS) More(side Side) int { return t.layers[side].rest }

// BeforeEnd reports whether the other side has sent a FIN or a RST, and how many of the
// listed records of a side came before that.
func (t *TLS) BeforeEnd(side Side) (n int, ended bool) {
	return t.layers[side].before, t.layers[side].ended
}

// ClosedAt returns the packet time of a side's first FIN or RST, ns since the epoch, 0 where
// it is unknown or there was none.
func (t *TLS) ClosedAt(side Side) int64 { return t.layers[side.Other()].at }

// closed notes a FIN or RST of a side; only the first one counts.
func (t *TLS) closed(side Side, reset bool, now int64) {
	if !t.first.seen {
		t.first = firstEnd{true, reset, side, t.AppRecords}
	}
	if l := &t.layers[side.Other()]; !l.ended {
		l.ended, l.before, l.at = true, len(l.list), now
	}
}

// InHeader reports whether a side's bytes end inside of a record's header.
func (t *TLS) InHeader(side Side) bool {
	return t.layers[side].inHeader
}

// ChangeCipherSpec reports whether a side sent one.
func (t *TLS) ChangeCipherSpec(side Side) bool { return t.layers[side].ccs }

// Chained returns how many records a side began, those aside that are too small for
// ciphertext.
func (t *TLS) Chained(side Side) int { return t.layers[side].telling }

// before13 reports whether a version older than TLS 1.3 was negotiated.
func (t *TLS) before13() bool { return t.Server != nil && !t.Server.TLS13() }

func (t *TLS) alert(a Alert) {
	if a.before = t.AppRecords; len(t.Alerts) < maxAlerts {
		t.Alerts = append(t.Alerts, a)
	}
}

// startTLS makes a side a TLS one, from an offset on. behind tells that it spoke in the
// clear before.
func (s *Session) startTLS(side Side, offset int64, behind bool) {
	st, other := &s.sides[side], &s.sides[side.Other()]
	s.passOver(side.Other())
	if behind && !s.startUnseen(side) {
		s.afterOther = true
		if s.tls == nil {
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

// notTLS takes back that a side is a TLS one: its first bytes looked so, and no more.
func (s *Session) notTLS(side Side) {
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

// Outlived reports whether both ends went on with application data behind an alert.
func (t *TLS) Outlived(a Alert) bool { return t.grew(&a.before) }

// WentOn reports whether both ends went on with application data behind the first FIN or RST
// of either: it did not end the connection.
func (t *TLS) WentOn() bool { return t.first.seen && t.grew(&t.first.before) }

// Carried reports whether both ends sent application data, before the first FIN or RST if there
// was one.
func (t *TLS) Carried() bool {
	n := &t.AppRecords
	if t.first.seen {
		n = &t.first.before
	}
	return n[Originator] > 0 && n[Responder] > 0
}

// FirstEnd returns the side that sent the first FIN or RST, and which of them it was; seen is
// false where none came since TLS began.
func (t *TLS) FirstEnd() (side Side, reset, seen bool) {
	return t.first.side, t.first.reset, t.first.seen
}

func (t *TLS) grew(before *[2]int) bool {
	return t.AppRecords[Originator] > before[Originator] && t.AppRecords[Responder] > before[Responder]
}

// setRoles notes which side is the TLS client.
func (t *TLS) setRoles(client Side) {
	if !t.RolesKnown {
		t.Client, t.RolesKnown = client, true
	}
}
