package finding

import (
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// sendsCredentials reports whether the client sent credentials in plaintext, possibly before TLS began.
func sendsCredentials(j *verdict.Judged) bool { return j.Credentials != 0 }

func credentialWords(j *verdict.Judged) breach {
	return breach{"sent", "a credential in plaintext", " (" + strings.Join(j.Credentials.Names(), ", ") + ")"}
}

// credentialTraits returns the traits of the search of plaintext for credentials. The search is blind where bytes were
// not captured, and in protocols whose authentication is not read.
func credentialTraits(j *verdict.Judged) traits {
	if j.Credentials != 0 || j.CredentialsRead {
		return 1 << (seenBit + int(factCredentials))
	}
	return 1 << (hiddenBit + int(factCredentials))
}

// yieldsToCredentials reports whether the finding of credentials-in-clear of the same connection alerts instead of f, a
// finding about its plaintext. The less severe of the two does not alert, and if both are equal, f.
func (e *Engine) yieldsToCredentials(f *openFinding) bool {
	return f.last.Credentials != 0 && e.cfg.Findings && e.muteOf(credentialsInClear, &f.last) == nil && e.severity(credentialsInClear, f.expect) >= f.severity
}

// alertPlaintext announces the open findings of plaintext-edge that have not alerted because of credentials-in-clear,
// after findings of that rule were muted.
func (e *Engine) alertPlaintext() {
	e.eachOpenFinding(func(g *edge, r int, f *openFinding) {
		if r == plaintextEdge && f.yielded && !f.muted && !e.yieldsToCredentials(f) {
			e.announce(g, r, f, 0)
		}
	})
}
