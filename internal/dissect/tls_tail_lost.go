package dissect

import (
	"math"

	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
)

// This file finds plaintext while the position in the TLS records is lost. At that point TLS sends only ciphertext and record headers.
// Therefore each segment without a header is weighed: how much less likely is it in ciphertext than in plaintext? The weight is the larger
// of two: that of its last bytes, which shows binary protocols (tailWeight), and that of its text (textWeight). The weights of consecutive
// segments are added up, never below zero. For random bytes the sum reaches n bits after a given segment with a probability of about 2^-n.

// legibleBits is the sum of weights, in bits, that proves plaintext.
const legibleBits = 64

// legible weighs a segment of a lost side that contains no record header, and reports whether the sum proves plaintext. Short segments are
// ignored.
func (d *tailSide) legible(b []byte) bool {
	if len(b) < minTail {
		return false
	}
	sum := &d.head[0] // head is unused, because no header has begun
	*sum = uint8(min(max(int(*sum)+max(tailWeight(b), textWeight(b))/bit, 0), legibleBits))
	return *sum == legibleBits
}

// textWeights holds the weight of each byte value as evidence for text that contains a few other bytes, as the messages of many protocols
// do.
var textWeights = func() (w [256]int16) {
	const printable, share = 95, 0.9
	for c := range w {
		f := (1 - share) / (256 - printable)
		if c >= ' ' && c < 0x7f {
			f = share / printable
		}
		w[c] = int16(math.Round(bit * math.Log2(256*f)))
	}
	return w
}()

// textWeight returns the weight of a segment as evidence for text. One long part of text is enough; the other bytes do not matter.
func textWeight(b []byte) int {
	sum, most := 0, 0
	for _, c := range b[:min(len(b), protocols.SampleSize)] {
		sum = max(sum+int(textWeights[c]), 0)
		most = max(most, sum)
	}
	return min(most-textChance, segmentBits)
}

// textChance is a weight that no part of SampleSize random bytes is likely to exceed. It accounts for all positions where a part may begin.
const textChance = 9 * bit
