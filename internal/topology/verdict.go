package topology

import "github.com/meshtls-tap/meshtls-tap/internal/record"

// Ranks of verdicts: a higher one is weaker. A failed handshake carries no data, so it says the least about an edge.
const (
	rankNone = iota
	rankFailed
	rankMTLS
	rankUnknown
	rankEncrypted
	rankTLS
	rankPlaintext
	ranks
)

// verdictOf maps a rank to the value of meshtls.verdict.
var verdictOf = [ranks]string{"", "failed", "mtls", "unknown", "encrypted", "tls", "plaintext"}

// rankOf returns the rank of a verdict. A verdict that a newer tap may have counts as unknown.
func rankOf(verdict string) int {
	for r, v := range verdictOf {
		if v == verdict {
			return r
		}
	}
	return rankUnknown
}

// counts holds a number of connections for each rank.
type counts [ranks]uint64

func countsOf(n *record.ByVerdict) (c counts) {
	if n != nil {
		c = counts{0, n.Failed, n.MTLS, n.Unknown, n.Encrypted, n.TLS, n.Plaintext}
	}
	return c
}

func (c *counts) record() record.ByVerdict {
	return record.ByVerdict{
		Plaintext: c[rankPlaintext], TLS: c[rankTLS], Encrypted: c[rankEncrypted], MTLS: c[rankMTLS], Failed: c[rankFailed], Unknown: c[rankUnknown],
	}
}

// add adds o to c without overflow.
func (c *counts) add(o *counts) {
	for i, n := range o {
		if c[i] += n; c[i] < n {
			c[i] = ^uint64(0)
		}
	}
}

// raise sets each count to the larger one of c and o.
func (c *counts) raise(o *counts) {
	for i, n := range o {
		c[i] = max(c[i], n)
	}
}

// subtract removes connections that are counted elsewhere.
func (c *counts) subtract(o *counts) {
	for i, n := range o {
		c[i] -= min(n, c[i])
	}
}

func (c *counts) total() (n uint64) {
	for _, x := range c {
		if n += x; n < x {
			return ^uint64(0)
		}
	}
	return n
}

// worst returns the highest rank of a connection.
func (c *counts) worst() int {
	for r := ranks - 1; r > rankNone; r-- {
		if c[r] > 0 {
			return r
		}
	}
	return rankNone
}

// merge returns the counts of connections that both ends report: the larger total, with the weaker verdicts of either end.
func merge(a, b *counts) (out counts) {
	left := max(a.total(), b.total())
	for r := ranks - 1; r > rankNone; r-- {
		out[r] = min(max(a[r], b[r]), left)
		left -= out[r]
	}
	return out
}
