package dissect

import "math"

// Plaintext where the place in the records of TLS is lost. Only ciphertext can stand there, and
// the headers of records, so each segment that holds none is weighed against random bytes:
// by its last bytes as those of binary protocols are (tailWeight), or by how much of it is
// text. What several segments in a row weigh is added up, never below zero. Of random bytes the
// sum reaches n bits after a given segment with a probability of about 2^-n.

// legibleBits is how much the segments weigh together that no ciphertext looks like.
const legibleBits = 64

// legible weighs a segment of a lost side that holds no header of a record, and reports that
// enough speaks for plaintext. Segments of few bytes tell nothing.
func (d *tailSide) legible(b []byte) bool {
	if len(b) < minTail {
		return false
	}
	sum := &d.head[0] // free: no header has begun
	*sum = uint8(min(max(int(*sum)+max(tailWeight(b), textWeight(b))/bit, 0), legibleBits))
	return *sum == legibleBits
}

// textWeights holds for each byte how much it speaks for text that has a few other bytes in it,
// as the messages of many protocols do.
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

// textWeight returns how much a segment speaks for text: a part of it that is long enough does,
// whatever stands beside it.
func textWeight(b []byte) int {
	sum, most := 0, 0
	for _, c := range b[:min(len(b), sampled)] {
		sum = max(sum+int(textWeights[c]), 0)
		most = max(most, sum)
	}
	return min(most-textChance, segmentBits)
}

// textChance is what the best part of sampled random bytes weighs by chance, and hardly ever
// more: the bits of all places where it may begin.
const textChance = 9 * bit
