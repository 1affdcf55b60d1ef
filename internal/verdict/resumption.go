package verdict

import (
	"net/netip"
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// A resumption shows no certificates. What it inherits is kept here, in tables that are
// bounded.
//
// In TLS 1.2 the ticket or the session id that is resumed is in the clear, and so was it
// when the server gave it out: the session is known exactly, whoever shares the address.
//
// In TLS 1.3 tickets are given out encrypted. A resumption inherits from the full
// handshakes of the same address, SNI and shape of ClientHello, if all of them within a
// ticket's lifetime were accepted and agree, if none is under way, if there was one with
// the same address and port of a server, and if the ticket that it offers has the size of one that was
// given out in them: behind SNAT many clients share an address, and one's proof must not
// become another's. A full handshake that nobody saw, since it was before the tap or with
// another replica of the server, shows only in its ticket: who proved nothing has a ticket
// without a certificate in it. So nobody inherits a certificate by a ticket that is too
// short to hold one: the number of a session (OpenSSL -no_ticket, rustls, Erlang), or
// wolfSSL's, which has the same size either way.
//
// Conversations of which no end is the pod's (Judged.Foreign) neither teach nor inherit.
type resumptions struct {
	clients      map[client]*history
	open         map[uint64]client // connections whose full handshake is not understood yet
	seen         map[uint64]bool   // connections already remembered, so that a second look does not count twice
	unremembered [2]int64          // first and latest time that a client was not remembered for want of room; 0: never
	swept        int64             // when clients were last looked through for old ones
	unproven     unprovenClients
	tlsSessions  tlsSessions
}

const (
	// ticketLifetime is the longest that a TLS 1.3 ticket may be used (RFC 8446 section
	// 4.6.1); the true lifetime is encrypted. In nanoseconds.
	ticketLifetime = 7 * 24 * 3600 * 1e9
	// maxMemory bounds the clients whose full handshakes are remembered, about 200 bytes
	// each; maxTickets the sizes of tickets for each.
	maxClients = 8192
	maxTickets = 8
	// leastProof is the least size of a ticket that holds a certificate, in bytes. Those
	// without one have up to 256 (test/tlslab), but for Java's, whose others are longer by
	// the certificate.
	leastProof = 300
	// maxServers bounds the servers that are remembered of a client, 32 bytes each.
	maxServers = 16
	// sweepEvery is the shortest time between two looks for old clients, ns.
	sweepEvery = 60 * 1e9
)

// client is whom a resumption of TLS 1.3 may inherit from. Behind SNAT many share an
// address, so one that disagrees spoils it for all.
type client struct {
	addr   netip.Addr
	zones  [2]flow.Zone // another network may have the same addresses
	name   string
	shape  string
	server netip.AddrPort // only where there is no SNI
}

// history is what the full handshakes of a client have shown.
type history struct {
	auth     string
	first    int64            // time of the first of those that agree
	last     int64            // time of the latest
	disagree int64            // time of the latest that did not agree, or was not accepted; 0: none
	tickets  []ticketRecord   // that were given out
	servers  []netip.AddrPort // of those that agree, as the packets show them
	open     int              // full handshakes that are not understood yet
}

// ticketRecord is a record that may hold session tickets.
type ticketRecord struct {
	length int // of the record, less what the AEAD adds
	most   int // tickets that it may hold
}

func newResumptions() resumptions {
	return resumptions{clients: map[client]*history{}, seen: map[uint64]bool{}, open: map[uint64]client{}, tlsSessions: newTLSSessions()}
}

func keyOf(from, to netip.AddrPort, zones [2]flow.Zone, t *dissect.TLS) client {
	k := client{addr: from.Addr(), zones: zones, name: t.Hello.ServerName, shape: t.Hello.Shape()}
	if k.name == "" {
		k.server = to
	}
	return k
}

func (o *Judged) key(t *dissect.TLS) client {
	return keyOf(netip.AddrPortFrom(o.Source.Addr, 0), o.server(), o.zones, t)
}

func (o *Judged) server() netip.AddrPort {
	return netip.AddrPortFrom(o.Destination.Addr, o.Destination.Port)
}

// noteOpen notes that a full handshake of TLS 1.3 of c is under way. Until it is understood
// nobody inherits from its client: it may be of another one behind the same address, whose
// tickets can be there before the answer that tells.
func (m *resumptions) noteOpen(c *flow.Conn, t *dissect.TLS) {
	server := t.Client.Other()
	full := t.Server != nil && t.Server.TLS13() && !t.Server.PSK || t.Server == nil && (t.LostHandshake[server] || c.Behind(server))
	if !full || t.Over != dissect.OverTCP || t.Hello == nil || t.Client != dissect.Originator {
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

// noteDone ends what await began. Where nothing came of it, it was not understood.
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

// inherit fills in client authentication of a resumption.
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

// inheritable returns the past that a resumption of TLS 1.3 inherits from, nil if there
// is none, and why.
func (m *resumptions) inheritable(out *Judged, t *dissect.TLS) (*history, string) {
	const withExternalPSK = 33 // a certificate besides an external PSK (RFC 8773)
	p := m.clients[out.key(t)]
	i := int(t.Server.Identity)
	switch {
	case i >= len(t.Hello.Identities) || t.Hello.Identities[i].Age == 0 || t.Hello.Has(withExternalPSK):
		return nil, "external_psk" // RFC 8446 section 4.2.11: the age of what is no ticket is 0
	case t.Hello.ECH():
		return nil, "ech_offered" // the name that counts is encrypted
	case p == nil, p.first == 0, out.Start-p.last > ticketLifetime, m.mayHaveForgotten(p, out.Start):
		return nil, "no_earlier_handshake"
	case p.open > 0:
		return nil, "open_handshake"
	case p.disagree != 0 && out.Start-p.disagree <= ticketLifetime, p.auth == AuthPresented && m.unproven.has(out):
		return nil, "disagreeing_handshakes"
	case !slices.Contains(p.servers, out.server()): // another one, perhaps
		return nil, "no_earlier_handshake"
	case !p.hasIssued(t.Hello.Identities[i].Length), p.auth == AuthPresented && t.Hello.Identities[i].Length < leastProof:
		return nil, "unfamiliar_ticket"
	}
	return p, "inherited_from_full_handshake"
}

// mayHaveForgotten reports whether a full handshake of a client may not have been remembered.
func (m *resumptions) mayHaveForgotten(p *history, now int64) bool {
	return m.unremembered[0] != 0 && p.first >= m.unremembered[0] && now-m.unremembered[1] <= ticketLifetime
}

// A NewSessionTicket has 17 bytes besides the ticket (RFC 8446 section 4.6.1), a nonce
// of mostly 8 bytes and perhaps an early_data extension of 8.
const ticketLeast, ticketMost = 17, 17 + 32 + 8

// hasIssued reports whether a ticket of n bytes was given out.
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

// remember keeps what a handshake has shown, once.
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
			p.addTickets(t) // a resumption is given tickets too
		}
	}
}

// rememberFull keeps what a full handshake of TLS 1.3 has shown.
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

// noteLostServerHello is for a ClientHello whose ServerHello was lost: what came of it is not known.
func (m *resumptions) noteLostServerHello(out *Judged, t *dissect.TLS) {
	if out.MissedBytes == 0 && out.Destination.Packets > 0 {
		return // there was none
	}
	m.unproven.note(out)
	if p := m.historyOf(out.key(t), out.Start); p != nil {
		p.first, p.last, p.disagree = max(p.first, 1), max(p.last, out.Start), max(p.disagree, out.Last)
	}
}

// addTickets keeps the sizes of the records that may hold tickets: the first ones behind the
// server's flight. A server that puts its whole flight into one record does so with its
// tickets, mostly two.
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

// historyOf returns the past of a client, a new one if there is none. When there is no room
// for it, it returns nil: a client that comes up later is not trusted to be known whole,
// so that none inherits what another one proved.
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

// sweep forgets clients of whom no ticket is valid any more.
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
