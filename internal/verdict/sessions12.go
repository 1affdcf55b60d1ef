package verdict

import (
	"crypto/sha256"
	"hash/maphash"
	"net/netip"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
)

// maxTLSSessions bounds the remembered TLS sessions of TLS 1.2 and older, about 100 bytes each. At the limit the
// oldest is removed.
const maxTLSSessions = 8192

// sessionLifetime is how long a TLS session is remembered, in nanoseconds: the upper limit that RFC 5246, appendix
// F.1.4 recommends. A ticket may outlive it (RFC 5077, section 5.6).
const sessionLifetime = 7 * 24 * 3600 * 1e9

// tlsSessionKey is the hash of a ticket (RFC 5077) or session id.
type tlsSessionKey [16]byte

// tlsSession holds the facts that the full handshake of a TLS session has shown.
type tlsSession struct {
	auth   string
	at     int64      // time of the full handshake
	server netip.Addr // the server that issued the ticket or id, as the packets show it
	zones  [2]flow.Zone
	conn   uint64 // the connection in which the ticket or id was issued
	host   uint64 // hash of the server's port and name (SNI) in that connection
	expiry int64  // when the ticket expires by the server's statement, 0: unknown
	both   bool   // the server issued a session id besides the ticket, so it may keep sessions of others by their ids
	bad    bool   // another handshake issued the same ticket or id, and disagrees
}

// tlsSessions are the remembered TLS sessions of TLS 1.2 and older.
type tlsSessions struct {
	known map[tlsSessionKey]tlsSession
	order []tlsSessionKey // a ring, by age
	next  int
	seed  maphash.Seed // of hostOf
}

func newTLSSessions() tlsSessions {
	return tlsSessions{known: map[tlsSessionKey]tlsSession{}, seed: maphash.MakeSeed()}
}

// inherit sets the client authentication of an abbreviated handshake.
func (s *tlsSessions) inherit(h *handshake, out *Judged, t *dissect.TLS) {
	var found tlsSession
	keys := offered(t)
	for i, k := range keys {
		x, ok := s.known[k]
		switch {
		case !ok:
		case x.bad, found.auth != "" && found.auth != x.auth:
			h.because("disagreeing_handshakes")
			return
		case x.server != out.Destination.Addr, x.zones != out.zones: // a server could issue the tickets that clients offer to it as its own
		case i == 0: // a ticket, or an id without a ticket: an id next to a ticket may be arbitrary
			found = x
		}
	}

	if found.auth == "" || out.Start-found.at > sessionLifetime {
		h.because("no_earlier_handshake")
		return
	}
	if len(keys) == 2 && !s.acceptsTicket(&found, keys[1], out, t) {
		h.because("ticket_or_session_id")
		return
	}
	h.auth, h.basis, h.age = found.auth, BasisInherited, max(out.Start-found.at, 1)
	h.because("inherited_from_full_handshake")
}

// acceptsTicket reports whether a server that resumed a session did so by the ticket of session x, if the client offered that ticket
// and the session id with key id. The server returns the id in both cases (RFC 5077, section 3.4). The id is not that of a session
// that the server keeps, perhaps one without a client certificate, if
//   - it is the SHA-256 of the ticket, as OpenSSL and BoringSSL choose it,
//   - the server issued it together with the ticket, or
//   - the server issued the ticket under this port and name, and either no id together with it, or the ticket has not expired and
//     the server renews it now.
func (s *tlsSessions) acceptsTicket(x *tlsSession, id tlsSessionKey, out *Judged, t *dissect.TLS) bool {
	if offered := t.Hello.SessionID; len(offered) == sha256.Size && tlsmsg.TicketHash(offered) == t.Hello.TicketHash {
		return true
	}
	if y, ok := s.known[id]; ok && y.conn == x.conn {
		return true
	}
	return x.host == s.hostOf(out, t) && (!x.both || t.NewTicket != (tlsmsg.TicketHash{}) && out.Start < x.expiry)
}

// hostOf returns the hash of a server's port and name. Servers may keep their sessions apart by names.
func (s *tlsSessions) hostOf(out *Judged, t *dissect.TLS) uint64 {
	return maphash.Comparable(s.seed, struct {
		port uint16
		name string
	}{out.Destination.Port, t.Hello.ServerName})
}

// remember stores the result of a full handshake under the ticket and session id that the server issues. After a
// resumption, it stores the inherited result under the new ticket.
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

	x := tlsSession{auth: h.auth, at: out.Start - h.age, server: out.Destination.Addr, zones: out.zones, conn: out.ID, host: s.hostOf(out, t)}
	if x.both = len(t.Server.SessionID) > 0; h.resumed { // the id is the client's
		old, ok := s.known[tlsSessionKey(t.Hello.TicketHash)]
		x.both = !ok || old.both
	}
	if t.NewTicket != (tlsmsg.TicketHash{}) {
		x.expiry = out.Start + int64(t.TicketLifetime)*1e9
		s.put(tlsSessionKey(t.NewTicket), x)
	}
	if id := t.Server.SessionID; len(id) > 0 && !h.resumed {
		s.put(idKey(id), x)
	}
}

// distrust handles a full handshake with unknown result. Later connections inherit nothing from a known TLS
// session with the same ticket or id.
func (s *tlsSessions) distrust(t *dissect.TLS) {
	for _, k := range []tlsSessionKey{tlsSessionKey(t.NewTicket), idKey(t.Server.SessionID)} {
		if x, ok := s.known[k]; ok {
			x.bad = true
			s.known[k] = x
		}
	}
}

// distrustAll prevents inheritance from the TLS sessions that a connection issued.
func (s *tlsSessions) distrustAll(conn uint64) {
	for k, x := range s.known {
		if x.conn == conn {
			x.bad = true
			s.known[k] = x
		}
	}
}

// put stores a TLS session, or marks a known one as bad if the two disagree.
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

// offered returns the keys of the TLS sessions that a ClientHello offers to resume, the decisive one first. Next to a
// ticket there is also a session id, usually without meaning (RFC 5077, section 3.4).
func offered(t *dissect.TLS) []tlsSessionKey {
	var out []tlsSessionKey
	if t.Hello.TicketHash != (tlsmsg.TicketHash{}) {
		out = append(out, tlsSessionKey(t.Hello.TicketHash))
	}
	if len(t.Hello.SessionID) > 0 {
		out = append(out, idKey(t.Hello.SessionID))
	}
	return out
}

// idKey returns the key of a session id, distinct from the keys of tickets.
func idKey(id []byte) tlsSessionKey {
	sum := sha256.Sum256(append([]byte("session id "), id...))
	return tlsSessionKey(sum[:16])
}
