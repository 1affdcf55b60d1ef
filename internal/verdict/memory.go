package verdict

import (
	"net/netip"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
)

// ticketLifetime is the longest that a TLS 1.3 ticket may be used (RFC 8446 section
// 4.6.1); the true lifetime is encrypted. In nanoseconds.
const ticketLifetime = 7 * 24 * 3600 * 1e9

// maxMemory bounds the clients whose full handshakes are remembered.
const maxMemory = 8192

// client is whom a resumption may inherit from: an address with an SNI and a shape of
// ClientHello. Behind SNAT many clients share an address, so one that disagrees spoils
// it for all.
type client struct {
	addr   netip.Addr
	name   string
	shape  string
	server netip.AddrPort // only where there is no SNI
}

// past is what the full handshakes of a client have shown.
type past struct {
	auth     string
	first    int64 // time of the first of those that agree
	last     int64
	disagree int64 // time of the latest that did not agree, or was not accepted; 0: none
}

type memory struct {
	clients map[client]*past
	seen    map[uint64]bool // connections already remembered, so that a second look does not count twice
	full    int64           // time since which clients were not remembered for want of room; 0: never
}

func newMemory() memory { return memory{clients: map[client]*past{}, seen: map[uint64]bool{}} }

func keyOf(out *Judged, t *dissect.TLS) client {
	k := client{addr: out.Source.Addr, name: t.Hello.ServerName, shape: t.Hello.Shape()}
	if k.name == "" {
		k.server = netip.AddrPortFrom(out.Destination.Addr, out.Destination.Port)
	}
	return k
}

// inherit fills in client authentication of a TLS 1.3 resumption.
func (j *Judge) inherit(h *handshake, out *Judged, t *dissect.TLS) {
	if !h.resumed || t.Hello == nil || !t.Server.TLS13() || t.Client != dissect.Originator {
		return
	}
	p := j.memory.clients[keyOf(out, t)]
	switch {
	case p == nil, out.Start-p.last > ticketLifetime, j.memory.full != 0 && p.first >= j.memory.full:
		h.because("no_earlier_handshake")
	case p.disagree != 0 && out.Start-p.disagree <= ticketLifetime:
		h.because("disagreeing_handshakes")
	default:
		h.auth, h.basis = p.auth, BasisInherited
		h.because("inherited_from_full_handshake")
	}
}

// remember keeps what a full handshake has shown, once.
func (j *Judge) remember(h *handshake, out *Judged, t *dissect.TLS) {
	if h.resumed || t.Hello == nil || t.Server == nil || !t.Server.TLS13() || t.Client != dissect.Originator || j.memory.seen[out.ID] {
		return
	}
	m := &j.memory
	if len(m.seen) >= maxMemory {
		clear(m.seen)
	}
	m.seen[out.ID] = true
	p := m.of(keyOf(out, t), out.Start)
	if p == nil {
		return
	}
	if p.first == 0 {
		p.auth, p.first = h.auth, out.Start
	}
	p.last = max(p.last, out.Start)
	if h.outcome != OutcomeEstablished || h.auth == AuthUnknown || h.auth != p.auth {
		p.disagree = max(p.disagree, out.Last)
		p.auth = h.auth
	}
}

// of returns the past of a client, a new one if there is none. When there is no room
// it returns nil: from then on no new client is trusted to be known whole, so that none
// inherits what another one proved.
func (m *memory) of(k client, now int64) *past {
	if p := m.clients[k]; p != nil {
		return p
	}
	if len(m.clients) >= maxMemory {
		if m.full == 0 {
			m.full = now
		}
		return nil
	}
	p := &past{}
	m.clients[k] = p
	return p
}
