package verdict

import "net/netip"

// unprovenClients remembers full handshakes of TLS 1.3 that proved no client certificate, by the
// addresses of both ends alone. Nobody behind such an address inherits a certificate at
// that server: SNI and the shape of a ClientHello are the client's choice, and so does a
// client choose others in its full handshake than where it resumes (RFC 8446 section
// 4.6.1 lets it change its SNI).
type unprovenClients struct {
	seen         map[pair]int64 // time of the latest, ns since the epoch
	unremembered int64          // latest time that there was no room for one; 0: never
}

// maxUnproven bounds the pairs of addresses that are remembered, some 100 bytes each. Once
// there is no room for one, nobody inherits a certificate while a ticket lives.
const maxUnproven = 2 * maxClients

// pair is the address of a client, and a server.
type pair struct {
	client netip.Addr
	server netip.AddrPort
}

func (o *Judged) pair() pair { return pair{o.Source.Addr, o.server()} }

// note remembers that the client of o proved no certificate, or may not have.
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

// has reports whether a ticket that was given out where no certificate was proved may
// still be used by the client of o.
func (w *unprovenClients) has(o *Judged) bool {
	at, known := w.seen[o.pair()]
	return known && o.Start-at <= ticketLifetime || w.unremembered != 0 && o.Start-w.unremembered <= ticketLifetime
}

// sweep forgets handshakes whose tickets are not valid any more.
func (w *unprovenClients) sweep(now int64) {
	for k, at := range w.seen {
		if now-at > ticketLifetime {
			delete(w.seen, k)
		}
	}
}
