package dissect

import (
	"crypto/sha256"
	"hash"

	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
)

// maxLeaf bounds the size of a certificate that is buffered to be parsed, in bytes of DER.
const maxLeaf = maxBuffered

// chainReader parses a Certificate message piece by piece and buffers only the leaf.
type chainReader struct {
	out       tlsmsg.Chain
	stage     uint8 // 0: length of the list, 1: length of a certificate, 2: its bytes
	num       int
	numN      int
	list      int // remaining bytes of the list
	left      int // remaining bytes of the certificate
	leaf      []byte
	truncated bool      // leaf is incomplete: it did not fit
	hash      hash.Hash // the SHA-256 of a leaf that comes in several pieces; the leaf may have any size
	bad       bool
}

// newChainReader returns a reader of a message whose body has size bytes.
func newChainReader(size int) *chainReader { return &chainReader{list: size - 3} }

// add processes the next bytes of a Certificate message. m has the buffers.
func (c *chainReader) add(m *memory, b []byte) {
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
			c.addLeaf(m, b[:n])
		}
		b = b[n:]
		if c.left == 0 {
			c.stage = 1
		}
	}
}

// addLeaf processes the next bytes of the leaf, and parses the leaf when it is complete. A leaf in one piece is not copied.
func (c *chainReader) addLeaf(m *memory, b []byte) {
	if c.hash == nil && c.left == 0 {
		if sum, known := m.pool.sameLeaf(b); known != nil {
			c.out.SHA256 = sum
			c.set(known)
			return
		}
		c.out.SHA256 = sha256.Sum256(b)
		m.pool.storeSame(b, c.out.SHA256, c.read(m.pool, b))
		return
	}
	if c.hash == nil {
		c.hash = sha256.New()
	}
	c.hash.Write(b)
	var whole bool
	c.leaf, whole = m.bufferBytes(c.leaf, b, min(maxLeaf, len(c.leaf)+len(b)+c.left))
	c.truncated = c.truncated || !whole
	if c.left == 0 {
		c.hash.Sum(c.out.SHA256[:0])
		if !c.truncated {
			c.read(m.pool, c.leaf)
		}
		m.release(&c.leaf)
	}
}

// read parses the leaf, or finds the result in the Pool if the same leaf was parsed before. It returns the result.
func (c *chainReader) read(pool *Pool, der []byte) *knownLeaf {
	known := pool.leaf(&c.out.SHA256)
	if known == nil {
		known = &knownLeaf{}
		known.leaf, known.subject, known.issuer = tlsmsg.ParseCertificate(der)
		pool.storeLeaf(&c.out.SHA256, known)
	}
	c.set(known)
	return known
}

func (c *chainReader) set(known *knownLeaf) {
	c.out.Leaf, c.out.Subject, c.out.Issuer = known.leaf, known.subject, known.issuer
}

// length processes a 24-bit length: first of the list, then of each certificate.
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

// chain returns the result. It must be called once, when the message is complete.
func (c *chainReader) chain() *tlsmsg.Chain {
	out := c.out
	if out.Length == 0 {
		out.Broken = c.bad || c.list > 0 || c.stage == 0
		return &out
	}
	out.Broken = out.Leaf == nil || c.bad
	return &out
}
