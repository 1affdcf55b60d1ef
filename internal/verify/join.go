package verify

import (
	"maps"
	"net/netip"
	"slices"
)

// pair is a connection as both ends report it. One of them may be nil.
type pair struct {
	client, server *connection
	pod            string // of the server
}

// joined are the connections that a question is about.
type joined struct {
	pairs []pair
	own   bool // the only pair is the request's own connection
	older int  // connections that are older than the taps, were used since the start, and are not judged
	open  int  // edges of taps that ran before, which report connections in use that are not mutual TLS or not judged
}

// join returns the connections that the question is about, and joins their ends. If the request's own connection is on the wire, it is the
// only one. Otherwise a proxy sent the request, and each connection that was used since may have carried it.
func (s *Records) join(q *Question) (j joined) {
	sent, olderSent := s.clientEnd(q)
	j.own = q.Request != nil && q.Request.own(sent)
	got, olderGot := s.serverEnds(q)
	j.older = max(olderSent, olderGot)
	used := map[*connection]bool{}
	for _, c := range sent {
		p := pair{client: c}
		for _, g := range got {
			if c.same(g.server) {
				used[g.server] = true
				if p.server == nil || g.server.rank() > p.server.rank() { // records may contradict each other
					p.server, p.pod = g.server, g.pod
				}
			}
		}
		if p.server == nil { // by hash, whatever its addresses are: they may have been translated
			p.server, p.pod = s.find(q, c)
			used[p.server] = p.server != nil
		}
		j.pairs = append(j.pairs, p)
	}
	if j.own {
		j.older = 0
		return j // further connections at both ends are others
	}
	j.open = s.openEdges(q)
	for _, g := range got {
		// Clocks differ, so the server's tap may report connections that are older for the client. With connections of the client at hand they
		// count only if they are bad news.
		if used[g.server] || len(sent) > 0 && !notMutual(g.server) {
			continue
		}
		if g.client = s.reported(q, g.server); g.client == nil || !g.client.end.Before(q.Start) {
			j.pairs = append(j.pairs, g)
		}
	}
	if slices.ContainsFunc(j.pairs, func(p pair) bool { return !p.empty() }) {
		j.pairs = slices.DeleteFunc(j.pairs, pair.empty)
	}
	return j
}

// empty reports whether no end saw data.
func (p pair) empty() bool {
	return (p.client == nil || p.client.empty()) && (p.server == nil || p.server.empty())
}

// reported returns the client's record of a connection of the server, or nil. If records contradict each other, it is the latest.
func (s *Records) reported(q *Question, c *connection) (found *connection) {
	if p := s.pods[q.From.Name]; p != nil {
		for _, x := range p.connections {
			if c.same(x) && (found == nil || x.end.After(found.end)) {
				found = x
			}
		}
	}
	return found
}

// own reports whether the connections are the request's own one.
func (r *Request) own(sent []*connection) bool {
	local, err := netip.ParseAddrPort(r.Local)
	return err == nil && len(sent) > 0 && !slices.ContainsFunc(sent, func(c *connection) bool { return c.source != local })
}

// clientEnd returns the client's connections to the server that were used since the start, and how many more of those that are older than the
// tap and could not be judged. If there is neither, the postures count.
func (s *Records) clientEnd(q *Question) (out []*connection, older int) {
	p := s.pods[q.From.Name]
	if p == nil {
		return nil, 0
	}
	var own []*connection
	for _, c := range p.connections {
		switch {
		case c.scope == "pod" || c.direction == "ingress" || c.end.Before(q.Start) || !q.concerns(c.source.Addr(), c.dest.Addr(), c.port):
		case q.Request != nil && q.Request.own([]*connection{c}):
			own = append(own, c) // several only if records contradict each other
		case c.older && !notMutual(c):
			older++
		default:
			out = append(out, c)
		}
	}
	switch {
	case len(own) > 0:
		return own, 0
	case len(out) > 0 || older > 0:
		return out, older
	}
	for _, k := range slices.Sorted(maps.Keys(p.postures)) {
		if c := p.postures[k]; q.sentBy(c) {
			out = append(out, c)
		}
	}
	return out, 0
}

// sentBy reports whether a posture of the client is about connections to the server that were used since the start.
func (q *Question) sentBy(c *connection) bool {
	return c.scope != "pod" && c.direction == "egress" && !c.end.Before(q.Start) && slices.ContainsFunc(c.peers, q.isServer) && q.concerns(netip.Addr{}, netip.Addr{}, c.port)
}

// gotBy reports whether a posture of a server's pod is about connections from the client that were used since the start.
func (q *Question) gotBy(c *connection) bool {
	return c.scope != "pod" && c.direction == "ingress" && !c.end.Before(q.Start.Add(-clockSkew)) &&
		slices.ContainsFunc(c.peers, func(a netip.Addr) bool { return slices.Contains(q.From.Addresses, a) }) && q.concerns(netip.Addr{}, netip.Addr{}, c.port)
}

// openEdges returns the number of edges between the ends with connections that are not shown to be mutual TLS, as taps report them that ran
// before the question and run on: they write the record of a connection when it ends, so one in use is only in postures.
func (s *Records) openEdges(q *Question) (n int) {
	add := func(p *Pod, about func(*connection) bool) {
		if !p.Reused || s.pods[p.Name] == nil {
			return
		}
		for _, c := range s.pods[p.Name].postures {
			if about(c) && !c.mutual() && !c.empty() {
				n++
			}
		}
	}
	add(&q.From, q.sentBy)
	for i := range q.Servers {
		add(&q.Servers[i], q.gotBy)
	}
	return n
}

// serverEnds returns the connections from the client at the server's pods, and how many older ones were used and could not be judged. The
// server's clock may differ from the client's, so a connection is older only if its start was not captured.
func (s *Records) serverEnds(q *Question) (out []pair, older int) {
	for i := range q.Servers {
		p := s.pods[q.Servers[i].Name]
		if p == nil {
			continue
		}
		for _, c := range p.connections {
			switch {
			case c.scope == "pod" || c.direction == "egress" || !q.concerns(c.source.Addr(), c.dest.Addr(), c.port):
			case c.end.Before(q.Start.Add(-clockSkew)):
			case c.older && !notMutual(c):
				older++
			default:
				out = append(out, pair{server: c, pod: q.Servers[i].Name})
			}
		}
	}
	return out, older
}

// find returns the connection at a server's pod that is the client's connection c; the weakest, if records contradict each other. Records of single connections
// precede postures.
func (s *Records) find(q *Question, c *connection) (found *connection, name string) {
	for i := range q.Servers {
		p := s.pods[q.Servers[i].Name]
		if p == nil {
			continue
		}
		list := slices.Clone(p.connections)
		for _, k := range slices.Sorted(maps.Keys(p.postures)) {
			list = append(list, p.postures[k])
		}
		for _, x := range list {
			if x.scope == "pod" || x.direction == "egress" || !c.same(x) {
				continue
			}
			if found == nil || found.posture && !x.posture || found.posture == x.posture && x.rank() > found.rank() {
				found, name = x, q.Servers[i].Name
			}
		}
	}
	return found, name
}
