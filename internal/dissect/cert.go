package dissect

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"hash"
	"net/url"
	"strings"
)

const (
	// maxLeaf bounds the certificate that is kept to be read, in bytes of DER.
	maxLeaf = maxHeld
	// maxNames bounds the alternative names of a certificate that are kept, maxNameBytes
	// their bytes together.
	maxNames     = 64
	maxNameBytes = 2 << 10
)

// Chain is a Certificate message in the clear (RFC 5246 section 7.4.2).
type Chain struct {
	Length int      // certificates in it, 0: empty
	Bytes  int      // DER bytes of them together
	SHA256 [32]byte // of the leaf's DER
	Leaf   *Leaf    // nil where the leaf is no X.509 certificate that can be read
	// Subject and Issuer of the leaf as RFC 4514 writes them; they may be known of a
	// certificate that is Broken.
	Subject, Issuer string
	Broken          bool // Leaf could not be read, or the message is malformed
	Compressed      bool // RFC 8879: nothing but its presence is known
}

// Leaf is what is kept of a certificate.
type Leaf struct {
	NotBefore, NotAfter int64    // seconds since the epoch
	AlternativeNames    []string // DNS names, addresses and URIs, as far as there is room
	SPIFFE              string   // the first that is a SPIFFE ID
	Misnamed            bool     // alternative names were left out that are no names
	PublicKeyAlgorithm  string   // "ECDSA", "RSA", "Ed25519", empty for others
	PublicKeySize       int      // bits
	SerialNumber        string   // upper-case hex
}

// chainReader reads a Certificate message as it comes and keeps only the leaf.
type chainReader struct {
	out   Chain
	stage uint8 // 0: the list's length, 1: a certificate's length, 2: its bytes
	num   int
	numN  int
	list  int // bytes of the list still to come
	left  int // bytes of the certificate still to come
	leaf  []byte
	cut   bool      // leaf is not whole
	hash  hash.Hash // of a leaf that comes in pieces, however large it is
	bad   bool
}

func newChainReader(size int) *chainReader { return &chainReader{list: size - 3} }

// certificates takes the next bytes of a Certificate message.
func (s *Session) certificates(c *chainReader, b []byte) {
	for len(b) > 0 && !c.bad {
		if c.stage < 2 {
			c.num, c.numN = c.num<<8|int(b[0]), c.numN+1
			b = b[1:]
			if c.numN == 3 {
				c.length(c.num)
				c.num, c.numN = 0, 0
			}
			continue
		}
		n := min(c.left, len(b))
		c.left -= n
		if c.out.Length == 1 {
			s.leafBytes(c, b[:n])
		}
		b = b[n:]
		if c.left == 0 {
			c.stage = 1
		}
	}
}

// leafBytes takes the next bytes of the leaf and reads it when it is whole: in one piece
// where it is.
func (s *Session) leafBytes(c *chainReader, b []byte) {
	if c.hash == nil && c.left == 0 {
		c.out.SHA256 = sha256.Sum256(b)
		c.read(s, b)
		return
	}
	if c.hash == nil {
		c.hash = sha256.New()
	}
	c.hash.Write(b)
	var whole bool
	c.leaf, whole = s.hold(c.leaf, b, min(maxLeaf, len(c.leaf)+len(b)+c.left))
	c.cut = c.cut || !whole
	if c.left == 0 {
		c.hash.Sum(c.out.SHA256[:0])
		if !c.cut {
			c.read(s, c.leaf)
		}
		s.release(&c.leaf)
	}
}

// read reads the leaf, or finds that it was read before.
func (c *chainReader) read(s *Session, der []byte) {
	known := s.memory.leaf(&c.out.SHA256)
	if known == nil {
		known = &knownLeaf{leaf: parseCertificate(der)}
		known.subject, known.issuer = fencedNames(der)
		s.memory.keep(&c.out.SHA256, known)
	}
	c.out.Leaf, c.out.Subject, c.out.Issuer = known.leaf, known.subject, known.issuer
}

// length takes a 24-bit length: of the list, then of each certificate.
func (c *chainReader) length(n int) {
	if c.stage == 0 {
		c.bad = n != c.list
		c.stage = 1
		return
	}
	c.list -= 3 + n
	if c.list < 0 || n == 0 {
		c.bad = true
		return
	}
	c.out.Length++
	c.out.Bytes += n
	c.left, c.stage = n, 2
}

// chain returns what was read; it is called once, when the message is whole.
func (c *chainReader) chain() *Chain {
	out := c.out
	if out.Length == 0 {
		out.Broken = c.bad || c.list > 0 || c.stage == 0
		return &out
	}
	out.Broken = out.Leaf == nil || c.bad
	return &out
}

// parseCertificate contains panics of the parser: a bad certificate costs its fields, not the connection.
func parseCertificate(der []byte) (leaf *Leaf) {
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

// isPresented reports whether a certificate's dNSName is a Hostname, perhaps with "*" as
// its first label (RFC 6125 section 6.4.3).
func isPresented(name string) bool {
	_, ok := Hostname(strings.TrimPrefix(name, "*."))
	return ok
}

// isIdentifier reports whether a certificate's URI names something and no more: a SPIFFE
// ID, or another URI without user, query or fragment.
func isIdentifier(u *url.URL) bool {
	if u.Scheme == "spiffe" {
		return isSPIFFE(u.String())
	}
	_, _, host := authority(u.Host)
	return u.User == nil && u.RawQuery == "" && !u.ForceQuery && u.Fragment == "" && (host || u.Host == "") && !strings.Contains(u.Opaque, "@")
}

// name keeps an alternative name that is valid, as far as there is room.
func (l *Leaf) name(name string, valid bool, room *int) {
	if !valid {
		l.Misnamed = true
		return
	}
	if name = clean([]byte(name)); len(l.AlternativeNames) < maxNames && len(name) <= *room {
		l.AlternativeNames = append(l.AlternativeNames, name)
		*room -= len(name)
	}
}

// fencedNames is names behind a fence.
func fencedNames(der []byte) (subject, issuer string) {
	defer func() {
		if recover() != nil {
			subject, issuer = "", ""
		}
	}()
	subject, issuer, _ = names(der)
	return subject, issuer
}
