package topology

import (
	"cmp"
	"slices"
)

// compare orders profiles by time.
func (p *profile) compare(q *profile) int {
	return cmp.Or(cmp.Compare(p.end, q.end), cmp.Compare(p.sequence, q.sequence), slices.Compare(p.protocols, q.protocols), slices.Compare(p.versions, q.versions), slices.Compare(p.ciphers, q.ciphers))
}

// protocolOf returns the most frequent protocol that fits a verdict.
func (p *profile) protocolOf(rank int) string {
	for _, name := range p.protocols {
		tls := name == "tls" || name == "dtls" || name == "quic"
		if tls == (rank == rankTLS || rank == rankMTLS || rank == rankFailed) {
			return name
		}
	}
	return ""
}
