package migration

import "slices"

// conclude sets the change of an edge.
func (m *matching) conclude(x *row) {
	b, a := &x.Before.Counts, &x.After.Counts
	switch {
	case !b.seen():
		m.concludeNew(x)
	case !a.seen():
		m.concludeGone(x)
	case a.less():
		x.concludeLess(b, a)
	case a.mutual():
		m.concludeMutual(x, b, a)
	case a.Unclear > 0 || a.Unjudged > 0:
		x.concludeNotEnough("not_judged")
	default:
		x.concludeNotEnough("failed_only")
	}
}

func (x *row) concludeNotEnough(reason string) {
	x.Change = NotEnough
	x.Reasons = append(x.Reasons, reason)
}

// concludeLess sets the change of an edge with a connection that is less than mutual TLS after the change.
func (x *row) concludeLess(b, a *Counts) {
	if a.mutual() {
		x.Reasons = append(x.Reasons, "mixed")
	}
	switch {
	case b.mutual() && (!b.less() || !a.mutual()):
		x.Change = Lost
	case !b.mutual() && !b.less():
		x.concludeNotEnough("before_not_judged")
	case x.Before.State == x.After.State:
		x.Change = Unchanged
	default:
		x.Change = Other
	}
}

// concludeMutual sets the change of an edge with only mutual TLS after the change.
func (m *matching) concludeMutual(x *row, b, a *Counts) {
	switch {
	case a.Unclear > 0:
		x.concludeNotEnough("unclear")
		return
	case a.Unjudged > 0:
		x.concludeNotEnough("unjudged")
		return
	case m.isFolded(x):
		x.concludeNotEnough("folded_less")
		return
	case x.tooManyNames:
		x.concludeNotEnough("too_many_names")
		return
	case x.onlyHBONE && m.unmatched[x.From].mayBe(x), m.mayBeSeenByAddress(x):
		x.concludeNotEnough("nameless_less")
		return
	case x.onlyHBONE && x.besideHBONE:
		x.concludeNotEnough("past_hbone")
		return
	case x.onlyHBONE && (!x.unshared || x.pair.tunnel != nil || m.mayCarryOthers(x)): // the former HBONE carried another service
		x.Change = Covered
		x.Reasons = append(x.Reasons, "hbone_hides_service")
		return
	case x.Basis == ByService: // mutual TLS at one port does not prove it at another
		x.concludeNotEnough("other_port")
		return
	case !b.mutual() && !b.less():
		x.concludeNotEnough("before_not_judged")
		return
	case x.onlyHBONE:
		x.Reasons = append(x.Reasons, "hbone_of_the_pair")
	}

	if x.Change = Kept; !b.mutual() || b.less() {
		x.Change = Gained
	}
}

// mayBeSeenByAddress reports whether an edge that was matched by its name may have further connections, less than
// mutual TLS, that were seen under an address only. That is possible if its client may have such connections to a peer
// without a name at the same port.
func (m *matching) mayBeSeenByAddress(x *row) bool {
	return x.Basis == ByName && x.To.named() && m.unmatched[x.From].at(x.Port)
}

// isFolded reports whether a tap at one of the ends counted connections that may be less than mutual TLS
// on an aggregate edge.
func (m *matching) isFolded(x *row) bool {
	for _, p := range [...]Party{x.From, x.To} {
		if c := m.after.folded[p]; c != nil && (c.less() || c.Unclear > 0) {
			return true
		}
	}
	c := m.after.folded[Party{}] // counts of a capture without a local end
	return c != nil && (c.less() || c.Unclear > 0)
}

// mayCarryOthers reports whether other services may be involved in the HBONE of x: the pair's HBONE may carry a
// service other than x's, or HBONE of another pair may carry x's service. Both are possible if a peer of the
// client has no name.
func (m *matching) mayCarryOthers(x *row) bool {
	was, is, left := m.before.peers[x.From], m.after.peers[x.From], m.unmatched[x.From]
	return x.To.named() && (was != nil && (was.nameless || was.hbone) || is != nil && is.hbone) || left != nil && left.hbone
}

// concludeGone sets the change of an edge that is not seen after the change.
func (m *matching) concludeGone(x *row) {
	x.After.State = NotSeen
	reasons := append(slices.Clone(m.after.whyUnseen(m.before, x.From)), m.after.whyUnderAnotherName(x)...)
	if x.pairSeen {
		reasons = append(reasons, "other_port")
	}
	if others := m.unmatched[x.From]; others != nil && others.hbone {
		reasons = append(reasons, "hbone_to_others")
	}
	if m.isFolded(x) {
		reasons = append(reasons, "folded_less")
	}
	x.concludeAbsent(Gone, reasons)
}

// concludeNew sets the change of an edge that was not seen before the change. If its connections are less than mutual
// TLS, the edge counts as lost in two cases. The two ends had only mutual TLS before, at other ports. Or the client has
// no name, and the server's port accepted only mutual TLS before.
func (m *matching) concludeNew(x *row) {
	if x.After.Counts.less() && x.Port != 0 {
		was, took := m.formerPairs[x.pair], Counts{}
		if !x.From.named() && x.To.named() {
			took = m.formerServers[server{x.To, x.Port}]
		}
		switch {
		case took.mutual() && !took.doubtful():
			x.Before, x.Change, x.Basis = observe(took, nil), Lost, ByServer
			x.Reasons = append(x.Reasons, "server_took_mtls_only")
			return
		case was.mutual() && !was.doubtful():
			x.Before, x.Change, x.Basis = observe(was, nil), Lost, ByService
			x.Reasons = append(x.Reasons, "other_port")
			return
		}
	}

	reasons := append(slices.Clone(m.before.whyUnseen(m.after, x.From)), m.before.whyUnderAnotherName(x)...)
	if _, there := m.formerPairs[x.pair]; there {
		reasons = append(reasons, "other_port")
	}

	x.concludeAbsent(New, reasons)
}

// whyUnderAnotherName returns reasons to suspect that this side has the edge of x, but with a different name for the
// server. The server of x, or another peer of the client, may be known only by its address or its identity. Or the
// client's HBONE to another peer may carry the edge's connections.
func (v *view) whyUnderAnotherName(x *row) (reasons []string) {
	p := v.peers[x.From]
	switch {
	case p == nil:
	case !x.To.named():
		reasons = append(reasons, "server_by_address")
	case isIdentity(x.To.Name):
		reasons = append(reasons, "server_by_identity")
	case p.nameless:
		reasons = append(reasons, "peers_by_address")
	case p.identity:
		reasons = append(reasons, "peers_by_identity")
	}
	if p != nil && p.hbone {
		reasons = append(reasons, "hbone_to_others")
	}
	return reasons
}

func (x *row) concludeAbsent(change Change, reasons []string) {
	x.Change, x.Reasons = change, append(x.Reasons, reasons...)
	if len(reasons) > 0 {
		x.Change = NotEnough
	}
}
