package verdict

import (
	"net/netip"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// namePeer names the remote end by its identity, SNI or Host header, or else by an earlier DNS answer. The name is
// only shown to people: no verdict, class or expectation depends on it.
func (j *Judge) namePeer(o *Judged, c *flow.Conn, peer *peerName) {
	switch o.Direction {
	case DirectionIngress:
		if o.TLS != nil && o.TLS.Client != nil && o.TLS.Client.SPIFFE != "" {
			o.PeerName, o.PeerNameBasis = o.TLS.Client.SPIFFE, "spiffe"
		}
		return
	case DirectionInternal:
		return
	}
	switch {
	case o.TLS != nil && o.TLS.Server != nil && o.TLS.Server.SPIFFE != "":
		o.PeerName, o.PeerNameBasis = o.TLS.Server.SPIFFE, "spiffe"
	case o.TLS != nil && o.TLS.ServerName != "":
		o.PeerName, o.PeerNameBasis = o.TLS.ServerName, "sni"
	case o.HTTP != nil && o.HTTP.Host != "":
		o.PeerName, o.PeerNameBasis = o.HTTP.Host, "host_header"
	default:
		if name := j.dnsNameOf(c, peer); name != "" {
			o.PeerName, o.PeerNameBasis = name, "dns"
		}
	}
}

const (
	// maxNames bounds the remembered addresses, each about 150 bytes plus the name. At the limit, the older half is
	// removed.
	maxNames = 4096
	// A name is valid for at least leastName, because clients use addresses for longer than their TTL. It is valid for at
	// most mostName. Both are in ns.
	leastName = 10 * 60 * 1e9
	mostName  = 24 * 3600 * 1e9
)

// hostNames are the DNS names of addresses, kept separately for each client that asked. The answers to one client
// do not name another client's peers: otherwise a client could ask for names of its choice to name the connections
// of others.
type hostNames struct {
	young, old map[resolved]hostName
}

// resolved is an address in an answer to a client. The tapped pod counts as one client, with the zero address, no
// matter from which of its addresses it asks.
type resolved struct{ client, addr netip.Addr }

// hostName is a name of an address, with the time in which it is valid.
type hostName struct {
	name        string
	from, until int64 // ns since the epoch: the time of the answer, and the end of its validity
}

// Learn stores the DNS answers in c, seen at the given time in ns. They name the addresses to which the client may
// connect next. If the pod's own addresses are known, only answers to the pod's questions count.
func (j *Judge) Learn(c *flow.Conn, s *dissect.Session, at int64) {
	for _, a := range s.Answers() {
		asker := c.Orig.Addr
		if a.Asker == dissect.Responder {
			asker = c.Resp.Addr
		}
		if k := j.asked(asker, a.Addr); len(j.cfg.Local) == 0 || !k.client.IsValid() {
			j.hostNames.put(k, hostName{a.Name, at, at + min(max(int64(a.TTL)*1e9, leastName), mostName)})
		}
	}
}

// asked returns the key for an address in an answer to a client.
func (j *Judge) asked(client, addr netip.Addr) resolved {
	if j.Local(client) {
		client = netip.Addr{}
	}
	return resolved{client.Unmap(), addr.Unmap()}
}

// dnsNameOf returns the name by which the client of c knew its server when c began, empty if none. It looks the name
// up once: an edge's name must not change during a connection.
func (j *Judge) dnsNameOf(c *flow.Conn, peer *peerName) string {
	if !peer.set {
		*peer = peerName{j.hostNames.get(j.asked(c.Orig.Addr, c.Resp.Addr), c.First), true}
	}
	return peer.name
}

// get returns the name that was valid at a time, empty if none.
func (n *hostNames) get(k resolved, at int64) string {
	if x := n.find(k); x.from <= at && at <= x.until {
		return x.name
	}
	return ""
}

// find returns the name stored for k, or the zero hostName.
func (n *hostNames) find(k resolved) hostName {
	if x, ok := n.young[k]; ok {
		return x
	}
	return n.old[k]
}

// put stores a name. The latest name of an address counts.
func (n *hostNames) put(k resolved, x hostName) {
	if was := n.find(k); was.name == x.name && was.from <= x.from && x.from <= was.until {
		x.from, x.until = was.from, max(was.until, x.until) // it was valid before too
	}
	if _, ok := n.young[k]; !ok && len(n.young) >= maxNames/2 {
		n.old, n.young = n.young, nil
	}
	if n.young == nil {
		n.young = map[resolved]hostName{}
	}
	n.young[k] = x
}
