package verdict

import (
	"crypto/sha256"
	"net/netip"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// maxTLSSessions bounds the sessions of TLS 1.2 and older that are remembered, about 100
// bytes each. The oldest is forgotten for a new one.
const maxTLSSessions = 8192

// sessionLifetime is how long a session is remembered, in nanoseconds: what RFC 5246
// appendix F.1.4 calls the upper limit, and a ticket may outlive (RFC 5077 section 5.6).
const sessionLifetime = 7 * 24 * 3600 * 1e9

// tlsSessionKey names a session: a ticket (RFC 5077) or a session id, hashed.
type tlsSessionKey [16]byte

// tlsSession is what its full handshake has shown.
type tlsSession struct {
	auth   string
	at     int64      // time of the full handshake
	server netip.Addr // that gave the name, as the packets show it
	zones  [2]flow.Zone
	conn   uint64 // that gave it out
	bad    bool   // another handshake was given the same name and does not agree
}

// tlsSessions are those of TLS 1.2 and older.
type tlsSessions struct {
	known map[tlsSessionKey]tlsSession
	order []tlsSessionKey // a ring
	next  int
}

func newTLSSessions() tlsSessions { return tlsSessions{known: map[tlsSessionKey]tlsSession{}} }

// inherit fills in client authentication of an abbreviated handshake.
func (s *tlsSessions) inherit(h *handshake, out *Judged, t *dissect.TLS) {
	var found tlsSession
	for i, k := range offered(t) {
		x, ok := s.known[k]
		switch {
		case !ok:
		case x.bad, found.auth != "" && found.auth != x.auth:
			h.because("disagreeing_handshakes")
			return
		case x.server != out.Destination.Addr, x.zones != out.zones: // a server knows the tickets that it is offered, and could give them out as its own
		case i == 0: // a ticket, or an id without one: beside a ticket an id can be anybody's
			found = x
		}
	}
	if found.auth == "" || out.Start-found.at > sessionLifetime {
		h.because("no_earlier_handshake")
		return
	}
	h.auth, h.basis, h.age = found.auth, BasisInherited, max(out.Start-found.at, 1)
	h.because("inherited_from_full_handshake")
}

// remember keeps what a full handshake has shown, by the names that the server gives the
// session, and by the new ticket of a resumption what that inherited.
func (s *tlsSessions) remember(h *handshake, out *Judged, t *dissect.TLS) {
	if h.outcome != OutcomeEstablished {
		return
	}
	switch {
	case h.resumed && h.basis != BasisInherited:
		return
	case h.auth == AuthUnknown:
		s.distrust(t)
		return
	}
	x := tlsSession{auth: h.auth, at: out.Start - h.age, server: out.Destination.Addr, zones: out.zones, conn: out.ID}
	if t.NewTicket != (dissect.TicketHash{}) {
		s.put(tlsSessionKey(t.NewTicket), x)
	}
	if id := t.Server.SessionID; len(id) > 0 && !h.resumed {
		s.put(idKey(id), x)
	}
}

// distrust is for a full handshake that does not tell what its session is: if another one is
// known by the same name, that is not to be trusted any more.
func (s *tlsSessions) distrust(t *dissect.TLS) {
	for _, k := range []tlsSessionKey{tlsSessionKey(t.NewTicket), idKey(t.Server.SessionID)} {
		if x, ok := s.known[k]; ok {
			x.bad = true
			s.known[k] = x
		}
	}
}

// distrustAll spoils the sessions that a connection gave out.
func (s *tlsSessions) distrustAll(conn uint64) {
	for k, x := range s.known {
		if x.conn == conn {
			x.bad = true
			s.known[k] = x
		}
	}
}

func (s *tlsSessions) put(k tlsSessionKey, x tlsSession) {
	if old, ok := s.known[k]; ok {
		x.bad = old.bad || old.auth != x.auth
		s.known[k] = x
		return
	}
	if len(s.order) < maxTLSSessions {
		s.order = append(s.order, k)
	} else {
		delete(s.known, s.order[s.next])
		s.order[s.next] = k
		s.next = (s.next + 1) % maxTLSSessions
	}
	s.known[k] = x
}

// offered names the sessions that a ClientHello offers to resume, the one that counts
// first. With a ticket it also has a session id, mostly one that means nothing (RFC 5077
// section 3.4).
func offered(t *dissect.TLS) []tlsSessionKey {
	var out []tlsSessionKey
	if t.Hello.TicketHash != (dissect.TicketHash{}) {
		out = append(out, tlsSessionKey(t.Hello.TicketHash))
	}
	if len(t.Hello.SessionID) > 0 {
		out = append(out, idKey(t.Hello.SessionID))
	}
	return out
}

func idKey(id []byte) tlsSessionKey {
	sum := sha256.Sum256(append([]byte("session id "), id...))
	return tlsSessionKey(sum[:16])
}
