package dissect

// consult asks the table. It sets the direction's kind where one recognizer says yes,
// or where it says maybe of this side and of the other.
func (s *Session) consult(side Side, b []byte) answer {
	st, other := &s.sides[side], &s.sides[side.Other()]
	var theirs opinion
	if other.p != nil {
		theirs = other.p.maybe
	}
	best := no
	st.p.maybe = opinion{}
	candidates := &byFirst[b[0]]
	for i := candidates.next(0); i >= 0; i = candidates.next(i + 1) {
		r := &recognizers[i]
		client, server := r.ask(r.client, b), r.ask(r.server, b)
		agreed := client == maybe && theirs.server.has(i) || server == maybe && theirs.client.has(i)
		switch a := max(client, server); {
		case a == yes, agreed, a == maybe && sameProtocol(other.protocol, r.protocol):
			s.agree(side, r, theirs.client.has(i) || theirs.server.has(i))
			return yes
		case a == more:
			best = more
		}
		if client == maybe {
			st.p.maybe.client.add(i)
		}
		if server == maybe {
			st.p.maybe.server.add(i)
		}
	}
	return best
}

// agree sets a direction's protocol, and the other direction's if that said maybe before.
func (s *Session) agree(side Side, r *recognizer, both bool) {
	st, other := &s.sides[side], &s.sides[side.Other()]
	st.kind, st.protocol, st.upgrades = r.kind, r.protocol, r.upgrades
	if !both || other.protocol != "" || other.kind == KindTLS {
		return
	}
	other.kind, other.protocol, other.upgrades = r.kind, r.protocol, r.upgrades
	head := other.p.head
	s.release(&other.p.head)
	if len(head) > 0 {
		s.begin(side.Other(), head)
	}
}

// opinion holds the recognizers that said maybe: as a client, and as a server.
type opinion struct{ client, server set }

// consultWords asks the protocols of lines about a later segment of text that none of
// them recognized at its start: a command can name the protocol where no greeting did.
func (s *Session) consultWords(side Side, b []byte) answer {
	other := &s.sides[side.Other()]
	if s.settledPlain || other.p == nil {
		return no
	}
	theirs := &other.p.maybe
	candidates := &wordsByFirst[b[0]]
	for i := candidates.next(0); i >= 0; i = candidates.next(i + 1) {
		r := &recognizers[i]
		client, server := r.ask(r.client, b), r.ask(r.server, b)
		if max(client, server) == yes || client == maybe && theirs.server.has(i) || server == maybe && theirs.client.has(i) {
			s.agree(side, r, theirs.client.has(i) || theirs.server.has(i))
			return yes
		}
	}
	return no
}
