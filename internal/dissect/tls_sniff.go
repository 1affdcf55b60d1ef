package dissect

import (
	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// sniffTLS reports whether b is the beginning of a TLS stream: a ClientHello, a ServerHello, an alert, or records of an established
// connection.
func sniffTLS(b []byte) protocols.Match {
	if !plausibleHeader(b) {
		return protocols.No
	}
	if len(b) < wire.RecordHeader+1 {
		return protocols.More
	}
	size := int(b[3])<<8 | int(b[4])
	switch b[0] {
	case wire.ContentHandshake:
		if b[5] == tlsmsg.TypeClientHello || b[5] == tlsmsg.TypeServerHello {
			return sniffHello(b, size)
		}
		if !knownMessage(b[5]) && b[2] < 1 {
			return protocols.No
		}
	case wire.ContentAlert:
		if size == 2 && (b[5] < 1 || b[5] > 2) {
			return protocols.No
		}
		if size == 2 && len(b) < wire.RecordHeader+2 {
			return protocols.More
		}
	case wire.ContentChangeCipherSpec:
		if size != 1 || b[5] != 1 {
			return protocols.No
		}
	default:
		if b[2] < 1 {
			return protocols.No // the middle of a stream of SSL 3.0 looks too much like other protocols
		}
	}

	if next := wire.RecordHeader + size; next < len(b) && !plausibleHeader(b[next:]) {
		return protocols.No
	}
	return protocols.Yes
}

// knownMessage reports whether a handshake type may begin a record (IANA "TLS HandshakeType").
func knownMessage(typ uint8) bool { return typ <= 25 }

// sniffHello examines the handshake header and the version of a hello, as far as they are in the first record (a hello may be split over
// records at any byte). size is the length of the record.
func sniffHello(b []byte, size int) protocols.Match {
	const upToVersion = wire.RecordHeader + 4 + 2
	if size >= 6 {
		if len(b) < upToVersion {
			if len(b) > 6 && b[6] != 0 {
				return protocols.No
			}
			return protocols.More
		}
		if b[6] != 0 || !tlsmsg.PlausibleVersion(uint16(b[9])<<8|uint16(b[10])) {
			return protocols.No
		}
		return protocols.Yes
	}
	if len(b) < wire.RecordHeader+size+wire.RecordHeader {
		return protocols.More
	}
	if b := b[wire.RecordHeader+size:]; b[0] != wire.ContentHandshake || !plausibleHeader(b) {
		return protocols.No
	}
	return protocols.Yes
}

// minChained is how many consecutive records in the middle of a stream prove TLS.
const minChained = 3

// chain follows bytes in the middle of a stream that may be TLS records, from the start of a segment and across segments.
type chain struct {
	hdr   [wire.RecordHeader]byte
	n     int   // bytes of hdr
	left  int   // remaining bytes of the current record
	count int   // consecutive records so far
	at    int64 // stream offset of the first record
}

// feed processes the next bytes, at a stream offset. found reports whether minChained consecutive records have begun; the header of the
// last one ends at data[used]. If every is false, the first record must be one of application data.
func (c *chain) feed(offset int64, data []byte, every bool) (used int, found bool) {
	if c.count == 0 && c.n == 0 {
		if !plausibleHeader(data) || !every && data[0] != wire.ContentApplicationData {
			return 0, false
		}
		c.at = offset
	}

	for used < len(data) {
		if c.left > 0 {
			n := min(c.left, len(data)-used)
			c.left, used = c.left-n, used+n
			continue
		}
		n := copy(c.hdr[c.n:], data[used:])
		c.n, used = c.n+n, used+n
		if !plausibleHeader(c.hdr[:c.n]) || c.n > 2 && c.hdr[2] < 1 {
			*c = chain{}
			return used, false
		}
		if c.n == wire.RecordHeader {
			c.n, c.left = 0, int(c.hdr[3])<<8|int(c.hdr[4])
			if telling(c.hdr[0], c.left) {
				c.count++
			}
			if c.count == minChained {
				return used, true
			}
		}
	}

	return used, false
}

// gap notes that n bytes are missing. If they are within a record, the record's length gives the position of the next record.
func (c *chain) gap(n int64) {
	if c.left > 0 && n <= int64(c.left) {
		c.left -= int(n)
		return
	}
	*c = chain{}
}

// findRecords looks for TLS records in the middle of a direction. It reports whether it found them; the direction then speaks TLS.
// afterOther has the same meaning as in startTLS.
func (s *Session) findRecords(side Side, offset int64, data []byte, ack int64, afterOther bool) bool {
	c := &s.sides[side].p.chain
	used, found := c.feed(offset, data, afterOther)
	if !found {
		return false
	}
	s.startTLS(side, c.at, afterOther)
	l, r := &s.tls.layers[side], &s.sides[side].p.rec
	l.headers, l.telling, l.holes = c.count, c.count, true
	*r = recordReader{hdr: c.hdr, hdrN: wire.RecordHeader, left: c.left, ack: -1, opaq: true}
	*c = chain{}
	if used < len(data) {
		s.feed(side, offset+int64(used), data[used:], ack)
	}
	return true
}
