package verdict

import (
	"net/netip"

	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// namePeer names the remote end where the packets tell its name, else DNS did before. A
// name is for people: no verdict, class or expectation comes of it.
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
	// maxNames bounds the addresses whose names are remembered, some 150 bytes and the
	// name each. When there is no room the older half goes.
	maxNames = 4096
	// A name is held to for ten minutes at least, since clients keep addresses for
	// longer than they are told to, and for a day at most. In ns.
	leastName = 10 * 60 * 1e9
	mostName  = 24 * 3600 * 1e9
)

// hostNames are the names that addresses go by for those who asked. What one client was told
// names nothing for another: one who can ask for names of its own choice names its own
// connections.
type hostNames struct {
	young, old map[resolved]hostName
}

// resolved is an address that a client was told. The tapped pod is one client, whichever
// of its addresses it asks from: the zero address.
type resolved struct{ client, addr netip.Addr }

type hostName struct {
	name        string
	from, until int64 // ns since the epoch: of the answer, and the last time it is good for
}

// Learn takes what DNS has told in c, at the time of the packet that told it: the names
// of the addresses that its asker may connect to next. Where the pod's own addresses are
// known, the pod's own questions count alone.
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

func (j *Judge) asked(client, addr netip.Addr) resolved {
	if j.Local(client) {
		client = netip.Addr{}
	}
	return resolved{client.Unmap(), addr.Unmap()}
}

// dnsNameOf returns the name that the client of c had for its server when c began, empty if
// none. Once found it stays: an edge's name must not change under a connection.
func (j *Judge) dnsNameOf(c *flow.Conn, peer *peerName) string {
	if !peer.set {
		*peer = peerName{j.hostNames.get(j.asked(c.Orig.Addr, c.Resp.Addr), c.First), true}
	}
	return peer.name
}

// get returns the name that was good at a time.
func (n *hostNames) get(k resolved, at int64) string {
	if x := n.find(k); x.from <= at && at <= x.until {
		return x.name
	}
	return ""
}

func (n *hostNames) find(k resolved) hostName {
	if x, ok := n.young[k]; ok {
		return x
	}
	return n.old[k]
}

// put remembers a name. The latest one of an address counts.
func (n *hostNames) put(k resolved, x hostName) {
	if was := n.find(k); was.name == x.name && was.from <= x.from && x.from <= was.until {
		x.from, x.until = was.from, max(was.until, x.until) // it was good before too
	}
	if _, ok := n.young[k]; !ok && len(n.young) >= maxNames/2 {
		n.old, n.young = n.young, nil
	}
	if n.young == nil {
		n.young = map[resolved]hostName{}
	}
	n.young[k] = x
}
