package verdict

import "net/netip"

// unprovenClients remembers full handshakes of TLS 1.3 in which no client certificate was proved, by the addresses of
// both ends only. No client at such an address inherits a certificate at that server. SNI and the shape of a
// ClientHello do not count, because the client chooses them. A client may choose others when it resumes (RFC 8446,
// section 4.6.1, allows another SNI).
type unprovenClients struct {
	seen         map[pair]int64 // time of the latest such handshake, ns since the epoch
	unremembered int64          // latest time that a handshake was not remembered because the table was full; 0: never
}

// maxUnproven bounds the remembered pairs of addresses, about 100 bytes each. After an overflow nobody inherits a
// certificate for the lifetime of a ticket.
const maxUnproven = 2 * maxClients

// pair has the addresses of a client and a server.
type pair struct {
	client netip.Addr
	server netip.AddrPort
}

func (o *Judged) pair() pair { return pair{o.Source.Addr, o.server()} }

// note records that the client of o did not prove, or may not have proved, that it has a certificate.
func (w *unprovenClients) note(o *Judged) {
	k := o.pair()
	if _, known := w.seen[k]; !known && len(w.seen) >= maxUnproven {
		w.sweep(o.Start)
	}
	if _, known := w.seen[k]; !known && len(w.seen) >= maxUnproven {
		w.unremembered = max(w.unremembered, o.Last)
		return
	}
	if w.seen == nil {
		w.seen = map[pair]int64{}
	}
	w.seen[k] = max(w.seen[k], o.Last)
}

// has reports whether the client of o may still use a ticket that was issued without proof of a certificate.
func (w *unprovenClients) has(o *Judged) bool {
	at, known := w.seen[o.pair()]
	return known && o.Start-at <= ticketLifetime || w.unremembered != 0 && o.Start-w.unremembered <= ticketLifetime
}

// sweep removes handshakes whose tickets have expired.
func (w *unprovenClients) sweep(now int64) {
	for k, at := range w.seen {
		if now-at > ticketLifetime {
			delete(w.seen, k)
		}
	}
}
