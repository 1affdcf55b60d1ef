package finding

import (
	"bytes"
	"encoding/hex"
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// sketchSize is the number of connections in a sketch.
const sketchSize = 8

// sketch holds the smallest hashes among the connections of an edge that began in one posture interval, in ascending
// order: a bottom-k sketch. Both ends of a connection compute the same hash, and the intervals of all taps have the
// same borders. So two taps choose the same connections without an exchange, and their edges can be joined.
type sketch struct {
	hashes [sketchSize][16]byte
	n      int
}

// insert adds a hash unless it is present or larger than all hashes of a full sketch.
func (s *sketch) insert(h [16]byte) {
	if s.n == sketchSize && bytes.Compare(h[:], s.hashes[s.n-1][:]) >= 0 {
		return
	}
	at, found := slices.BinarySearchFunc(s.hashes[:s.n], h, func(a, b [16]byte) int { return bytes.Compare(a[:], b[:]) })
	if found {
		return
	}
	s.n = min(s.n+1, sketchSize)
	copy(s.hashes[at+1:s.n], s.hashes[at:])
	s.hashes[at] = h
}

// merge adds the hashes of another sketch.
func (s *sketch) merge(o *sketch) {
	for _, h := range o.hashes[:o.n] {
		s.insert(h)
	}
}

// sample returns the hashes in hexadecimal.
func (s *sketch) sample() []string {
	var out []string
	for i := range s.n {
		out = append(out, hex.EncodeToString(s.hashes[i][:]))
	}
	return out
}

// addToSketch adds a connection that began in the current posture interval to the sketch of its edge. It uses the
// hash of the TLS session, or that of the connection if plaintext or other encryption was seen. Edges within the pod
// have no sketch: no other tap sees their connections. known reports whether the edge has counted the connection
// before, with the same verdict: then only a TLS session, which may have been incomplete, can be new.
func (e *Engine) addToSketch(g *edge, j *verdict.Judged, known bool) {
	if !e.cfg.Posture || g.scope != verdict.ScopeWire || j.Start < e.period.start || known && j.TLS == nil {
		return
	}
	if h, ok := jointHash(j); ok {
		g.sketch.insert(h)
	}
}

// jointHash returns the hash by which both ends know a connection. It reports whether the connection has one.
func jointHash(j *verdict.Judged) (h [16]byte, ok bool) {
	switch {
	case j.TLS != nil && j.TLS.SessionHash != "":
		n, err := hex.Decode(h[:], []byte(j.TLS.SessionHash[:min(len(j.TLS.SessionHash), 2*len(h))]))
		return h, err == nil && n == len(h)
	case j.Verdict == verdict.Plaintext, j.Verdict == verdict.Encrypted:
		return j.FlowHash.Sum()
	}
	return h, false
}
