package finding

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/order"
	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// Sizes of a profile.
const (
	profileNames  = 4 // names of each kind, and addresses, that a posture has at most
	profileCounts = 8 // names of each kind, and addresses, that an edge counts at most
	profileOpen   = 4 // open connections that the next interval begins with, at most
)

// profile counts the protocols, TLS parameters and addresses of the peer that the connections of an edge had since the
// posture interval began. Its memory is bounded.
type profile struct {
	protocols, versions, ciphers, groups frequent[string]
	peers                                frequent[netip.Addr]
	open                                 []openConnection
}

// openConnection is a connection that has not ended.
type openConnection struct {
	id uint64 // Judged.ID
	parameters
}

// parameters are the values of one connection that a profile counts. Those that are unknown are zero.
type parameters struct {
	protocol, version, cipher, group string
	peer                             netip.Addr
}

// parametersOf returns the parameters of a connection with a scope. Within a pod there is no peer.
func parametersOf(j *verdict.Judged, scope string) parameters {
	p := parameters{protocol: j.Protocol}
	if t := j.TLS; t != nil {
		p.version, p.cipher, p.group = versionName(t), t.Cipher, t.Curve
	}
	if scope != verdict.ScopePod {
		p.peer = bare(peerOf(j).Addr)
	}
	return p
}

// record counts a connection unless it is known, and notes whether it is open.
func (p *profile) record(j *verdict.Judged, scope string, known bool) {
	x := parametersOf(j, scope)
	if !known {
		p.add(&x)
	}
	p.forget(j.ID)
	if !j.Ended && len(p.open) < profileOpen {
		p.open = append(p.open, openConnection{j.ID, x})
	}
}

// forget removes a connection that has ended, or is counted on another edge now, from the open ones.
func (p *profile) forget(id uint64) {
	p.open = slices.DeleteFunc(p.open, func(o openConnection) bool { return o.id == id })
}

func (p *profile) add(x *parameters) {
	p.protocols.add(x.protocol)
	p.versions.add(x.version)
	p.ciphers.add(x.cipher)
	p.groups.add(x.group)
	p.peers.add(x.peer)
}

// versionName returns the version of TLS, with the name of the protocol unless that is TLS: "1.3", "dtls 1.2". It returns ""
// if the version is unknown.
func versionName(t *verdict.TLSInfo) string {
	switch {
	case t.Version == "" || t.VersionProtocol == "tls":
		return t.Version
	case t.VersionProtocol == "ssl":
		return "ssl " + t.Version
	}
	return t.VersionProtocol + " " + t.Version
}

// peerOf returns the end of a connection that is not the tapped pod: the server if the direction is unknown.
func peerOf(j *verdict.Judged) verdict.Endpoint {
	if j.Direction == verdict.DirectionIngress {
		return j.Source
	}
	return j.Destination
}

// reset begins a profile with connections that are still open.
func (p *profile) reset() {
	p.protocols.clear()
	p.versions.clear()
	p.ciphers.clear()
	p.groups.clear()
	p.peers.clear()
	for i := range p.open {
		p.add(&p.open[i].parameters)
	}
}

// merge adds the counts of another profile.
func (p *profile) merge(o *profile) {
	p.protocols.merge(&o.protocols)
	p.versions.merge(&o.versions)
	p.ciphers.merge(&o.ciphers)
	p.groups.merge(&o.groups)
	p.peers.merge(&o.peers)
	p.open = append(p.open, o.open[:min(len(o.open), profileOpen-len(p.open))]...)
}

// setProfile sets the members of a posture that the profile of the edge determines.
func (g *edge) setProfile(r *record.Record) {
	p, x := &g.profile, &r.Meshtls.Edge
	x.TLSVersions, x.Ciphers, x.Groups = p.versions.top(), p.ciphers.top(), p.groups.top()
	if all := p.protocols.top(); len(all) > 0 {
		r.Network.Protocol = all[0]
		if len(all) > 1 {
			x.Protocols = all
		}
	}
	r.Related.IP = p.peers.top()
	if n := len(p.peers.counts); n > len(r.Related.IP) {
		x.PeerAddresses = uint64(n)
	}
}

// frequent finds the most frequent values among many. It counts profileCounts values at most, by the algorithm Space Saving
// (Metwally, Agrawal, El Abbadi 2005): a new value replaces the least frequent one and takes over its count. So a value with
// more than one eighth of all additions is always present.
type frequent[T comparable] struct{ counts []counted[T] }

type counted[T comparable] struct {
	value T
	n     uint32
}

// add counts a value, unless it is zero.
func (f *frequent[T]) add(value T) { f.addN(value, 1) }

func (f *frequent[T]) addN(value T, n uint32) {
	var zero T
	if value == zero {
		return
	}
	least := 0
	for i := range f.counts {
		if f.counts[i].value == value {
			f.counts[i].n += n
			return
		}
		if f.counts[i].n < f.counts[least].n {
			least = i
		}
	}
	if len(f.counts) < profileCounts {
		f.counts = append(f.counts, counted[T]{value, n})
		return
	}
	f.counts[least].value = value
	f.counts[least].n += n
}

func (f *frequent[T]) clear() { f.counts = f.counts[:0] }

func (f *frequent[T]) merge(o *frequent[T]) {
	for _, c := range o.counts {
		f.addN(c.value, c.n)
	}
}

// top returns the most frequent values, the most frequent first, and among equally frequent ones the earliest.
func (f *frequent[T]) top() (out []T) {
	sorted := slices.Clone(f.counts)
	order.Stable(sorted, func(a, b counted[T]) int { return cmp.Compare(b.n, a.n) })
	for _, c := range sorted[:min(len(sorted), profileNames)] {
		out = append(out, c.value)
	}
	return out
}
