package dissect

import "unicode/utf8"

const (
	// readableRun is how many bytes of ASCII text in a row are no ciphertext. Random
	// bytes are text, a space, a tab or a line's end with a probability of 98/256, so a
	// run of 40 begins at a given byte with one of 2e-17, and somewhere in the part of a
	// record that is looked at with one of 1e-14.
	readableRun = 40
	// readableUTF8 is the same for UTF-8: a run of 64 has a probability of less than
	// 4e-22, by the sum over all ways to divide it into characters.
	readableUTF8 = 64
	// readableHead is how much of each record is looked at, in bytes.
	readableHead = 512
)

// textRun follows text through the records of a direction. An explicit nonce, an
// initialization vector or a message authentication code only ends a run.
type textRun struct {
	ascii, all int // bytes of the run so far: in ASCII, and in UTF-8
	rune       [utf8.UTFMax]byte
	pending    int // bytes of rune: the beginning of a character
}

func (r *textRun) reset() { *r = textRun{} }

// add takes the next bytes and reports whether a run is long enough.
func (r *textRun) add(b []byte) bool {
	for _, c := range b {
		switch {
		case c >= utf8.RuneSelf:
			r.ascii = 0
			r.multibyte(c)
		case r.pending > 0 || c == 0x7f || c < ' ' && c != '\n' && c != '\r' && c != '\t':
			r.reset()
		default:
			r.ascii++
			r.all++
		}
		if r.ascii >= readableRun || r.all >= readableUTF8 {
			return true
		}
	}
	return false
}

// multibyte takes a byte of a character that is not ASCII.
func (r *textRun) multibyte(c byte) {
	r.rune[r.pending] = c
	r.pending++
	b := r.rune[:r.pending]
	if !utf8.FullRune(b) {
		return
	}
	if char, size := utf8.DecodeRune(b); char == utf8.RuneError || size != len(b) {
		r.reset()
		return
	}
	r.all += r.pending
	r.pending = 0
}

// sealed looks at bytes of a record of application data, at an offset in it: text there
// is no ciphertext, whatever handshake preceded it.
func (s *Session) sealed(side Side, b []byte, offset int) {
	l := &s.tls.layers[side]
	if s.tls.Readable {
		return
	}
	if end := readableHead - offset; len(b) > end {
		b = b[:max(end, 0)]
		defer l.text.reset()
	}
	if l.text.add(b) {
		s.tls.Readable = true
		s.revision++
	}
}

// packet looks at a protected record of DTLS, or packet of QUIC, by itself: datagrams come
// in any order.
func (s *Session) packet(side Side, b []byte) {
	s.tls.layers[side].text.reset()
	s.sealed(side, b, 0)
}
