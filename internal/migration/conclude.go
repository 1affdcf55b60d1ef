package migration

import "slices"

// conclude says what became of an edge.
func (m *matching) conclude(x *row) {
	b, a := &x.Before.Counts, &x.After.Counts
	switch {
	case !b.seen():
		m.appeared(x)
	case !a.seen():
		m.vanished(x)
	case a.less():
		x.worse(b, a)
	case a.mutual():
		m.better(x, b, a)
	case a.Unclear > 0 || a.Unjudged > 0:
		x.unknown("not_judged")
	default:
		x.unknown("failed_only")
	}
}

func (x *row) unknown(reason string) {
	x.Change = NotEnough
	x.Reasons = append(x.Reasons, reason)
}

// worse concludes where a connection is less than mutual TLS now.
func (x *row) worse(b, a *Counts) {
	if a.mutual() {
		x.Reasons = append(x.Reasons, "mixed")
	}
	switch {
	case b.mutual() && (!b.less() || !a.mutual()):
		x.Change = Lost
	case !b.mutual() && !b.less():
		x.unknown("before_not_judged")
	case x.Before.State == x.After.State:
		x.Change = Unchanged
	default:
		x.Change = Other
	}
}

// better concludes where mutual TLS is seen now, and nothing less.
func (m *matching) better(x *row, b, a *Counts) {
	switch {
	case a.Unclear > 0:
		x.unknown("unclear")
		return
	case a.Unjudged > 0:
		x.unknown("unjudged")
		return
	case m.isFolded(x):
		x.unknown("folded_less")
		return
	case x.most:
		x.unknown("too_many_names")
		return
	case x.only && m.doubts(x):
		x.unknown("nameless_less")
		return
	case x.only && !x.sole:
		x.Change = Covered
		x.Reasons = append(x.Reasons, "hbone_hides_service")
		return
	case x.Basis == ByService && !x.sole:
		x.unknown("other_port_of_several")
		return
	case !b.mutual() && !b.less():
		x.unknown("before_not_judged")
		return
	case x.only:
		x.Reasons = append(x.Reasons, "hbone_of_the_pair")
	}
	if x.Change = Kept; !b.mutual() || b.less() {
		x.Change = Gained
	}
}

// isFolded reports whether a tap of one of the ends counted connections that are less
// without their edge.
func (m *matching) isFolded(x *row) bool {
	for _, p := range [...]Party{x.From, x.To} {
		if c := m.after.folded[p]; c != nil && (c.less() || c.Unclear > 0) {
			return true
		}
	}
	c := m.after.folded[Party{}] // of a capture without a point of view
	return c != nil && (c.less() || c.Unclear > 0)
}

// doubts reports whether the client may reach this server past HBONE.
func (m *matching) doubts(x *row) bool {
	may, _ := m.spare[x.From].mayBe(x)
	return may
}

// vanished concludes where nothing is seen of an edge any more.
func (m *matching) vanished(x *row) {
	x.After.State = NotSeen
	reasons := slices.Clone(m.after.unwatched(m.before, x.From))
	others := m.spare[x.From]
	if others != nil && others.hbone {
		reasons = append(reasons, "hbone_to_others")
	}
	switch may, same := others.mayBe(x); {
	case same:
		reasons = append(reasons, "same_port_elsewhere")
	case may:
		reasons = append(reasons, "nameless_less")
	}
	if m.isFolded(x) {
		reasons = append(reasons, "folded_less")
	}
	x.absent(Gone, reasons)
}

// appeared concludes where nothing was seen of an edge before. It is a loss as well where the
// two ends spoke mutual TLS and nothing less before, at other ports, or where the server's port
// took nothing else of clients without a name.
func (m *matching) appeared(x *row) {
	if x.After.Counts.less() && x.Port != 0 {
		was, took := m.was[x.pair], Counts{}
		if !x.From.named() && x.To.named() {
			took = m.took[server{x.To, x.Port}]
		}
		switch {
		case took.mutual() && !took.doubtful():
			x.Before, x.Change, x.Basis = look(took, nil), Lost, ByServer
			x.Reasons = append(x.Reasons, "server_took_mtls_only")
			return
		case was.mutual() && !was.doubtful():
			x.Before, x.Change, x.Basis = look(was, nil), Lost, ByService
			x.Reasons = append(x.Reasons, "other_port")
			return
		}
	}
	x.absent(New, m.before.unwatched(m.after, x.From))
}

func (x *row) absent(change Change, reasons []string) {
	x.Change, x.Reasons = change, append(x.Reasons, reasons...)
	if len(reasons) > 0 {
		x.Change = NotEnough
	}
}
