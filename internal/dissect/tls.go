package dissect

// Alert is a TLS alert in the clear (RFC 8446 section 6).
type Alert struct {
	Side        Side
	Level       uint8 // 1 warning, 2 fatal
	Description uint8
	Sealed      bool // it came after that side's ChangeCipherSpec
}

// maxAlerts bounds the alerts remembered.
const maxAlerts = 8

// TLS is what was seen of TLS in a connection. Arrays are indexed by Side.
type TLS struct {
	Client      Side // who sent the ClientHello; the originator until that is known
	RolesKnown  bool // a hello was seen
	Hello       *ClientHello
	SecondHello bool         // a ClientHello after a HelloRetryRequest was seen
	Server      *ServerHello // never the HelloRetryRequest
	HelloRetry  bool
	// ServerHelloEnd is the stream offset right after the ServerHello.
	ServerHelloEnd int64
	// HelloBegun: a ClientHello began, but not all of it was seen (yet).
	HelloBegun bool

	CertificateRequest bool
	ServerHelloDone    bool
	ServerKeyGroup     uint16    // named group of a ServerKeyExchange, 0 if none
	Certs              [2]*Chain // Certificate messages in the clear
	CertificateVerify  bool
	ClientKeyExchange  bool
	NewSessionTicket   bool
	NewTicket          TicketHash // of the NewSessionTicket, TLS 1.2
	Finished           [2]bool    // TLS 1.2 and older: the encrypted Finished was seen
	Alerts             []Alert
	SealedAlerts       [2]int
	SealedHandshakes   [2]int // encrypted handshake records of TLS 1.2 and older: the Finished, and renegotiation
	AppRecords         [2]int
	// LostHandshake: bytes of a side's cleartext handshake were lost, so that what
	// was not seen may have been there.
	LostHandshake [2]bool

	s *Session
}

// Records returns the protected records (type 23) of a side in stream order: at most
// the first 48, and none behind a place where records may have been lost; complete
// tells that there was no such place. The slice is valid until the next call of Data.
func (t *TLS) Records(side Side) (list []Record, complete bool) {
	r := &t.s.sides[side].rec
	if r.holes {
		return r.list[:min(r.holeAt, len(r.list))], false
	}
	return r.list, true
}

// More returns how many protected records a side sent beyond those listed.
func (t *TLS) More(side Side) int { return t.s.sides[side].rec.rest }

// ChangeCipherSpec tells whether a side sent one.
func (t *TLS) ChangeCipherSpec(side Side) bool { return t.s.sides[side].rec.ccs }

// Broken tells whether a side's record layer was lost and not found again.
func (t *TLS) Broken(side Side) bool { return t.s.sides[side].rec.broken }

// Chained returns how many records a side began.
func (t *TLS) Chained(side Side) int { return t.s.sides[side].rec.headers }

// before13 tells that a version older than TLS 1.3 was negotiated.
func (t *TLS) before13() bool { return t.Server != nil && !t.Server.TLS13() }

func (t *TLS) alert(a Alert) {
	if len(t.Alerts) < maxAlerts {
		t.Alerts = append(t.Alerts, a)
	}
}

// startTLS makes a side a TLS one.
func (s *Session) startTLS(side Side) {
	st := &s.sides[side]
	if st.protocol != "" && st.protocol != "tls" {
		s.upgraded = st.protocol
	}
	if st.kind != KindNone || len(st.head) > 0 {
		s.behind = s.behind || st.kind != KindTLS && s.sides[side.Other()].kind != KindTLS
	}
	st.kind, st.protocol = KindTLS, "tls"
	if s.tls == nil {
		s.tls = &TLS{s: s}
	}
	s.revision++
}

// setRoles notes which side is the TLS client.
func (t *TLS) setRoles(client Side) {
	if !t.RolesKnown {
		t.Client, t.RolesKnown = client, true
	}
}
