package dissect

import (
	"crypto/sha256"
	"hash"

	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
)

// maxLeaf bounds the certificate that is buffered to be parsed, in bytes of DER.
const maxLeaf = maxBuffered

// chainReader reads a Certificate message as it comes and keeps only the leaf.
type chainReader struct {
	out       tlsmsg.Chain
	stage     uint8 // 0: the list's length, 1: a certificate's length, 2: its bytes
	num       int
	numN      int
	list      int // bytes of the list still to come
	left      int // bytes of the certificate still to come
	leaf      []byte
	truncated bool      // leaf is not whole
	hash      hash.Hash // of a leaf that comes in pieces, however large it is
	bad       bool
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
	c.leaf, whole = s.bufferBytes(c.leaf, b, min(maxLeaf, len(c.leaf)+len(b)+c.left))
	c.truncated = c.truncated || !whole
	if c.left == 0 {
		c.hash.Sum(c.out.SHA256[:0])
		if !c.truncated {
			c.read(s, c.leaf)
		}
		s.release(&c.leaf)
	}
}

// read reads the leaf, or finds that it was read before.
func (c *chainReader) read(s *Session, der []byte) {
	known := s.pool.leaf(&c.out.SHA256)
	if known == nil {
		known = &knownLeaf{}
		known.leaf, known.subject, known.issuer = tlsmsg.ParseCertificate(der)
		s.pool.storeLeaf(&c.out.SHA256, known)
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
func (c *chainReader) chain() *tlsmsg.Chain {
	out := c.out
	if out.Length == 0 {
		out.Broken = c.bad || c.list > 0 || c.stage == 0
		return &out
	}
	out.Broken = out.Leaf == nil || c.bad
	return &out
}
