package finding

import "github.com/meshtls-tap/meshtls-tap/internal/verdict"

// fact is evidence of a connection that rules need. Where the capture lost it, or where the protocol encrypts it, the
// rules are silent, and rules_blind of the posture names them.
type fact int

// The facts.
const (
	factHello       fact = iota // the version of the ServerHello
	factCipher                  // its cipher suite
	factCertificate             // a readable certificate of either end
	factOutcome                 // how the handshake ended
	factIdentity                // the names in both the client hello and the certificate of the server
	factGroup                   // how the keys were agreed
	factFallback                // the same, and the client hello, by which the key exchanges of a client are compared
	factAnswer                  // the server's response to plaintext
	factCredentials             // the part of plaintext that is searched for credentials
	factCount
)

// noFact is the need of rules that are never blind.
const noFact fact = -1

// factTraits returns the traits of the facts of a connection. A connection that certainly is not TLS has none of them.
func factTraits(j *verdict.Judged) (t traits) {
	if j.Verdict == verdict.Plaintext {
		return answerTraits(j) | credentialTraits(j)
	}
	if failed(j) {
		return 1 << (seenBit + int(factOutcome)) // the others exist in sessions only
	}
	if !spokeTLS(j) {
		return 0
	}
	for f := range factAnswer {
		if hasFact(f, j) {
			t |= 1 << (seenBit + int(f))
		} else {
			t |= 1 << (hiddenBit + int(f))
		}
	}
	return t
}

// answerTraits returns the traits of the server's response to plaintext. The response may exist although none was seen if
// bytes of the connection were not captured.
func answerTraits(j *verdict.Judged) traits {
	switch {
	case j.HTTP != nil && j.HTTP.Status != 0, j.HTTP == nil && j.Destination.Bytes > 0:
		return 1 << (seenBit + int(factAnswer))
	case j.MissedBytes > 0 || j.MissedStart || j.Destination.Packets == 0:
		return 1 << (hiddenBit + int(factAnswer))
	}
	return 0
}

// spokeTLS reports whether a connection had a TLS session, or may have had one.
func spokeTLS(j *verdict.Judged) bool {
	switch j.Verdict {
	case verdict.TLS, verdict.MTLS:
		return true
	case verdict.Unknown:
		return j.TLS != nil || j.Protocol == "tls" || j.Protocol == "dtls" || j.Protocol == "quic"
	default:
		return false
	}
}

// hasSession reports whether a connection was shown to have a TLS session with a known ServerHello. Without proof that the handshake
// was completed, it may be that one end rejected the other, and that its alert was lost.
func hasSession(j *verdict.Judged) bool {
	return (j.Verdict == verdict.TLS || j.Verdict == verdict.MTLS) && j.TLS != nil && j.TLS.Established
}

// choseVersion reports whether the ends of a connection were shown to use the version of the ServerHello. In SSL 2.0 no outcome of
// the handshake is known, but a server that does not allow SSL 2.0 sends no such hello.
func choseVersion(j *verdict.Judged) bool {
	return hasSession(j) || j.Verdict == verdict.TLS && j.TLS != nil && j.TLS.VersionProtocol == "ssl" && j.TLS.Version == "2.0"
}

// hasFact reports whether a fact of a connection was seen.
func hasFact(f fact, j *verdict.Judged) bool {
	if f == factHello {
		return choseVersion(j) && j.TLS.Version != ""
	}
	if !hasSession(j) {
		return false
	}
	switch f {
	case factCipher:
		return j.TLS.Cipher != ""
	case factOutcome:
		return true
	case factGroup:
		return hasKeyExchange(j)
	case factFallback:
		return hasComparableKeyExchange(j)
	case factIdentity:
		return hasIdentities(j)
	case factCertificate:
		c, _ := certificateOf(j, anyCertificate)
		return c != nil
	default: // factAnswer and factCredentials are not of a session, see answerTraits and credentialTraits
		return false
	}
}

// blindSessionRules appends the rules with pages for which the counted connections gave no evidence. Rules that are off
// are not blind.
func (e *Engine) blindSessionRules(n tally, list []string) []string {
	for r := range rules {
		if rules[r].words == nil || rules[r].needs == noFact || e.severities[r] == (severities{}) {
			continue
		}
		seen, hidden := n.connections(seenBit+int(rules[r].needs)), n.connections(hiddenBit+int(rules[r].needs))
		if seen == 0 && (hidden > 0 || n.judged() == 0) {
			list = append(list, rules[r].id)
		}
	}
	return list
}
