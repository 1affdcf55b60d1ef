package dissect

// Content types of the TLS record layer (RFC 8446 section 5.1, RFC 6520).
const (
	contentChangeCipherSpec = 20
	contentAlert            = 21
	contentHandshake        = 22
	contentApplicationData  = 23
	contentHeartbeat        = 24
)

const (
	recordHeader = 5
	// maxRecord is the largest fragment accepted: 2^14 and the expansion of 2048 that
	// RFC 5246 section 6.2.3 allows (RFC 8446 allows 256).
	maxRecord = 1<<14 + 2048
	// maxListed bounds the protected records remembered for each side.
	maxListed = 48
)

// Record is one protected record: its size and where it stands. Its content is
// ciphertext.
type Record struct {
	Length int   // bytes of the fragment, without the 5 of the header
	End    int64 // stream offset right after the record
	Ack    int64 // what the packet with the record's first byte acknowledges of the other side, -1 unknown
}

// records is the record layer of one side. Bodies are handed on as they come; only the
// five bytes of a header are kept.
type records struct {
	hdr   [recordHeader]byte
	hdrN  int
	left  int // bytes of the current record still to come
	ack   int64
	opaq  bool // the current record is protected
	peek  bool // whether it is shows in its first byte
	whole bool // nothing of the current record was lost

	headers int  // records begun
	ccs     bool // ChangeCipherSpec seen
	broken  bool // the record layer is lost: a header that is none, or a gap over a header
	holes   bool // it was lost once: the list below may lack records from holeAt on
	holeAt  int
	hs      handshake
	alert   [2]byte
	alertN  int

	list []Record
	rest int // protected records beyond the list
}

func (r *records) typ() uint8  { return r.hdr[0] }
func (r *records) length() int { return int(r.hdr[3])<<8 | int(r.hdr[4]) }

func (r *records) free() {
	r.hs.free()
	r.list = nil
}

// plausibleHeader tells whether b begins like a record of SSL 3.0 to TLS 1.3. The
// shorter b, the less it can deny.
func plausibleHeader(b []byte) bool {
	if len(b) > 0 && (b[0] < contentChangeCipherSpec || b[0] > contentHeartbeat) {
		return false
	}
	if len(b) > 1 && b[1] != 3 {
		return false
	}
	if len(b) > 2 && b[2] > 4 {
		return false
	}
	if len(b) >= recordHeader {
		n := int(b[3])<<8 | int(b[4])
		return n <= maxRecord && (n > 0 || b[0] == contentApplicationData)
	}
	return true
}

// chained tells whether b holds at least n record headers, one right behind the other.
func chained(b []byte, n int) bool {
	for ; n > 0; n-- {
		if len(b) < recordHeader || !plausibleHeader(b) {
			return false
		}
		size := recordHeader + int(b[3])<<8 + int(b[4])
		if size >= len(b) {
			return n == 1
		}
		b = b[size:]
	}
	return true
}

// gap tells the record layer that n bytes were lost. Inside of a record its length
// tells where the next one begins; else the layer is lost until it is found again.
func (r *records) gap(n int64) {
	r.whole = false
	if r.left > 0 && n <= int64(r.left) {
		r.left -= int(n)
		if !r.opaq {
			r.hs.lost()
		}
		return
	}
	r.hs.lost()
	r.lose()
}

// lose notes that the record layer is lost here.
func (r *records) lose() {
	if !r.holes {
		r.holes, r.holeAt = true, len(r.list)
	}
	r.broken, r.left, r.hdrN = true, 0, 0
}

// feed runs the record layer of one side over data.
func (s *Session) feed(side Side, offset int64, data []byte, ack int64) {
	r := &s.sides[side].rec
	if r.broken {
		if !chained(data, 1) {
			return
		}
		r.broken = false
		s.revision++
	}
	for len(data) > 0 && !r.broken {
		if r.left == 0 {
			n := s.header(side, data, ack)
			data, offset = data[n:], offset+int64(n)
			if r.hdrN < recordHeader || r.left > 0 {
				continue
			}
		} else {
			n := min(r.left, len(data))
			s.body(side, data[:n], offset)
			data, offset = data[n:], offset+int64(n)
			r.left -= n
			if r.left > 0 {
				continue
			}
		}
		s.endRecord(side, offset)
	}
}

// header takes the bytes of a record's header and returns how many it took.
func (s *Session) header(side Side, data []byte, ack int64) int {
	r := &s.sides[side].rec
	if r.hdrN == 0 {
		r.ack = ack
	}
	n := copy(r.hdr[r.hdrN:], data)
	r.hdrN += n
	if !plausibleHeader(r.hdr[:r.hdrN]) {
		r.lose()
		s.revision++
		return n
	}
	if r.hdrN == recordHeader {
		s.beginRecord(side)
	}
	return n
}

func (s *Session) beginRecord(side Side) {
	r := &s.sides[side].rec
	r.headers++
	r.left, r.whole, r.alertN = r.length(), true, 0
	old := s.tls.before13()
	r.peek = false
	switch r.typ() {
	case contentHandshake:
		r.opaq = r.ccs && old
		r.peek = r.ccs && !old && s.tls.Server == nil
	case contentAlert:
		r.opaq = r.ccs && old || r.length() != 2
	case contentChangeCipherSpec:
		r.opaq = false
	default:
		r.opaq = true
	}
}

func (s *Session) body(side Side, b []byte, offset int64) {
	r := &s.sides[side].rec
	if r.peek {
		// A handshake record behind a ChangeCipherSpec, and the version is not known
		// yet: a hello behind a HelloRetryRequest (TLS 1.3), or an encrypted Finished.
		r.peek = false
		r.opaq = b[0] != typeClientHello && b[0] != typeServerHello
	}
	if r.opaq {
		return
	}
	switch r.typ() {
	case contentHandshake:
		s.handshake(side, b, offset)
	case contentAlert:
		r.alertN += copy(r.alert[r.alertN:], b)
	}
}

// endRecord is called when the last byte of a record was seen; offset is the stream
// offset right after it.
func (s *Session) endRecord(side Side, offset int64) {
	r := &s.sides[side].rec
	r.hdrN = 0
	t := s.tls
	switch {
	case r.typ() == contentChangeCipherSpec:
		if !r.ccs {
			r.ccs = true
			s.revision++
		}
	case r.typ() == contentAlert && !r.opaq:
		if r.alertN == 2 {
			t.alert(Alert{Side: side, Level: r.alert[0], Description: r.alert[1]})
			s.revision++
		}
	case r.typ() == contentAlert:
		t.SealedAlerts[side]++
		s.revision++
	case r.typ() == contentHandshake && r.opaq:
		t.Finished[side] = true
		t.SealedHandshakes[side]++
		s.revision++
	case r.typ() == contentApplicationData:
		t.AppRecords[side]++
		if len(r.list) < maxListed {
			r.list = append(r.list, Record{Length: r.length(), End: offset, Ack: r.ack})
			s.revision++
		} else {
			r.rest++
		}
	}
}
