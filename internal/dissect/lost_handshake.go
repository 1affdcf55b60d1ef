package dissect

import "github.com/meshtls-tap/meshtls-tap/internal/wire"

// In TLS 1.3 a close_notify looks like a record with two bytes of data. After such a record, missing bytes of both sides may contain
// another handshake. The keys of that handshake may protect later records.

// tailEnd describes whether the latest records of a side may be the last ones before another handshake, which has other keys.
type tailEnd uint8

const (
	endNone    tailEnd = iota
	endAlert           // the latest record has the size of an alert
	endLost            // so many bytes are missing that they may contain a hello
	endParting         // like endLost, and the record before the missing bytes has the size of an alert
)

const (
	// minLostHello is how many missing bytes are needed to contain a hello and the header of its record.
	minLostHello = 64
	// lostRecently is how many records may follow a gap of one side before the gap no longer counts. Gaps of both sides that count at
	// the same time may hide a handshake.
	lostRecently = 16
)

// alertSized reports whether a protected record may be an alert. In TLS 1.2 and older the record's type shows an alert. In TLS 1.3 an alert
// has two bytes, the inner type and a tag of 16 bytes, or of 8 with CCM_8.
func alertSized(typ byte, size int) bool {
	return typ == wire.ContentAlert || typ == wire.ContentApplicationData && (size == 3+16 || size == 3+8)
}

// lost returns the state after a gap that reaches n bytes past the end of the current record.
func (e tailEnd) lost(n int64) tailEnd {
	switch {
	case n < minLostHello:
		return e
	case e == endAlert || e == endParting:
		return endParting
	}
	return endLost
}

// startRecord returns the state after the start of a record. alert reports whether the record may be an alert. since is the number of
// records since the gap; startRecord updates it.
func (e tailEnd) startRecord(alert bool, since *uint8) tailEnd {
	if e == endLost || e == endParting {
		if *since++; *since <= lostRecently {
			return e
		}
	}
	*since = 0
	if alert {
		return endAlert
	}
	return endNone
}

// parted reports whether the records of both sides may be protected by the keys of a handshake that was not seen.
func (f *Tail) parted() bool {
	a, b := &f.sides[Originator], &f.sides[Responder]
	lost := a.end >= endLost && b.end >= endLost && (a.end == endParting || b.end == endParting)
	return lost && a.state > tailLost && b.state > tailLost
}

// changesCipher reports whether a record is a ChangeCipherSpec in plaintext. Each side sends one ChangeCipherSpec, during the handshake
// (RFC 5246 section 7.1, RFC 8446 appendix D.4). Therefore a second one shows another handshake.
func changesCipher(typ byte, size int) bool { return typ == wire.ContentChangeCipherSpec && size == 1 }

// cipherChanges reports whether b begins with a ChangeCipherSpec in plaintext.
func cipherChanges(b []byte) bool {
	return len(b) > wire.RecordHeader && plausibleHeader(b) && changesCipher(b[0], int(b[3])<<8|int(b[4])) && b[wire.RecordHeader] == 1
}
