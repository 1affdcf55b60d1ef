package verify

import (
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
	pairs   []pair
	older   int  // connections that are older than the taps and were used since the start
	earlier bool // the pairs began before the start
}

// join returns the connections that the question is about, and joins their ends. If the request's own connection is on the wire, it is the
// only one. Otherwise a proxy sent the request, and all connections count that began since.
func (s *Records) join(q *Question) (j joined) {
	sent, olderSent := s.clientEnd(q)
	j.earlier = len(sent) > 0 && sent[0].start.Before(q.Start)
	got, olderGot := s.serverEnds(q)
	j.older = max(olderSent, olderGot)
	used := map[*connection]bool{}
	for _, c := range sent {
		p := pair{client: c}
		for _, g := range got {
			if c.same(g.server) {
				p.server, p.pod = g.server, g.pod
				used[g.server] = true
				break
			}
		}
		if p.server == nil { // by hash, whatever its addresses are: they may have been translated
			p.server, p.pod = s.find(q, c)
			used[p.server] = p.server != nil
		}
		j.pairs = append(j.pairs, p)
	}
	if q.Request != nil && q.Request.own(sent) {
		return j // further connections at the server are others
	}
	for _, g := range got {
		// Clocks differ, so the server's tap may report connections that are older for the client. With connections of the client at hand they
		// count only if they are bad news.
		if !used[g.server] && (len(sent) == 0 || notMutual(g.server) && !s.reported(q, g.server)) {
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

// reported reports whether the client's tap has a record of a connection of the server.
func (s *Records) reported(q *Question, c *connection) bool {
	p := s.pods[q.From.Name]
	return p != nil && slices.ContainsFunc(p.connections, c.same)
}

// own reports whether the connections are the request's own one.
func (r *Request) own(sent []*connection) bool {
	local, err := netip.ParseAddrPort(r.Local)
	return err == nil && len(sent) == 1 && sent[0].source == local
}

// clientEnd returns the client's connections to the server, and how many of those that are older than the tap were used. If no connection
// began since the start, earlier ones count that were used since and whose handshake was seen.
func (s *Records) clientEnd(q *Question) (out []*connection, older int) {
	p := s.pods[q.From.Name]
	if p == nil {
		return nil, 0
	}
	var earlier []*connection
	for _, c := range p.connections {
		switch {
		case c.scope == "pod" || c.direction == "ingress" || c.end.Before(q.Start) || !q.concerns(c.source.Addr(), c.dest.Addr(), c.port):
		case q.Request != nil && q.Request.own([]*connection{c}):
			return []*connection{c}, 0
		case c.older:
			older++
		case c.start.Before(q.Start):
			earlier = append(earlier, c)
		default:
			out = append(out, c)
		}
	}
	if len(out) > 0 {
		return out, older
	}
	if len(earlier) > 0 || older > 0 {
		return earlier, older
	}
	for _, c := range p.postures {
		to := slices.ContainsFunc(c.peers, q.isServer)
		if c.scope != "pod" && c.direction == "egress" && to && !c.end.Before(q.Start) && q.concerns(netip.Addr{}, netip.Addr{}, c.port) {
			out = append(out, c)
		}
	}
	return out, 0
}

// serverEnds returns the connections from the client at the server's pods, and how many older ones were used. The server's clock may differ
// from the client's, so a connection is older only if its start was not captured.
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
			case c.older:
				older++
			default:
				out = append(out, pair{server: c, pod: q.Servers[i].Name})
			}
		}
	}
	return out, older
}

// find returns the connection at a server's pod that is the client's connection c.
func (s *Records) find(q *Question, c *connection) (found *connection, name string) {
	for i := range q.Servers {
		p := s.pods[q.Servers[i].Name]
		if p == nil {
			continue
		}
		for _, x := range p.connections {
			if x.scope != "pod" && x.direction != "egress" && c.same(x) {
				return x, q.Servers[i].Name
			}
		}
		for _, x := range p.postures {
			if x.scope != "pod" && x.direction != "egress" && c.same(x) {
				return x, q.Servers[i].Name
			}
		}
	}
	return nil, ""
}
