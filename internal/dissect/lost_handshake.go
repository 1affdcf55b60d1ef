package dissect

import "github.com/meshtls-tap/meshtls-tap/internal/wire"

// In TLS 1.3 a close_notify is a record like any other, as large as two bytes of data. Where
// one came last and the next records of both sides were lost, another handshake may have
// been among them, and what comes now may be under its keys.

// tailEnd says what is known of how the records of a side stopped.
type tailEnd uint8

const (
	endNone    tailEnd = iota
	endAlert           // the latest record is as large as an alert
	endLost            // so many bytes were lost that a hello may have been among them
	endParting         // the same, right behind such a record
)

const (
	// minLostHello is how many lost bytes may have held a hello, its record's header included.
	minLostHello = 64
	// lostRecently is how many records of a side later its lost bytes mean nothing any more
	// for what the other side lost.
	lostRecently = 16
)

// alertSized reports whether a protected record may be an alert: one of TLS 1.2 and older
// says so, one of TLS 1.3 has two bytes, the type, and a tag of 16, or of 8 for CCM_8.
func alertSized(typ byte, size int) bool {
	return typ == wire.ContentAlert || typ == wire.ContentApplicationData && (size == 3+16 || size == 3+8)
}

// lost returns what is known where n bytes were lost beyond the current record.
func (e tailEnd) lost(n int64) tailEnd {
	switch {
	case n < minLostHello:
		return e
	case e == endAlert || e == endParting:
		return endParting
	}
	return endLost
}

// startRecord returns the state at the start of a record. alert reports whether that record may be an alert; since counts
// the records since bytes were lost, and is updated.
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

// parted reports whether the records of both sides may be under the keys of a handshake that
// was lost.
func (f *Tail) parted() bool {
	a, b := &f.sides[Originator], &f.sides[Responder]
	lost := a.end >= endLost && b.end >= endLost && (a.end == endParting || b.end == endParting)
	return lost && a.state > tailLost && b.state > tailLost
}

// changesCipher reports whether a record is a ChangeCipherSpec in plaintext, which comes once
// for each side in a handshake and in nothing else (RFC 5246 section 7.1, RFC 8446 appendix
// D.4): another handshake is going on.
func changesCipher(typ byte, size int) bool { return typ == wire.ContentChangeCipherSpec && size == 1 }

// cipherChanges reports whether b begins with a ChangeCipherSpec in plaintext.
func cipherChanges(b []byte) bool {
	return len(b) > wire.RecordHeader && plausibleHeader(b) && changesCipher(b[0], int(b[3])<<8|int(b[4])) && b[wire.RecordHeader] == 1
}
