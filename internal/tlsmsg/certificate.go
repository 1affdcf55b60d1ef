package tlsmsg

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"net/url"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/names"
)

const (
	// maxNames bounds the alternative names that are stored for each certificate, and maxNameBytes their total length in bytes.
	maxNames     = 64
	maxNameBytes = 2 << 10
)

// Chain describes a Certificate message in plaintext (RFC 5246 section 7.4.2).
type Chain struct {
	Length int      // number of certificates; 0 if the message is empty
	Bytes  int      // total length of their DER
	SHA256 [32]byte // hash of the leaf's DER
	Leaf   *Leaf    // nil if the leaf is not a well-formed X.509 certificate
	// Subject and Issuer of the leaf, as RFC 4514 writes them. They may be known even if the chain is Broken.
	Subject, Issuer string
	Broken          bool // Leaf is nil, or the message is malformed
	Compressed      bool // RFC 8879: only the presence of a message is known
}

// Leaf holds the published fields of a certificate.
type Leaf struct {
	NotBefore, NotAfter int64    // seconds since the epoch
	AlternativeNames    []string // DNS names, addresses and URIs, up to maxNames and maxNameBytes
	SPIFFE              string   // the first URI that is a SPIFFE ID
	Misnamed            bool     // invalid alternative names were left out
	Omitted             bool     // valid alternative names were left out because they exceed maxNames or maxNameBytes
	PublicKeyAlgorithm  string   // "ECDSA", "RSA" or "Ed25519"; empty for others
	PublicKeySize       int      // bits
	SignatureAlgorithm  string   // of the issuer's signature, such as "ECDSA-SHA256" or "SHA256-RSA"; empty if unknown
	SerialNumber        string   // upper-case hex
}

// ParseCertificate reads a certificate. leaf is nil if the certificate is not a well-formed X.509 certificate. subject and issuer, as
// RFC 4514 writes them, may be known even then. A panic of a parser counts as an error.
func ParseCertificate(der []byte) (leaf *Leaf, subject, issuer string) {
	subject, issuer = readNames(der)
	return readLeaf(der), subject, issuer
}

// readNames calls subjectAndIssuer. A panic counts as an error.
func readNames(der []byte) (subject, issuer string) {
	defer func() {
		if recover() != nil {
			subject, issuer = "", ""
		}
	}()
	subject, issuer, _ = subjectAndIssuer(der)
	return subject, issuer
}

// readLeaf parses a certificate with crypto/x509; a panic counts as an error.
func readLeaf(der []byte) (leaf *Leaf) {
	defer func() {
		if recover() != nil {
			leaf = nil
		}
	}()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil
	}
	leaf = &Leaf{
		NotBefore: cert.NotBefore.Unix(), NotAfter: cert.NotAfter.Unix(),
		SerialNumber: strings.ToUpper(cert.SerialNumber.Text(16)),
	}
	if a := cert.SignatureAlgorithm; a != x509.UnknownSignatureAlgorithm {
		leaf.SignatureAlgorithm = a.String()
	}
	room := maxNameBytes
	for _, u := range cert.URIs {
		if name := u.String(); leaf.SPIFFE == "" && isSPIFFE(name) {
			leaf.SPIFFE = name
		}
	}
	for _, name := range cert.DNSNames {
		leaf.name(name, isPresented(name), &room)
	}
	for _, ip := range cert.IPAddresses {
		leaf.name(ip.String(), true, &room)
	}
	for _, u := range cert.URIs {
		leaf.name(u.String(), isIdentifier(u), &room)
	}
	switch k := cert.PublicKey.(type) {
	case *ecdsa.PublicKey:
		leaf.PublicKeyAlgorithm, leaf.PublicKeySize = "ECDSA", k.Curve.Params().BitSize
	case *rsa.PublicKey:
		leaf.PublicKeyAlgorithm, leaf.PublicKeySize = "RSA", k.N.BitLen()
	case ed25519.PublicKey:
		leaf.PublicKeyAlgorithm, leaf.PublicKeySize = "Ed25519", 8*len(k)
	}
	return leaf
}

// isPresented reports whether a dNSName is a host name, whose first label may be "*" (RFC 6125 section 6.4.3).
func isPresented(name string) bool {
	_, ok := names.Hostname(strings.TrimPrefix(name, "*."))
	return ok
}

// isIdentifier reports whether a URI can be published: it is a SPIFFE ID, or a URI without user, query and fragment.
func isIdentifier(u *url.URL) bool {
	if u.Scheme == "spiffe" {
		return isSPIFFE(u.String())
	}
	_, _, host := names.Authority(u.Host)
	return u.User == nil && u.RawQuery == "" && !u.ForceQuery && u.Fragment == "" && (host || u.Host == "") && !strings.Contains(u.Opaque, "@")
}

// name stores an alternative name if it is valid and fits. room is how many bytes are left for names.
func (l *Leaf) name(name string, valid bool, room *int) {
	if !valid {
		l.Misnamed = true
		return
	}
	name = names.Printable([]byte(name))
	if len(l.AlternativeNames) >= maxNames || len(name) > *room {
		l.Omitted = true
		return
	}
	l.AlternativeNames = append(l.AlternativeNames, name)
	*room -= len(name)
}
