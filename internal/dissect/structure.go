package dissect

import (
	"math"

	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
)

// Structured plaintext is binary plaintext of an unknown protocol, which does not look like ciphertext.
//
// The question is whether a segment ends in ciphertext. Authenticated ciphertext ends with at least 8 bytes that look random, and the
// plaintext header before it (a length, a type, a number) is short. Therefore the last bytes of each segment are weighed: the bytes after
// the first 48, but at least 8 bytes. The weight of a byte is the logarithm of how much more often it occurs in plaintext than in random
// bytes. For random bytes the sum over any number of segments reaches n bits with a probability of at most 2^-n.
const (
	// headerRoom bounds the size of a plaintext header, in bytes. minTail and maxTail bound how many bytes of a segment are weighed.
	headerRoom = 48
	minTail    = 8
	maxTail    = 512

	bit = 16 // weights are in units of 1/16 bit
	// enoughBits is the least total weight of the segments of both ends that proves plaintext. One segment adds at most segmentBits, so
	// several segments are needed.
	enoughBits  = 48 * bit
	segmentBits = 16 * bit
	// minSegments is the least number of segments for a decision. With enoughSegments segments the decision does not wait for
	// structureWithin bytes.
	minSegments    = 4
	enoughSegments = 48
	// structureWithin is how many bytes of both ends are usually weighed before the decision. structureAtMost is the maximum.
	structureWithin = 2 << 10
	structureAtMost = 16 << 10
	// maxRun is how many consecutive equal bytes count as evidence for plaintext. Padding of zeros, as in WireGuard's handshake, is not
	// evidence.
	maxRun = 2
)

// weights holds the weight of each byte value as evidence for plaintext.
var weights = byteWeights()

// byteWeights assumes these frequencies of bytes in binary plaintext: zero 32%, other small numbers 22%, printable ASCII 36%, 0xff 3%,
// others 7%. Printable bytes weigh almost nothing, because compressors such as Snappy leave runs of text.
func byteWeights() (w [256]int16) {
	for c := range w {
		share := 0.07 / 128
		switch {
		case c == 0:
			share = 0.32
		case c == 0xff:
			share = 0.03
		case c < 0x20:
			share = 0.22 / 31
		case c < 0x7f:
			share = 0.36 / 95
		}
		w[c] = int16(math.Round(bit * math.Log2(256*share)))
	}
	return w
}

// structure sums up the weights of the segments of one direction.
type structure struct {
	score            int32 // 1/16 bit
	segments, opaque uint8 // segments: number of weighed segments; opaque: how many of them weigh against plaintext
	last             bool  // the last segment weighs for plaintext
	done             bool  // no more segments are weighed
}

// tailWeight returns the weight of a segment's last bytes as evidence for plaintext.
func tailWeight(b []byte) int {
	n := min(max(len(b)-headerRoom, minTail), maxTail)
	b = b[len(b)-n:]
	sum, run, before := 0, 0, -1
	for _, c := range b {
		if run++; int(c) != before {
			run, before = 1, int(c)
		}
		if w := int(weights[c]); w < 0 || run <= maxRun {
			sum += w
		}
	}
	return min(sum, segmentBits)
}

// weigh adds the weight of a segment to its direction, if no recognizer matches the direction.
func (s *recognition) weigh(side Side, b []byte) {
	st := &s.sides[side]
	if st.p == nil || st.kind != KindNone && st.kind != KindUnreadable || len(b) < minTail || s.tls.answered() || s.inFlight(side) {
		return
	}
	x := &st.p.structure
	if x.done {
		return
	}
	w := tailWeight(b)
	x.score += int32(w)
	x.segments++
	if x.last = w > 0; !x.last {
		x.opaque++
	}
	seen := s.unclaimed()
	switch segments := s.weighed(); {
	case seen > structureAtMost || segments > 128:
		x.done = true
	case seen >= structureWithin || segments >= enoughSegments:
		s.decideStructure()
	}
}

// turnsOpaque reports whether a direction that began as text of an unknown protocol continues with unreadable bytes. The other direction
// must be unreadable, or continue with unreadable bytes, too. A greeting in text does not show the kind of later bytes, so both directions
// become KindUnreadable.
func (s *streams) turnsOpaque(side Side, b []byte) bool {
	const least, enough = 16, 64
	st, other := &s.sides[side], &s.sides[side.Other()]
	if b = b[:min(len(b), protocols.SampleSize)]; len(b) < least || protocols.CountNonText(b)*5 < len(b) || tailWeight(b) > 0 {
		st.p.opaque = 0
		return false
	}
	st.p.opaque += len(b)
	if st.p.opaque < enough || other.p == nil || other.p.opaque < enough && other.kind != KindUnreadable || st.protocol != "" || other.protocol != "" {
		return false
	}
	for i := range s.sides {
		if x := &s.sides[i]; x.kind == KindText {
			x.kind, x.upgrades = KindUnreadable, false
		}
	}
	s.revision++
	return true
}

// unclaimed returns the total number of bytes that were seen of sides that do not look encrypted.
func (s *recognition) unclaimed() (n int64) {
	for i := range s.sides {
		if st := &s.sides[i]; !s.claimed(Side(i)) {
			if n += st.seen; st.p != nil {
				n -= st.p.flight.passed
			}
		}
	}
	return n
}

// weighed returns how many segments of both ends were weighed.
func (s *streams) weighed() (n int) {
	for i := range s.sides {
		if p := s.sides[i].p; p != nil {
			n += int(p.structure.segments)
		}
	}
	return n
}

// decideStructure changes the kind of the directions that no recognizer matches to structured plaintext, if structured returns true.
func (s *recognition) decideStructure() {
	if !s.structured() {
		return
	}
	for i := range s.sides {
		if st := &s.sides[i]; st.p != nil && !s.claimed(Side(i)) && (st.p.structure.segments > 0 || st.kind == KindUnreadable) {
			s.release(&st.p.head)
			st.kind, st.protocol, st.upgrades = KindStructured, "", true
		}
	}
	s.revision++
}

// structured reports whether the directions that no recognizer matches are structured plaintext. Their segments must have enough weight
// together, and at most one segment in eight may weigh against plaintext. The last segment of each direction must weigh for plaintext.
func (s *recognition) structured() bool {
	score, segments, opaque := 0, 0, 0
	for i := range s.sides {
		st := &s.sides[i]
		if st.p == nil || s.claimed(Side(i)) {
			continue
		}
		x := &st.p.structure
		if st.kind != KindUnreadable && st.kind != KindNone && st.kind != KindTLS || x.segments > 0 && (!x.last || x.score <= 0) {
			return false
		}
		score, segments, opaque = score+int(x.score), segments+int(x.segments), opaque+int(x.opaque)
	}
	return segments >= minSegments && score >= enoughBits && opaque*8 <= segments && !s.tls.answered()
}
