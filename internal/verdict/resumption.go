package verdict

import (
	"net/netip"
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
)

// A resumption shows no certificates. It inherits them from earlier full handshakes, which are kept here in bounded
// tables.
//
// In TLS 1.2 the server issues a ticket or session id in plaintext, and the client offers it in plaintext. So the TLS
// session is known exactly, even if clients share an address.
//
// In TLS 1.3 tickets are issued encrypted. Behind SNAT many clients share an address, and one client's proof must not
// become another's. So a resumption inherits from the full handshakes of the same address, SNI and shape of ClientHello
// only under these conditions: all of them within a ticket's lifetime were accepted and agree, no such handshake is in
// progress, one of them was with the same server address and port, and one of them issued a ticket of the size that the
// client offers.
//
// A full handshake may be missing from the capture, because it took place before the tap started or with another
// replica of the server. Only its ticket then shows whether the client had a certificate: without one, the ticket holds
// none. So no certificate is inherited with a ticket that is too short to hold one, such as a session number (OpenSSL
// -no_ticket, rustls, Erlang), or with wolfSSL's ticket, which has the same size either way.
//
// Connections without an end in the pod (Judged.Foreign) neither teach nor inherit.
type resumptions struct {
	clients      map[client]*history
	open         map[uint64]client // connections whose full handshake is in progress
	seen         map[uint64]bool   // connections already remembered, so that each counts once
	unremembered [2]int64          // first and latest time that a client was not remembered because the table was full; 0: never
	swept        int64             // time of the latest sweep
	unproven     unprovenClients
	tlsSessions  tlsSessions
}

const (
	// ticketLifetime is the longest time that a TLS 1.3 ticket may be used (RFC 8446, section 4.6.1), in nanoseconds;
	// the actual lifetime is encrypted.
	ticketLifetime = 7 * 24 * 3600 * 1e9
	// maxClients bounds the clients whose full handshakes are remembered, about 200 bytes each; maxTickets bounds the
	// ticket sizes for each.
	maxClients = 8192
	maxTickets = 8
	// leastProof is the least size in bytes of a ticket that holds a certificate. Tickets without a certificate have
	// up to 256 bytes (test/tlslab). Java's may be larger, but its tickets with a certificate are larger still, by the
	// size of the certificate.
	leastProof = 300
	// maxServers bounds the servers remembered for a client, 32 bytes each.
	maxServers = 16
	// sweepEvery is the shortest time between two sweeps, in ns.
	sweepEvery = 60 * 1e9
)

// client identifies the clients from which a resumption of TLS 1.3 may inherit. Behind SNAT many clients share an
// address. If one of their handshakes sets history.disagree, no resumption inherits from any of them.
type client struct {
	addr   netip.Addr
	zones  [2]flow.Zone // another network may use the same addresses
	name   string
	shape  string
	server netip.AddrPort // set only if the client sent no SNI
}

// history holds the results of a client's full handshakes.
type history struct {
	auth     string
	first    int64            // start of the first full handshake since the last disagreement expired, 1 if unknown; 0: none
	last     int64            // start of the latest full handshake
	disagree int64            // time of the latest handshake whose client authentication was not auth, or that was not accepted or not understood; 0: none
	tickets  []ticketRecord   // records that may hold tickets that the server issued
	servers  []netip.AddrPort // servers of the handshakes with client authentication auth, by their address in the packets
	open     int              // full handshakes in progress
}

// ticketRecord is a TLS record that may hold session tickets.
type ticketRecord struct {
	length int // length of the record, without the AEAD's overhead
	most   int // the most tickets that it may hold
}

func newResumptions() resumptions {
	return resumptions{clients: map[client]*history{}, seen: map[uint64]bool{}, open: map[uint64]client{}, tlsSessions: newTLSSessions()}
}

// keyOf returns the client of a handshake. It ignores the port of from. t.Hello must not be nil.
func keyOf(from, to netip.AddrPort, zones [2]flow.Zone, t *dissect.TLS) client {
	k := client{addr: from.Addr(), zones: zones, name: t.Hello.ServerName, shape: t.Hello.Shape()}
	if k.name == "" {
		k.server = to
	}
	return k
}

// key returns the result of keyOf for a judged connection.
func (o *Judged) key(t *dissect.TLS) client {
	return keyOf(netip.AddrPortFrom(o.Source.Addr, 0), o.server(), o.zones, t)
}

// server returns the server's address and port, as the packets show them.
func (o *Judged) server() netip.AddrPort {
	return netip.AddrPortFrom(o.Destination.Addr, o.Destination.Port)
}

// noteOpen notes that a full TLS 1.3 handshake is in progress on c. Until the handshake is understood, nobody
// inherits from its client key. The handshake may be another client's behind the same address, whose tickets can
// arrive before the records that decide the handshake.
func (m *resumptions) noteOpen(c *flow.Conn, t *dissect.TLS) {
	server := t.Client.Other()
	full := t.Server != nil && t.Server.TLS13() && !t.Server.PSK || t.Server == nil && (t.LostHandshake[server] || c.Undelivered(server))
	if !full || t.Over != tlsmsg.OverTCP || t.Hello == nil || t.Client != dissect.Originator {
		return
	}
	if _, known := m.open[c.ID]; known || m.seen[c.ID] {
		return
	}

	k := keyOf(netip.AddrPortFrom(c.Orig.Addr, 0), netip.AddrPortFrom(c.Resp.Addr, c.Resp.Port), c.Zones, t)
	p := m.historyOf(k, c.First)
	switch {
	case p == nil:
	case len(m.open) >= maxClients:
		p.last, p.disagree = max(p.last, c.First), max(p.disagree, c.Last)
		p.first = max(p.first, 1)
	default:
		p.open++
		m.open[c.ID] = k
	}
}

// noteDone notes that the handshake of noteOpen is no longer in progress. If the handshake was not understood, it
// counts as a disagreement.
func (m *resumptions) noteDone(id uint64, at int64, understood bool) {
	k, known := m.open[id]
	if !known {
		return
	}
	delete(m.open, id)
	if p := m.clients[k]; p != nil {
		if p.open--; !understood {
			p.first, p.last, p.disagree = max(p.first, 1), max(p.last, at), max(p.disagree, at)
		}
	}
}

// inherit sets the client authentication of a resumption.
func (j *Judge) inherit(h *handshake, out *Judged, t *dissect.TLS) {
	if !h.resumed || t.Hello == nil || t.Server == nil || t.Client != dissect.Originator {
		return
	}
	if out.Foreign {
		h.because("no_earlier_handshake")
		return
	}
	if !t.Server.TLS13() {
		j.resumptions.tlsSessions.inherit(h, out, t)
		return
	}

	p, why := j.resumptions.inheritable(out, t)
	h.because(why)
	if p != nil {
		h.auth, h.basis, h.age = p.auth, BasisInherited, max(out.Start-p.last, 1)
	}
}

// inheritable returns the history from which a resumption of TLS 1.3 inherits, or nil. The string is the
// reason for either result.
func (m *resumptions) inheritable(out *Judged, t *dissect.TLS) (*history, string) {
	const withExternalPSK = 33 // a certificate in addition to an external PSK (RFC 8773)
	p := m.clients[out.key(t)]
	i := int(t.Server.Identity)
	switch {
	case i >= len(t.Hello.Identities) || t.Hello.Identities[i].Age == 0 || t.Hello.Has(withExternalPSK):
		return nil, "external_psk" // RFC 8446, section 4.2.11: the age is 0 for a PSK that is not a ticket
	case t.Hello.ECH():
		return nil, "ech_offered" // the effective name is encrypted
	case p == nil, p.first == 0, out.Start-p.last > ticketLifetime, m.mayHaveForgotten(p, out.Start):
		return nil, "no_earlier_handshake"
	case p.open > 0:
		return nil, "open_handshake"
	case p.disagree != 0 && out.Start-p.disagree <= ticketLifetime, p.auth == AuthPresented && m.unproven.has(out):
		return nil, "disagreeing_handshakes"
	case !slices.Contains(p.servers, out.server()): // perhaps another server
		return nil, "no_earlier_handshake"
	case !p.hasIssued(t.Hello.Identities[i].Length), p.auth == AuthPresented && t.Hello.Identities[i].Length < leastProof:
		return nil, "unfamiliar_ticket"
	}
	return p, "inherited_from_full_handshake"
}

// mayHaveForgotten reports whether the history may lack an earlier full handshake of the client, because the table
// was full.
func (m *resumptions) mayHaveForgotten(p *history, now int64) bool {
	return m.unremembered[0] != 0 && p.first >= m.unremembered[0] && now-m.unremembered[1] <= ticketLifetime
}

// ticketLeast and ticketMost bound the bytes of a NewSessionTicket in addition to the ticket (RFC 8446, section
// 4.6.1): 17 for the header and fixed fields, a nonce of usually 8 bytes, and possibly an early_data extension of 8.
const ticketLeast, ticketMost = 17, 17 + 32 + 8

// hasIssued reports whether a ticket of n bytes may have been issued.
func (p *history) hasIssued(n int) bool {
	for _, g := range p.tickets {
		for k := 1; k <= g.most; k++ {
			if over := g.length/k - n; over >= ticketLeast && over <= ticketMost+jssePadding {
				return true
			}
		}
	}
	return false
}

// remember stores the result of a handshake, once for each connection.
func (j *Judge) remember(h *handshake, out *Judged, t *dissect.TLS) {
	m := &j.resumptions
	if t.Hello == nil || t.Client != dissect.Originator || m.seen[out.ID] || out.Foreign {
		return
	}

	if len(m.seen) >= maxClients {
		clear(m.seen)
	}
	m.seen[out.ID] = true
	m.noteDone(out.ID, out.Last, true)

	switch {
	case t.Server == nil:
		m.noteLostServerHello(out, t)
	case !t.Server.TLS13():
		m.tlsSessions.remember(h, out, t)
	case !h.resumed:
		m.rememberFull(h, out, t)
	case h.basis == BasisInherited && h.outcome == OutcomeEstablished:
		if p := m.clients[out.key(t)]; p != nil {
			p.addTickets(t) // a resumption gets tickets too
		}
	}
}

// rememberFull stores the result of a full handshake of TLS 1.3.
func (m *resumptions) rememberFull(h *handshake, out *Judged, t *dissect.TLS) {
	accepted := h.outcome == OutcomeEstablished || h.outcome == OutcomeIncomplete && h.auth != AuthPresented
	if !accepted || h.auth != AuthPresented {
		m.unproven.note(out)
	}

	p := m.historyOf(out.key(t), out.Start)
	if p == nil {
		return
	}
	if p.first == 0 || p.disagree != 0 && out.Start-p.disagree > ticketLifetime {
		*p = history{auth: h.auth, first: out.Start, open: p.open}
	}

	p.last = max(p.last, out.Start)
	if !accepted || h.auth == AuthUnknown || h.auth != p.auth {
		p.disagree = max(p.disagree, out.Last)
		return
	}

	if server := out.server(); len(p.servers) < maxServers && !slices.Contains(p.servers, server) {
		p.servers = append(p.servers, server)
	}
	p.addTickets(t)
}

// noteLostServerHello handles a ClientHello whose ServerHello was lost. The outcome of the handshake is unknown,
// so it counts as a handshake that disagrees.
func (m *resumptions) noteLostServerHello(out *Judged, t *dissect.TLS) {
	if out.MissedBytes == 0 && out.Destination.Packets > 0 {
		return // there was no ServerHello
	}
	m.unproven.note(out)
	if p := m.historyOf(out.key(t), out.Start); p != nil {
		p.first, p.last, p.disagree = max(p.first, 1), max(p.last, out.Start), max(p.disagree, out.Last)
	}
}

// addTickets stores the sizes of the records that may hold tickets: the first records after the server's flight. A
// server that puts its whole flight into one record also puts all its tickets, usually two, into one record.
func (p *history) addTickets(t *dissect.TLS) {
	s, _ := sizes(t.Server.CipherSuite)
	f := readServer(t, s, 0)
	most := 1
	if f.last == 0 {
		most = 2
	}
	for _, r := range f.records[min(f.last+1, len(f.records)):][:min(4, max(0, len(f.records)-f.last-1))] {
		g := ticketRecord{r.Length - s.over, most}
		if len(p.tickets) < maxTickets && !slices.Contains(p.tickets, g) {
			p.tickets = append(p.tickets, g)
		}
	}
}

// historyOf returns the history of a client, which it creates if necessary. It returns nil if the table is full. Later
// histories may then be incomplete (mayHaveForgotten), so nobody inherits from them.
func (m *resumptions) historyOf(k client, now int64) *history {
	if p := m.clients[k]; p != nil {
		return p
	}
	if len(m.clients) >= maxClients {
		m.sweep(now)
	}
	if len(m.clients) >= maxClients {
		if m.unremembered[0] == 0 || now-m.unremembered[1] > ticketLifetime {
			m.unremembered[0] = now
		}
		m.unremembered[1] = max(m.unremembered[1], now)
		return nil
	}

	p := &history{}
	m.clients[k] = p
	return p
}

// sweep removes clients whose tickets have all expired.
func (m *resumptions) sweep(now int64) {
	if now-m.swept < sweepEvery {
		return
	}
	m.swept = now
	for k, p := range m.clients {
		if p.open == 0 && now-max(p.last, p.disagree) > ticketLifetime {
			delete(m.clients, k)
		}
	}
}
