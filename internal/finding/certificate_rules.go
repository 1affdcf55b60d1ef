package finding

import (
	"fmt"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// certificateOf returns the first readable leaf certificate of a session that fulfills a condition, the server's before
// the client's, and its owner in words. It returns nil if there is none. at is the start of the connection, in seconds
// since the epoch.
func certificateOf(j *verdict.Judged, is func(c *verdict.Certificate, at int64) bool) (c *verdict.Certificate, owner string) {
	if !hasSession(j) {
		return nil, ""
	}
	at := j.Start / int64(time.Second)
	if c := j.TLS.Server; c != nil && !c.Broken && is(c, at) {
		return c, "the server's"
	}
	if c := j.TLS.Client; c != nil && !c.Broken && is(c, at) {
		return c, "the client's"
	}
	return nil, ""
}

// anyCertificate is the condition of certificateOf that every certificate fulfills.
func anyCertificate(*verdict.Certificate, int64) bool { return true }

// dated reports whether a certificate has a period of validity.
func dated(c *verdict.Certificate) bool { return c.NotBefore < c.NotAfter }

// expiredAt reports whether a certificate had expired. A certificate is valid until notAfter, inclusive (RFC 5280,
// section 4.1.2.5).
func expiredAt(c *verdict.Certificate, at int64) bool { return dated(c) && c.NotAfter < at }

func usesExpired(j *verdict.Judged) bool {
	c, _ := certificateOf(j, expiredAt)
	return c != nil
}

func expiredWords(j *verdict.Judged) breach {
	c, owner := certificateOf(j, expiredAt)
	return breach{"spoke", versionOf(j.TLS) + " with an expired certificate", "; " + owner + " certificate expired at " + instant(c.NotAfter)}
}

// expiringShare is the divisor of a certificate's lifetime: the rule certificate-expiring fires in the last tenth. Mesh
// certificates live a day or less, others a year, so a number of days would not do. Everything that renews certificates
// in time has done so before: Istio and SPIRE at half of the lifetime, cert-manager at two thirds, Consul at 90 %
// at the latest.
const expiringShare = 10

// expiringAt reports whether a certificate had less than a tenth of its lifetime left, but had not expired.
func expiringAt(c *verdict.Certificate, at int64) bool {
	return dated(c) && at <= c.NotAfter && c.NotAfter-at < (c.NotAfter-c.NotBefore)/expiringShare
}

func usesExpiring(j *verdict.Judged) bool {
	c, _ := certificateOf(j, expiringAt)
	return c != nil
}

func expiringWords(j *verdict.Judged) breach {
	c, owner := certificateOf(j, expiringAt)
	return breach{
		"spoke", versionOf(j.TLS) + " with a certificate near its end",
		"; " + owner + " certificate expires at " + instant(c.NotAfter) + ", with less than a tenth of its lifetime left",
	}
}

// brokenHashes lists the hashes for which collisions were found, as they begin or end the name of a signature algorithm.
var brokenHashes = [...]struct{ first, last string }{{"MD2-", "-MD2"}, {"MD5-", "-MD5"}, {"SHA1-", "-SHA1"}}

// frailtyOf returns the reason why a certificate is weak, empty if it is not. Its key has a strength of less than 112
// bits (NIST SP 800-57 part 1, table 2), or its signature uses MD5 or SHA-1, for which collisions were found.
func frailtyOf(c *verdict.Certificate) string {
	switch size := c.PublicKeySize; {
	case c.PublicKeyAlgorithm == "RSA" && size < 2048, c.PublicKeyAlgorithm == "ECDSA" && size < 224:
		return fmt.Sprintf("has an %s key of %d bits", c.PublicKeyAlgorithm, size)
	}
	for i := range brokenHashes {
		if strings.HasPrefix(c.SignatureAlgorithm, brokenHashes[i].first) || strings.HasSuffix(c.SignatureAlgorithm, brokenHashes[i].last) {
			return "is signed with " + c.SignatureAlgorithm
		}
	}
	return ""
}

func frail(c *verdict.Certificate, _ int64) bool { return frailtyOf(c) != "" }

func usesWeak(j *verdict.Judged) bool {
	c, _ := certificateOf(j, frail)
	return c != nil
}

func weakWords(j *verdict.Judged) breach {
	c, owner := certificateOf(j, frail)
	return breach{"spoke", versionOf(j.TLS) + " with a weak certificate", "; " + owner + " certificate " + frailtyOf(c)}
}

// instant returns a time in seconds since the epoch in words.
func instant(s int64) string { return time.Unix(s, 0).UTC().Format("2006-01-02 15:04:05Z") }
