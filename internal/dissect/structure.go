package dissect

import (
	"math"

	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
)

// Structured plaintext: what no recognizer knows, and what ciphertext does not look like.
//
// The question is whether a segment ends in ciphertext. Ciphertext that is authenticated
// ends with at least 8 bytes that look random, and what encrypted protocols put before it
// in plaintext (a length, a type, a number) takes few bytes. So of each segment its last
// bytes are weighed: those behind the first 48, at least 8. A byte weighs the logarithm of
// how much more often plaintext has it than random bytes do. Of random bytes the sum over
// any number of segments reaches n bits with a probability of at most 2^-n.
const (
	// headerRoom is what a header in plaintext may take, minTail the least that is weighed
	// of a segment, maxTail the most, in bytes.
	headerRoom = 48
	minTail    = 8
	maxTail    = 512

	bit = 16 // the unit of weights: 1/16 bit
	// enoughBits is how much the segments of both ends weigh together at least, segmentBits
	// how much one of them adds at most: it takes several.
	enoughBits  = 48 * bit
	segmentBits = 16 * bit
	// minSegments is how many segments it takes, enoughSegments how many are enough to
	// decide before structureWithin bytes of both ends were seen.
	minSegments    = 4
	enoughSegments = 48
	// structureWithin is how many bytes of both ends are seen before it is decided, and
	// structureAtMost how many at most.
	structureWithin = 2 << 10
	structureAtMost = 16 << 10
	// maxRun is how many equal bytes in a row weigh for plaintext: padding of zeros, as
	// WireGuard's handshake has it, tells nothing.
	maxRun = 2
)

// weights holds for each byte how much it speaks for plaintext.
var weights = byteWeights()

// byteWeights takes bytes to occur in binary protocols in plaintext like this: zero 32 of
// 100, other small numbers 22, printable ASCII 36, 0xff 3, the rest 7. Printable bytes
// weigh nothing by themselves, since compressors such as Snappy leave runs of text.
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

// structure is what the segments of one direction weigh.
type structure struct {
	score            int32 // 1/16 bit
	segments, opaque uint8 // weighed, and those that weigh against plaintext
	last             bool  // the last one speaks for plaintext
	done             bool  // no more are weighed
}

// tailWeight returns how much a segment's last bytes speak for plaintext.
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

// weigh adds a segment of a direction that no recognizer knows.
func (s *Session) weigh(side Side, b []byte) {
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

// turnsOpaque reports whether a direction that began as text of no known protocol, and the
// other one, go on as what cannot be read: a greeting in text is no word on what follows
// it. Both are of no kind then.
func (s *Session) turnsOpaque(side Side, b []byte) bool {
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

// unclaimed returns how many bytes were seen of the sides that do not look encrypted.
func (s *Session) unclaimed() (n int64) {
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
func (s *Session) weighed() (n int) {
	for i := range s.sides {
		if p := s.sides[i].p; p != nil {
			n += int(p.structure.segments)
		}
	}
	return n
}

// decideStructure takes the directions that no recognizer knows for structured plaintext,
// if they are.
func (s *Session) decideStructure() {
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

// structured reports whether the segments of the directions that no recognizer knows weigh
// enough together, nearly all of them speak for plaintext, and the last of each end does.
func (s *Session) structured() bool {
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
