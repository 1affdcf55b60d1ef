package dissect

import (
	"unicode/utf8"
)

const (
	// readableRun is how many bytes of ASCII text in a row are no ciphertext. Random
	// bytes are text, a space, a tab or a line's end with a probability of 98/256, so a
	// run of 40 begins at a given byte with one of 2e-17, and somewhere in the part of a
	// record that is looked at with one of 1e-14.
	readableRun = 40
	// readableUTF8 is the same for UTF-8: a run of 64 has a probability of less than
	// 4e-22, by the sum over all ways to divide it into characters.
	readableUTF8 = 64
	// readableTail is how many bytes at the end of a record that is not text throughout
	// begin a run that the next record goes on with: fewer are nearly always there by
	// chance, and cost time.
	readableTail = 16
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

// add takes the next bytes and reports whether a run is long enough. Few bytes of
// ciphertext are looked at: where a byte that ends any run stands within each readableRun
// bytes, no run is long enough, and only what follows the last such byte matters later.
func (r *textRun) add(b []byte) bool {
	from := -r.all - r.pending // where the run began
	for end := from + readableRun - 1; end < len(b); end = from + readableRun - 1 {
		start := max(from, 0)
		last := -1
		if end >= start {
			last = lastEnd(b[start : end+1])
		}
		if last < 0 {
			return r.each(b)
		}
		from = start + last + 1
	}
	if start := max(from, 0); start < len(b) {
		if last := lastEnd(b[start:]); last >= 0 {
			from = start + last + 1
		}
	}
	if from > 0 {
		if r.reset(); len(b)-from < readableTail {
			return false
		}
		b = b[from:]
	}
	return r.each(b)
}

// lastEnd returns the index of the last byte that ends any run, -1 if no byte does.
func lastEnd(b []byte) int {
	at := len(b) - 1
	for at >= 0 && !endsRun[b[at]] {
		at--
	}
	return at
}

// endsRun holds the bytes that are no part of text, wherever they stand: control
// characters, and bytes that UTF-8 does not have (RFC 3629, section 1).
var endsRun = func() (ends [256]bool) {
	for c := range ends {
		ends[c] = c < ' ' && c != '\n' && c != '\r' && c != '\t' || c == 0x7f || c == 0xc0 || c == 0xc1 || c > 0xf4
	}
	return ends
}()

// each is add, byte by byte.
func (r *textRun) each(b []byte) bool {
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
	if r.pending == 0 && endsRun[c] || (r.pending == 0) == (c < 0xc0) { // it begins no character, or does not continue one
		r.reset()
		return
	}
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

// examineProtected looks at bytes of a protected record of any type, at an offset in it: text there
// is no ciphertext, whatever handshake preceded it.
func (s *Session) examineProtected(side Side, b []byte, offset int) {
	l := &s.tls.layers[side]
	if s.tls.Readable {
		return
	}
	end := readableHead - offset
	beyond := len(b) > end
	if beyond {
		b = b[:max(end, 0)]
	}
	if l.text.add(b) {
		s.tls.Readable = true
		s.revision++
	}
	if beyond {
		l.text.reset()
	}
}

// sealedHandshake reports whether a handshake record that is not opaque can hold no message in
// plaintext: of TLS 1.3 behind application data, and behind the end of another handshake
// where no hello begins one.
func (s *Session) sealedHandshake(side Side) bool {
	t := s.tls
	return t.answered() && t.Server.TLS13() && t.AppRecords[side] > 0 || s.depth > 0 && !t.HelloBegun && t.Hello == nil && t.Server == nil
}

// examinePacket looks at a protected record of DTLS, or packet of QUIC, by itself: datagrams come
// in any order.
func (s *Session) examinePacket(side Side, b []byte) {
	s.tls.layers[side].text.reset()
	s.examineProtected(side, b, 0)
}

// startsWithText reports whether readableRun bytes of text in a row stand in the first
// textHead bytes of a record's content: at once, or after an explicit nonce of 8 bytes or an
// initialization vector of 16. It is for records of a connection that is judged already:
// ciphertext shows itself in two bytes or so.
func startsWithText(content []byte) bool {
	const latest = textHead - readableRun
	b := content[:min(len(content), textHead)]
	if len(b) < readableRun || !ascii(b[latest:readableRun]) {
		return false // each such run has these bytes
	}
	from, to := latest, readableRun
	for from > 0 && ascii(b[from-1:from]) {
		from--
	}
	for to < len(b) && ascii(b[to:to+1]) {
		to++
	}
	return to-from >= readableRun
}

// ascii reports whether b is text in ASCII, as textRun counts it.
func ascii(b []byte) bool {
	for _, c := range b {
		if c >= 0x7f || c < ' ' && c != '\n' && c != '\r' && c != '\t' {
			return false
		}
	}
	return true
}

// textHead is how much of each record of a connection that is judged already is looked at,
// in bytes: a run of text behind an initialization vector of 16.
const textHead = 16 + readableRun

// read looks at the first n bytes of b, which are the next ones of the current record, as far
// as the record is looked at. It returns how many it took: fewer than n where a run of
// text is long enough (readText). A run may go on in the next record.
func (d *tailSide) read(b []byte, n int) int {
	for i, c := range b[:min(n, int(d.unexamined))] {
		if c >= 0x7f || c < ' ' && c != '\n' && c != '\r' && c != '\t' {
			d.text = 0
			continue
		}
		if d.text++; d.text == readableRun {
			d.unexamined -= uint8(i + 1)
			return i + 1
		}
	}
	if d.unexamined -= uint8(min(n, int(d.unexamined))); d.unexamined == 0 && n < int(d.left) {
		d.text = 0
	}
	return n
}

// readText reports whether text was read in a record.
func (d *tailSide) readText() bool { return d.state > tailLost && d.text >= readableRun }
