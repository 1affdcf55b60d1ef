package protocols

import (
	"math/bits"
)

// maxRecognizers bounds the tables of recognizers.
const maxRecognizers = 128

// Set is a set of recognizers, by their index in a table.
type Set [maxRecognizers / 64]uint64

// Add adds a recognizer.
func (s *Set) Add(i int) { s[i/64] |= 1 << (i % 64) }

// Has reports whether a recognizer is in s.
func (s *Set) Has(i int) bool { return s[i/64]>>(i%64)&1 != 0 }

// Next returns the least member of s that is at least i, or -1.
func (s *Set) Next(i int) int {
	for w := i / 64; w < len(s); w++ {
		word := s[w]
		if w == i/64 {
			word = word >> (i % 64) << (i % 64)
		}
		if word != 0 {
			return w*64 + bits.TrailingZeros64(word)
		}
	}
	return -1
}
