package dissect

import "github.com/meshtls-tap/meshtls-tap/internal/wire"

const (
	// maxRecord is the largest valid length of a record, in bytes: 2^14 and the expansion of 2048 that RFC 5246 section 6.2.3
	// allows (RFC 8446 allows 256).
	maxRecord = 1<<14 + 2048
	// maxListed bounds the protected records that are stored for each side. maxEarly bounds the records of a client's early data
	// that are stored.
	maxListed = 48
	maxEarly  = 4
	// maxSealed is how many encrypted alerts and handshake records of a side change the revision; later ones do not.
	maxSealed = 4
)

// TLSRecord is a protected record: its size and position. Its content is ciphertext.
type TLSRecord struct {
	Length int   // length in bytes, without the header
	End    int64 // stream offset right after the record
	Ack    int64 // how many bytes of the other side were acknowledged by the packet with the record's first byte, -1 if unknown
	Time   int64 // packet time of the record's last byte (Pool.Clock), in ns since the epoch, 0 if unknown
}

// recordReader reads the record layer of one side. It passes on contents at once and buffers only the five bytes of a header.
type recordReader struct {
	hdr    [wire.RecordHeader]byte
	hdrN   int
	left   int // remaining bytes of the current record
	ack    int64
	opaq   bool     // the current record is protected
	peek   bool     // the first bytes of the record show whether it is protected
	text   tailSide // while the position is unknown: follows the segments; otherwise head holds what may be the start of a hello
	alert  [2]byte
	alertN int
}

func (r *recordReader) typ() uint8  { return r.hdr[0] }
func (r *recordReader) length() int { return int(r.hdr[3])<<8 | int(r.hdr[4]) }

// plausibleHeader reports whether b can be the beginning of a record of SSL 3.0 to TLS 1.3. b may be shorter than a header.
func plausibleHeader(b []byte) bool {
	if len(b) > 0 && (b[0] < wire.ContentChangeCipherSpec || b[0] > wire.ContentHeartbeat) {
		return false
	}
	if len(b) > 1 && b[1] != 3 {
		return false
	}
	if len(b) > 2 && b[2] > 4 {
		return false
	}
	if len(b) >= wire.RecordHeader {
		n := int(b[3])<<8 | int(b[4])
		return n <= maxRecord && (n > 0 || b[0] == wire.ContentApplicationData)
	}
	return true
}

// chained reports whether b begins with a record's header and, if b is long enough, another header directly after that record.
func chained(b []byte) bool {
	if len(b) < wire.RecordHeader || !plausibleHeader(b) {
		return false
	}
	next := wire.RecordHeader + int(b[3])<<8 + int(b[4])
	return next >= len(b) || plausibleHeader(b[next:])
}

// addRecordGap notes that the n bytes before offset are missing. If they are within a record, the record's length gives the position of
// the next record. Otherwise the position in the record layer is unknown until a later segment shows it.
func (s *tlsLayer) addRecordGap(side Side, n, offset int64) {
	r, hs := &s.sides[side].p.rec, &s.sides[side].p.hs
	inside := r.left > 0 && n <= int64(r.left)
	if !inside || !r.opaq {
		s.addHandshakeGap(side, hs)
	}
	s.tls.layers[side].text.reset()
	if !inside {
		s.loseRecords(side)
		return
	}
	if r.left -= int(n); r.left == 0 {
		s.endRecord(side, offset)
	}
}

// loseRecords notes that the position in the record layer is unknown because of missing bytes.
func (s *tlsLayer) loseRecords(side Side) {
	s.tls.layers[side].torn = true
	s.stopRecords(side)
}

// stopRecords notes that the position in the record layer is unknown.
func (s *tlsLayer) stopRecords(side Side) {
	l, r := &s.tls.layers[side], &s.sides[side].p.rec
	if !l.holes {
		l.holes, l.holeAt = true, len(l.list)
	}
	if !l.broken {
		r.text = tailSide{}
	}
	l.broken, r.left, r.hdrN = true, 0, 0
	s.revision++
}

// feed passes data through the record layer of a side.
func (s *Session) feed(side Side, offset int64, data []byte, ack int64) {
	if len(data) == 0 || s.overrun {
		return
	}
	l, r := &s.tls.layers[side], &s.sides[side].p.rec
	if l.broken {
		if !chained(data) {
			if at := helloIn(data); at < len(data) && s.tls.protectedBy(side) && s.mayEnd() {
				s.endTLS(side, offset+int64(at), nil, data[at:], ack, true)
				return
			}
			if s.depth < maxAfter && !s.inFlight(side) && (r.text.readable(data) || s.tls.keyed(side) && recordIn(data) == len(data) && r.text.legible(data)) {
				s.endTLS(side, offset, nil, data, ack, false)
			}
			return
		}
		l.broken, r.text = false, tailSide{}
		s.revision++
	}

	if r.text.n > 0 {
		waits, ends := s.nextHandshake(side, offset, data, ack)
		if waits || ends {
			return
		}
		held, n := r.text.head, int(r.text.n)
		r.text.n = 0
		s.records(side, offset-int64(n), held[:n], ack, false)
		s.feedOn(side, offset, data, ack)
		return
	}
	s.records(side, offset, data, ack, true)
}

// feedOn passes data to the reader that now reads the side.
func (s *Session) feedOn(side Side, offset int64, data []byte, ack int64) {
	switch st := &s.sides[side]; {
	case st.ended:
		s.after.Data(side, offset, data, ack, 0)
	case st.kind == KindTLS:
		s.records(side, offset, data, ack, true)
	default:
		s.route(side, offset, data, ack)
	}
}

// records reads the records in data. If looks is set, it looks for another handshake at the first record.
func (s *Session) records(side Side, offset int64, data []byte, ack int64, looks bool) {
	l, r := &s.tls.layers[side], &s.sides[side].p.rec
	for ; len(data) > 0 && !l.broken; looks = true {
		if r.left == 0 {
			if looks && r.hdrN == 0 && (data[0] == wire.ContentHandshake || data[0] == wire.ContentChangeCipherSpec) {
				if waits, ends := s.nextHandshake(side, offset, data, ack); waits || ends {
					return
				}
			}
			held, heldN := r.hdr, r.hdrN
			n := s.recordHeader(side, offset, data, ack)
			if st := &s.sides[side]; st.ended {
				return
			} else if st.kind != KindTLS {
				s.recognizeAnew(side, offset, held[:heldN], data, ack)
				return
			}
			data, offset = data[n:], offset+int64(n)
			if r.hdrN < wire.RecordHeader || r.left > 0 {
				continue
			}
		} else {
			n := min(r.left, len(data))
			s.recordBody(side, data[:n], offset)
			data, offset = data[n:], offset+int64(n)
			r.left -= n
			if r.left > 0 {
				continue
			}
		}
		s.endRecord(side, offset)
	}
}

// recordHeader consumes bytes of a record's header and returns how many it consumed.
func (s *afterLayer) recordHeader(side Side, offset int64, data []byte, ack int64) int {
	l, r := &s.tls.layers[side], &s.sides[side].p.rec
	if r.hdrN == 0 {
		r.ack = ack
	}
	had := r.hdrN
	n := copy(r.hdr[had:], data)
	r.hdrN += n
	l.inHeader = r.hdrN < wire.RecordHeader
	if s.endsAt(side) {
		l.inHeader = false
		s.endTLS(side, offset-int64(had), r.hdr[:had], data, ack, true)
		return n
	}
	if !plausibleHeader(r.hdr[:r.hdrN]) {
		s.stopRecords(side)
		if l.headers < minChained && !s.tls.RolesKnown || !l.torn && !s.tls.answered() {
			s.notTLS(side)
		}
		return n
	}

	if r.hdrN == wire.RecordHeader {
		s.startRecord(side)
	}
	return n
}

// startRecord processes a complete header of a record.
func (s *tlsLayer) startRecord(side Side) {
	l, r := &s.tls.layers[side], &s.sides[side].p.rec
	if l.headers++; l.headers <= minChained {
		s.revision++
	}
	r.left, r.alertN = r.length(), 0
	if telling(r.typ(), r.left) {
		if l.telling++; l.telling <= minChained {
			s.revision++
		}
	}
	old := s.tls.before13()
	r.peek = false
	switch r.typ() {
	case wire.ContentHandshake:
		r.opaq = l.ccs && old
		r.peek = l.ccs && !old && s.tls.Server == nil && s.sides[side].p.hs.between()
	case wire.ContentAlert:
		r.opaq = l.ccs && old || r.length() != 2
	case wire.ContentChangeCipherSpec:
		r.opaq = r.length() != 1
	default:
		r.opaq = true
	}
}

// recordBody processes bytes of a record; offset is their position in the stream.
func (s *tlsLayer) recordBody(side Side, b []byte, offset int64) {
	r := &s.sides[side].p.rec
	if r.opaq {
		s.examineProtected(side, b, r.length()-r.left)
		return
	}
	switch r.typ() {
	case wire.ContentHandshake:
		if s.sealedHandshake(side) {
			s.examineProtected(side, b, r.length()-r.left)
		}
		s.handshake(side, b, offset)
	case wire.ContentAlert:
		r.alertN += copy(r.alert[r.alertN:], b)
	}
}

// endRecord processes the end of a record; offset is the stream offset right after it.
func (s *tlsLayer) endRecord(side Side, offset int64) {
	l, r, t := &s.tls.layers[side], &s.sides[side].p.rec, s.tls
	r.hdrN = 0
	switch {
	case r.typ() == wire.ContentChangeCipherSpec:
		if !l.ccs {
			l.ccs = true
			s.revision++
		}
	case r.typ() == wire.ContentAlert && !r.opaq:
		if r.alertN == 2 {
			t.alert(Alert{Side: side, Level: r.alert[0], Description: r.alert[1]})
			s.revision++
		}
	case r.typ() == wire.ContentAlert:
		if t.SealedAlerts[side]++; t.SealedAlerts[side] <= maxSealed {
			s.revision++
		}
	case r.typ() == wire.ContentHandshake && r.opaq:
		t.Finished[side] = true
		if t.SealedHandshakes[side]++; t.SealedHandshakes[side] <= maxSealed {
			s.revision++
		}
	case r.typ() == wire.ContentApplicationData:
		if telling(r.typ(), r.length()) {
			t.AppRecords[side]++
		}
		if l.add(TLSRecord{Length: r.length(), End: offset, Ack: r.ack, Time: s.pool.time()}, t.RolesKnown && side == t.Client) {
			s.revision++
		}
	}
}

// add appends a record to the list, or returns false if the list has no room for the record. client reports whether the side is known to
// be the client.
func (l *recordLayer) add(r TLSRecord, client bool) bool {
	if early := client && r.Ack == 0; early && len(l.list) >= maxEarly {
		l.early++
		return false
	}
	if len(l.list) >= maxListed {
		l.rest++
		return false
	}
	l.list = append(l.list, r)
	return true
}
