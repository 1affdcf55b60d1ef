package evidence

import (
	"unicode/utf8"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// record is the state within a TLS record (RFC 8446, section 5.1).
type record struct {
	header [wire.RecordHeader]byte
	size   int // bytes of header that were seen
	left   int // bytes of the content that follow

	// Of a record of type handshake.
	plain    bool    // the content consists of handshake messages in plaintext, so far
	message  int     // bytes of the current message that follow, in this record or the next one
	head     [4]byte // header of the current message
	headSize int     // bytes of head that were seen
}

// maxRecord is the largest length of a record's content: that of RFC 5246, section 6.2.3.
const maxRecord = 1<<14 + 2048

// startsRecord reports whether b, which is not empty, may begin with the header of a TLS record.
func startsRecord(b []byte) bool {
	switch {
	case b[0] < wire.ContentChangeCipherSpec || b[0] > wire.ContentCID,
		len(b) > 1 && b[1] != 3, len(b) > 2 && b[2] > 4,
		len(b) > 4 && (int(b[3])<<8|int(b[4])) > maxRecord:
		return false
	}
	return true
}

// startsTLS reports whether b begins like a stream of TLS records: the first header is whole, and so is a second one if b contains it.
func startsTLS(b []byte) bool {
	if len(b) < wire.RecordHeader || !startsRecord(b) {
		return false
	}
	if b[0] == wire.ContentHandshake && len(b) > wire.RecordHeader && !isMessage(b[wire.RecordHeader]) {
		return false
	}
	next := wire.RecordHeader + int(b[3])<<8 + int(b[4])
	return next >= len(b) || startsRecord(b[next:])
}

// isMessage reports whether a number is the type of a handshake message that may be sent in plaintext (IANA "TLS HandshakeType").
func isMessage(typ byte) bool {
	switch {
	case typ <= 5, typ == 8, typ >= 11 && typ <= 16, typ >= 20 && typ <= 25:
		return true
	}
	return typ == 67 // next_protocol
}

// addHeader processes bytes of a record's header and returns the index of the bytes after them.
func (s *stream) addHeader(at, end int) int {
	r := &s.record
	for ; at < end && r.size < len(r.header); at++ {
		r.header[r.size] = s.raw[at]
		r.size++
	}
	s.kept(at)
	if r.size == len(r.header) {
		r.left = int(r.header[3])<<8 | int(r.header[4])
		r.plain = r.header[0] == wire.ContentHandshake
		s.mode = inRecord
		s.endRecord()
	}
	return at
}

// endRecord expects the next header if the record's content is complete.
func (s *stream) endRecord() {
	if r := &s.record; r.left == 0 {
		s.mode = atRecord
		r.size = 0
	}
}

// addContent processes bytes of a record's content and returns the index of the bytes after them.
func (s *stream) addContent(at, end int) int {
	r := &s.record
	end = min(end, at+r.left)
	from := at
	for at < end && r.plain {
		at = s.addMessage(at, end)
		s.kept(at)
	}
	size := int(r.header[3])<<8 | int(r.header[4])
	if r.header[0] == wire.ContentChangeCipherSpec && size == 1 || r.header[0] == wire.ContentAlert && size == 2 {
		at = end // no value
		s.kept(at)
	}
	s.protected(at, end)
	r.left -= end - from
	s.endRecord()
	return end
}

// addMessage processes bytes of a handshake message in plaintext and returns the index of the bytes after them. If they cannot be such a
// message, it unsets record.plain.
func (s *stream) addMessage(at, end int) int {
	r := &s.record
	if r.message > 0 {
		n := min(r.message, end-at)
		r.message -= n
		return at + n
	}

	from := at
	for ; at < end && r.headSize < len(r.head); at++ {
		r.head[r.headSize] = s.raw[at]
		r.headSize++
	}
	if !isMessage(r.head[0]) || r.headSize > 1 && r.head[1] > 1 {
		r.plain, r.headSize = false, 0
		return from
	}
	if r.headSize == len(r.head) {
		r.message, r.headSize = int(r.head[1])<<16|int(r.head[2])<<8|int(r.head[3]), 0
	}
	return at
}

// protected processes content that is encrypted, or should be. It is replaced by bytes that look random, so that nothing that an end put there
// is written. If the direction's records contain text, each character of it is replaced by x.
func (s *stream) protected(at, end int) {
	if s.brief != nil && at < end && s.brief.replaced < 0 {
		s.brief.replaced = at
	}
	s.run.add(s.raw[at:end])
	for i := at; i < end; i++ {
		switch {
		case !s.readable:
			s.out[i] = noise(i)
		case isText(s.raw[i]):
			s.out[i] = 'x'
		default:
			s.out[i] = 0
		}
	}
}

// noise returns a byte that looks random and depends on its index only.
func noise(i int) byte {
	n := uint64(i+1) * 0x9e3779b97f4a7c15
	n ^= n >> 29
	n *= 0xbf58476d1ce4e5b9
	return byte(n>>32) | 0x80 // never text
}

// textRun finds text in protected records, by the rule by which such records are judged (dissect.textRun): 40 consecutive bytes of ASCII, or
// 64 of UTF-8, also if a record ends between them.
type textRun struct {
	ascii, all int // lengths of the current runs
	found      bool
}

const (
	asciiRun = 40
	utf8Run  = 64
)

func (t *textRun) reset() { t.ascii, t.all = 0, 0 }

func (t *textRun) add(b []byte) {
	for len(b) > 0 && !t.found {
		c, size := utf8.DecodeRune(b)
		switch {
		case c == utf8.RuneError && size == 1, !isText(b[0]):
			t.reset()
		case size > 1:
			t.ascii = 0
			t.all += size
		default:
			t.ascii++
			t.all++
		}
		t.found = t.ascii >= asciiRun || t.all >= utf8Run
		b = b[size:]
	}
}

// isText reports whether a byte may be a part of text in ASCII or UTF-8.
func isText(c byte) bool {
	return c >= ' ' && c != 0x7f && c != 0xc0 && c != 0xc1 && c <= 0xf4 || c == '\n' || c == '\r' || c == '\t'
}
