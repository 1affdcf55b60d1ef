package dissect

import (
	"unicode/utf8"
)

const (
	// readableRun is how many consecutive bytes of ASCII text prove plaintext. A random byte is text, a space, a tab or a line end with a
	// probability of 98/256. A run of 40 begins at a given byte with a probability of 2e-17, and somewhere in the examined part of
	// a record with 1e-14.
	readableRun = 40
	// readableUTF8 is how many consecutive bytes of UTF-8 text prove plaintext. A run of 64 bytes has a probability of less than 4e-22,
	// summed over all ways to divide it into characters.
	readableUTF8 = 64
	// readableTail is how many bytes of text at the end of a record are needed for a run that continues in the next record. A shorter
	// run is nearly always there by chance, and following it would cost time.
	readableTail = 16
	// readableHead is how many bytes of each record are examined.
	readableHead = 512
)

// textRun follows text through the records of a direction. An explicit nonce, an initialization vector or a message authentication code
// ends a run; the next run can begin after it.
type textRun struct {
	ascii, all int // lengths of the current runs: of ASCII text only, and of any text
	rune       [utf8.UTFMax]byte
	pending    int // bytes of rune, which is an incomplete character
}

// reset ends the current run.
func (r *textRun) reset() { *r = textRun{} }

// add processes the next bytes and reports whether a run is long enough. It examines few bytes of ciphertext: no run is long enough if each
// stretch of readableRun bytes contains a byte that ends any run. Then only the bytes after the last byte that ends a run matter for later
// calls.
func (r *textRun) add(b []byte) bool {
	from := -r.all - r.pending // start of the run, in b
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

// lastEnd returns the index of the last byte that ends any run, or -1.
func lastEnd(b []byte) int {
	at := len(b) - 1
	for at >= 0 && !endsRun[b[at]] {
		at--
	}
	return at
}

// endsRun holds the bytes that are never part of text: control characters, and bytes that UTF-8 does not use (RFC 3629 section 1).
var endsRun = func() (ends [256]bool) {
	for c := range ends {
		ends[c] = c < ' ' && c != '\n' && c != '\r' && c != '\t' || c == 0x7f || c == 0xc0 || c == 0xc1 || c > 0xf4
	}
	return ends
}()

// each does the same as add, but examines every byte.
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

// multibyte processes a byte of a character that is not ASCII.
func (r *textRun) multibyte(c byte) {
	if r.pending == 0 && endsRun[c] || (r.pending == 0) == (c < 0xc0) { // the byte neither begins nor continues a character
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

// examineProtected looks for text in bytes of a protected record of any type. offset is their position in the record. If it finds text, the
// record is not ciphertext, whatever the handshake showed.
func (s *tlsLayer) examineProtected(side Side, b []byte, offset int) {
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

// sealedHandshake reports whether a handshake record must be protected although recordReader.opaq is not set. There are two cases: in TLS
// 1.3, after application data; and in a session after the end of TLS, while no hello has begun a new handshake.
func (s *tlsLayer) sealedHandshake(side Side) bool {
	t := s.tls
	return t.answered() && t.Server.TLS13() && t.AppRecords[side] > 0 || s.depth > 0 && !t.HelloBegun && t.Hello == nil && t.Server == nil
}

// examinePacket examines a protected record of DTLS or a packet of QUIC by itself, because datagrams come in any order.
func (s *tlsLayer) examinePacket(side Side, b []byte) {
	s.tls.layers[side].text.reset()
	s.examineProtected(side, b, 0)
}

// startsWithText reports whether the first textHead bytes of a record's content contain readableRun consecutive bytes of ASCII text or
// readableUTF8 of UTF-8: at the start, or after an explicit nonce of 8 bytes or an initialization vector of 16. It is for records of a
// connection that is judged already. For ciphertext it returns after some eight bytes.
func startsWithText(content []byte) bool {
	if startsWithASCII(content) {
		return true
	}
	b := content[:min(len(content), textHead)]
	if len(b) < readableUTF8 || lastEnd(b[longestIV:readableUTF8]) >= 0 { // all such runs contain these bytes
		return false
	}
	var run textRun
	return run.each(b)
}

func startsWithASCII(content []byte) bool {
	b := content[:min(len(content), longestIV+readableRun)]
	if len(b) < readableRun || !ascii(b[longestIV:readableRun]) {
		return false // all such runs contain these bytes
	}
	from, to := longestIV, readableRun
	for from > 0 && ascii(b[from-1:from]) {
		from--
	}
	for to < len(b) && ascii(b[to:to+1]) {
		to++
	}
	return to-from >= readableRun
}

// ascii reports whether b is ASCII text, which textRun counts in its field ascii.
func ascii(b []byte) bool {
	for _, c := range b {
		if c >= 0x7f || c < ' ' && c != '\n' && c != '\r' && c != '\t' {
			return false
		}
	}
	return true
}

const (
	// longestIV is the length in bytes of the longest initialization vector before the content of a record, that of AES in CBC mode.
	longestIV = 16
	// textHead is how many bytes of each record are examined in a connection that is judged already: an initialization vector and a run of
	// text.
	textHead = longestIV + readableUTF8
)

// read looks for text in the first n bytes of b, which continue the current record. It ignores bytes after the part of the record that is
// to be examined. It returns how many bytes it processed: n, or fewer if a run of text became long enough (see readText). A run of ASCII
// text may continue in the next record.
func (d *tailSide) read(b []byte, n int) int {
	run := (*utf8Run)(&d.head[0])
	for i, c := range b[:min(n, int(d.unexamined))] {
		if d.text++; c >= 0x7f || c < ' ' && c != '\n' && c != '\r' && c != '\t' {
			d.text = 0
		}
		if run.add(c) {
			d.text = readableRun
		}
		if d.text == readableRun {
			d.unexamined -= uint8(i + 1)
			return i + 1
		}
	}
	if d.unexamined -= uint8(min(n, int(d.unexamined))); d.unexamined == 0 && n < int(d.left) {
		d.text = 0
	}
	return n
}

// utf8Run is the length of a run of UTF-8 text in bytes, times four, plus the number of bytes that its last character still lacks. Unlike
// textRun it fits into a byte, and accepts some sequences that are too long or are surrogates.
type utf8Run uint8

// add adds a byte and reports whether the run has readableUTF8 bytes.
func (u *utf8Run) add(c byte) bool {
	run, lacks := *u>>2, *u&3
	switch {
	case lacks > 0 && c&0xc0 == 0x80:
		lacks--
	case endsRun[c] || c&0xc0 == 0x80:
		*u = 0
		return false
	default:
		if lacks > 0 {
			run = 0
		}
		switch lacks = 0; {
		case c >= 0xf0:
			lacks = 3
		case c >= 0xe0:
			lacks = 2
		case c >= 0xc0:
			lacks = 1
		}
	}
	if run++; run == readableUTF8 {
		return true
	}
	*u = run<<2 | lacks
	return false
}

// readText reports whether the current record contains a run of text that is long enough.
func (d *tailSide) readText() bool { return d.state > tailLost && d.text >= readableRun }
