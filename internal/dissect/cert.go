package dissect

import (
	"crypto/sha256"
	"crypto/x509"
	"hash"
)

// maxLeaf bounds the certificate that is kept, in bytes of DER.
const maxLeaf = 64 << 10

// Chain is a Certificate message in the clear (RFC 5246 section 7.4.2).
type Chain struct {
	Length int // certificates in it, 0: empty
	Bytes  int // DER bytes of them together
	// Subject and Issuer of the leaf as RFC 4514 writes them; they may be known of a
	// certificate that is Broken.
	Subject, Issuer string
	Leaf            *x509.Certificate
	SHA256          [32]byte // of the leaf's DER
	Broken          bool     // the leaf is no X.509 certificate that can be read, or the message is malformed
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
	hash  hash.Hash // of the leaf, however large it is
	bad   bool
}

func newChainReader(size int) *chainReader {
	return &chainReader{list: size - 3, hash: sha256.New()}
}

func (c *chainReader) feed(b []byte) {
	for len(b) > 0 && !c.bad {
		if c.stage == 2 {
			n := min(c.left, len(b))
			if c.out.Length == 1 {
				c.hash.Write(b[:n])
				c.leaf = append(c.leaf, b[:min(n, maxLeaf-len(c.leaf))]...)
			}
			b = b[n:]
			c.left -= n
			if c.left == 0 {
				c.stage = 1
			}
			continue
		}
		c.num, c.numN = c.num<<8|int(b[0]), c.numN+1
		b = b[1:]
		if c.numN < 3 {
			continue
		}
		c.length(c.num)
		c.num, c.numN = 0, 0
	}
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
		out.Broken = c.bad || c.list > 0
		return &out
	}
	c.hash.Sum(out.SHA256[:0])
	out.Leaf = parseCertificate(c.leaf)
	out.Broken = out.Leaf == nil
	out.Subject, out.Issuer, _ = names(c.leaf)
	return &out
}

// parseCertificate reads a certificate behind a fence: what is wrong with it costs the
// certificate, not the connection.
func parseCertificate(der []byte) (cert *x509.Certificate) {
	defer func() {
		if recover() != nil {
			cert = nil
		}
	}()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil
	}
	return cert
}
