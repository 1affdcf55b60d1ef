package finding

import (
	"github.com/meshtls-tap/meshtls-tap/internal/iana"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// hasKeyExchange reports whether it is known how the keys of a session were agreed: by a registered group of TLS 1.3, or in an
// older version, which has no post-quantum groups. A session resumed without a key exchange (psk_ke) has no group. A group that is
// not registered may be post-quantum.
func hasKeyExchange(j *verdict.Judged) bool {
	return hasSession(j) && j.TLS.Version != "" && (j.TLS.Version != "1.3" || iana.IsRegistered(j.TLS.KeyShare))
}

// isPostQuantum reports whether the keys of a session with a known key exchange were agreed by ML-KEM or its draft,
// Kyber, alone or together with a classical group.
func isPostQuantum(t *verdict.TLSInfo) bool {
	return iana.IsPostQuantum(t.KeyShare)
}

// classical reports whether the keys of a session were agreed without a post-quantum algorithm.
func classical(j *verdict.Judged) bool { return hasKeyExchange(j) && !isPostQuantum(j.TLS) }

// keyExchangeOf returns how the keys of a session were agreed, in words.
func keyExchangeOf(t *verdict.TLSInfo) string {
	if t.Curve != "" {
		return versionOf(t) + " with the group " + t.Curve
	}
	return versionOf(t) + " without a group"
}

func classicalWords(j *verdict.Judged) breach {
	return breach{"spoke", keyExchangeOf(j.TLS), ", which is not post-quantum"}
}

func keyDowngradeWords(j *verdict.Judged) breach {
	return breach{"spoke", keyExchangeOf(j.TLS), ", which used a post-quantum group before"}
}

// hasComparableKeyExchange reports whether a key exchange can be compared with earlier ones of the same client: the ClientHello
// was seen.
func hasComparableKeyExchange(j *verdict.Judged) bool {
	return hasKeyExchange(j) && j.TLS.ClientShape != ""
}

// clientOf returns the party of a TLS session for the comparison of key exchanges: several TLS libraries may share an address,
// such as programs in a pod, and a name in a certificate. Another library is another party.
func clientOf(j *verdict.Judged) party {
	p := partyOf(j)
	p.shape = j.TLS.ClientShape
	return p
}

// fellBack reports whether a connection fell back from a post-quantum group: a party all of whose connections on the
// edge had used one, either always or in a whole window since the last fallback, began a connection without. The party
// includes the client's fingerprint.
func (e *Engine) fellBack(g *edge, j *verdict.Judged) bool {
	if !classical(j) || !hasComparableKeyExchange(j) {
		return false
	}
	f, p := g.findings[keyExchangeDowngrade], proofIn(&g.groups, clientOf(j), e.now)
	return p.isDowngrade(j.Start) || f != nil && f.open && p.first != 0 && j.Start >= p.first
}

// recordGroup records whether a connection used a post-quantum group, after the rules were applied to it.
func (e *Engine) recordGroup(g *edge, j *verdict.Judged) {
	switch {
	case !ruled(j) || !hasComparableKeyExchange(j):
	case classical(j):
		proofIn(&g.groups, clientOf(j), e.now).recordLesser()
	default:
		proofIn(&g.groups, clientOf(j), e.now).recordMTLS(j.Start)
	}
}
