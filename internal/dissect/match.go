package dissect

import "github.com/meshtls-tap/meshtls-tap/internal/protocols"

// match tries the recognizers on the first bytes of a direction. It sets the direction's protocol if a recognizer returns Yes, or if it
// returns Maybe for both sides.
func (s *Session) match(side Side, b []byte) protocols.Match {
	st, other := &s.sides[side], &s.sides[side.Other()]
	var theirs maybes
	if other.p != nil {
		theirs = other.p.maybe
	}
	best := protocols.No
	st.p.maybe = maybes{}
	candidates := protocols.StartingWith(b[0])
	for i := candidates.Next(0); i >= 0; i = candidates.Next(i + 1) {
		r := &protocols.TCP[i]
		client, server := r.Client(b), r.Server(b)
		agreed := client == protocols.Maybe && theirs.server.Has(i) || server == protocols.Maybe && theirs.client.Has(i)
		switch a := max(client, server); {
		case a == protocols.Yes, agreed, a == protocols.Maybe && protocols.Same(other.protocol, r.Protocol):
			s.setProtocol(side, r, theirs.client.Has(i) || theirs.server.Has(i))
			return protocols.Yes
		case a == protocols.More:
			best = protocols.More
		}
		if client == protocols.Maybe {
			st.p.maybe.client.Add(i)
		}
		if server == protocols.Maybe && (!r.Answers() || other.seen > 0 || other.startLost) {
			st.p.maybe.server.Add(i)
		}
	}
	if best == protocols.No && s.adoptProtocol(side, b) {
		return protocols.Yes
	}

	return best
}

// adoptProtocol sets the protocol of a direction that begins with no known command, if it is text and the other side was recognized by its own
// bytes as a side of a protocol of lines: servers answer such a command with an error, and the client continues.
func (s *Session) adoptProtocol(side Side, b []byte) bool {
	other := &s.sides[side.Other()]
	if other.kind != KindPlain || other.protocol == "" || other.protocol != "telnet" && protocols.CountNonText(b) > 0 {
		return false
	}
	r := protocols.OfLines(other.protocol)
	if r == nil {
		return false
	}
	s.setProtocol(side, r, false)
	return true
}

// setProtocol sets the protocol of a direction, or of both directions if the argument both is true.
func (s *Session) setProtocol(side Side, r *protocols.Recognizer, both bool) {
	st, other := &s.sides[side], &s.sides[side.Other()]
	st.kind, st.protocol, st.upgrades = kindOf(r), r.Protocol, r.Upgrades
	if !both || other.protocol != "" || other.kind == KindTLS {
		return
	}
	other.kind, other.protocol, other.upgrades = kindOf(r), r.Protocol, r.Upgrades
	head := other.p.head
	s.release(&other.p.head)
	if len(head) > 0 {
		s.startReader(side.Other(), head)
	}
}

// maybes holds the recognizers that returned Maybe for the bytes of a direction: in client as bytes of a client, in server as bytes of a
// server.
type maybes struct{ client, server protocols.Set }

// matchLines tries the recognizers of text protocols on a later segment of a direction that began with unrecognized text. A command can
// identify the protocol where the greeting did not.
func (s *Session) matchLines(side Side, b []byte) protocols.Match {
	other := &s.sides[side.Other()]
	if s.plainDecided || other.p == nil {
		return protocols.No
	}
	theirs := &other.p.maybe
	candidates := protocols.LinesStartingWith(b[0])
	for i := candidates.Next(0); i >= 0; i = candidates.Next(i + 1) {
		r := &protocols.TCP[i]
		client, server := r.Client(b), r.Server(b)
		if max(client, server) == protocols.Yes || client == protocols.Maybe && theirs.server.Has(i) || server == protocols.Maybe && theirs.client.Has(i) {
			s.setProtocol(side, r, theirs.client.Has(i) || theirs.server.Has(i))
			return protocols.Yes
		}
	}
	return protocols.No
}

// matchDatagram tries the recognizers of protocols over UDP. It reports whether a recognizer returns Yes, or returns Maybe for both ends.
func (s *udpLayer) matchDatagram(side Side, b []byte) bool {
	st, other := &s.sides[side], &s.sides[side.Other()]
	var theirs maybes
	if other.p != nil && (other.kind != KindTLS || s.unconfirmed(side.Other())) {
		theirs = other.p.maybe
	}
	st.p.maybe = maybes{}
	for i := range protocols.UDP {
		r := &protocols.UDP[i]
		client, server := r.Client(b), r.Server(b)
		agreed := client == protocols.Maybe && theirs.server.Has(i) || server == protocols.Maybe && theirs.client.Has(i)
		if agreed || max(client, server) == protocols.Yes || max(client, server) == protocols.Maybe && other.protocol == r.Protocol {
			st.kind, st.protocol = kindOf(r), r.Protocol
			if agreed && other.protocol == "" {
				other.kind, other.protocol = kindOf(r), r.Protocol
			}
			s.revision++
			return true
		}
		if client == protocols.Maybe {
			st.p.maybe.client.Add(i)
		}
		if server == protocols.Maybe {
			st.p.maybe.server.Add(i)
		}
	}

	return false
}

// kindOf returns the kind of a direction that a recognizer has matched.
func kindOf(r *protocols.Recognizer) Kind {
	return [...]Kind{protocols.Plain: KindPlain, protocols.Greeting: KindGreeting, protocols.Encrypted: KindEncrypted}[r.Form]
}
