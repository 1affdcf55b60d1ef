package dissect

import "github.com/meshtls-tap/meshtls-tap/internal/protocols"

// sealsWithin replaces mayUpgradeWithin for protocols with encryption of their own, except mail. Their negotiation takes several
// kilobytes.
const sealsWithin = 8 << 10

// sealing looks for a sealed message at the start of a direction's segment. The connection is encrypted once both ends have sent
// sealed messages.
func (s *plainLayer) sealing(side Side, data []byte) {
	st, other := &s.sides[side], &s.sides[side.Other()]
	if s.watchSealed(side, data) || st.sealed || !protocols.IsSealed(st.protocol, data) {
		return
	}
	st.sealed = true
	other.sealed = other.sealed || st.protocol == "tns" || st.protocol == "rfb"
	for _, x := range []*stream{st, other} {
		if x.sealed && (s.Sealed() || protocols.Evident(x.protocol)) {
			x.kind, x.upgrades = KindEncrypted, false
		}
	}
	s.plainFrom = max(s.plainFrom, s.sides[0].seen+s.sides[1].seen)
	s.revision++
}

// MayTurn reports whether TLS or the protocol's own encryption may follow the plaintext.
func (s *plainLayer) MayTurn() bool {
	if s.MayUpgrade() {
		return true // this covers LDAP, PostgreSQL and mail, which can seal only where TLS may follow
	}
	for i := range s.sides {
		if p := s.sides[i].protocol; protocols.Seals(p) && protocols.Evident(p) {
			return true
		}
	}
	return false
}

// Sealed reports whether both ends have sent messages that the protocol seals by its own means.
func (s *plainLayer) Sealed() bool { return s.sides[0].sealed && s.sides[1].sealed }
