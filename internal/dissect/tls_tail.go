package dissect

import (
	"bytes"

	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Tail follows the record layer of a TLS connection after its session is finished. It finds where the records end or are no longer
// ciphertext. Other bytes can begin after a close_notify (FTP's CCC of RFC 4217 section 12.3, LDAP's closure of RFC 4511 section 4.14.3),
// without a close_notify, or with another handshake in plaintext. A Tail parses the headers of records and stores a few bytes for each
// side. The zero value follows nothing.
//
// Missing bytes never count as an end. If they hide the position of the next header, the side is lost until a segment contains headers of
// records again. Meanwhile each segment is searched for plaintext and for another handshake (tailSide.find).
type Tail struct {
	over  tlsmsg.Over
	udp   udpTail
	sides [2]tailSide
}

// tailSide is one side of a Tail.
type tailSide struct {
	left       uint16            // remaining bytes of the current record; while lost, half of the consecutive bytes without a header
	state      tailState         //
	n          uint8             // bytes of head
	text       uint8             // consecutive bytes of text: at the starts of segments while lost, otherwise in records
	unexamined uint8             // bytes of the current record to be examined for text; while lost, see broken
	end        tailEnd           // see Tail.parted
	since      uint8             // records since end was set
	keyed      bool              // the handshake has changed the cipher
	head       [helloPrefix]byte // first bytes of a record, up to the version of a hello; the first byte is a utf8Run within a record; while lost, see legible for it
}

// tailState is how certain the position of the next header is.
type tailState uint8

const (
	tailNone   tailState = iota // the side is not followed
	tailLost                    // the position is unknown
	tailFound                   // the position was lost, and headers showed it again; each further header makes the position more certain
	tailSure   = tailFound + 2
	tailBridge = tailSure - 1 // bytes are missing that were within a record, according to its length
)

const (
	// minLostText is how many bytes of text at the starts of segments make a lost side plaintext: 64 random bytes are text with a
	// probability of 10^-22.
	minLostText = 64
	// minSealed is less than the length of any protected handshake record of TLS 1.2 and older, which has a message's header and a MAC
	// or a tag.
	minSealed = 20
)

// Follows reports whether the Tail follows at least one side.
func (f *Tail) Follows() bool {
	return f.over != tlsmsg.OverTCP || f.sides[0].state != tailNone || f.sides[1].state != tailNone
}

// data processes the next bytes of a side. gap is how many bytes before them are missing or were left out by a filter. If ok is false, the
// records end before data[at:]. If an earlier call has buffered bytes as the start of a header, the records then end before these bytes.
// sure is false if only the contents of the bytes after the records show the end.
func (f *Tail) data(side Side, data []byte, gap int64) (at int, sure, ok bool) {
	d := &f.sides[side]
	if gap > 0 {
		d.addGap(gap, tailBridge)
	}
	switch {
	case d.state == tailNone || len(data) == 0:
		return 0, false, true
	case d.state == tailLost:
		from, ends, sure := d.find(data)
		if ends {
			return from, sure, false
		}
		data, at = data[from:], from
	}
	n, ok := d.follow(data)
	return at + n, true, ok && !f.parted()
}

// Quiet reports whether data consists only of records. data are the next bytes of a side after gap missing bytes. If the result is false,
// the Tail does not change.
func (f *Tail) Quiet(side Side, data []byte, gap int64) bool {
	d := &f.sides[side]
	if gap == 0 && d.n == 0 && d.state == tailSure && d.unexamined == 0 && d.end == endNone && d.skim(data) {
		return true
	}
	before := *d
	if _, _, ok := f.data(side, data, gap); !ok {
		*d = before
		return false
	}
	return true
}

// skim does the same as follow if data contains only records of application data with complete headers, which is the usual case. Otherwise
// it does nothing and returns false.
func (d *tailSide) skim(data []byte) bool {
	at := int(d.left)
	for at < len(data) {
		b := data[at:]
		if len(b) <= wire.RecordHeader || b[0] != wire.ContentApplicationData || b[1] != 3 || b[2] > 4 {
			return false
		}
		size, content := int(b[3])<<8|int(b[4]), b[wire.RecordHeader:]
		if size > maxRecord || size < readableRun || len(content) < min(size, textHead) || startsWithText(content[:min(size, textHead)]) {
			return false
		}
		at, d.text = at+wire.RecordHeader+size, 0
	}
	d.left = uint16(at - len(data))
	return true
}

// QuietAfterSkip does the same as Quiet after a filter has left out skipped bytes. They do not count as missing, because the filter passes
// on the beginning of every handshake.
func (f *Tail) QuietAfterSkip(side Side, data []byte, skipped int64) bool {
	d := &f.sides[side]
	before := *d
	d.skip(skipped, tailBridge)
	if !f.Quiet(side, data, 0) {
		*d = before
		return false
	}
	return true
}

// Truncated notes that n bytes of a side were sent, but not captured. If they are within a record, the position of the next header stays as
// certain as before. If not, they may contain another handshake.
func (f *Tail) Truncated(side Side, n int64) { f.sides[side].addGap(n, tailSure) }

// addGap notes that n bytes are missing.
func (d *tailSide) addGap(n int64, sure tailState) {
	beyond := n
	if d.state > tailLost && d.n == 0 {
		beyond -= int64(d.left)
	}
	if d.skip(n, sure); d.state == tailLost {
		d.end, d.since = d.end.lost(beyond), 0
	}
}

// skip notes that n bytes are unknown. If they are within a record, the record's length gives the position of the next header, with a
// certainty of at most sure.
func (d *tailSide) skip(n int64, sure tailState) {
	switch {
	case d.state == tailNone:
	case d.state == tailLost:
		d.left = 0
	case d.n == 0 && n <= int64(d.left):
		d.left -= uint16(n)
		d.unexamined -= uint8(min(n, int64(d.unexamined)))
		d.text, d.head[0] = 0, 0 // no run of text continues over missing bytes
		d.state = min(d.state, sure)
	default:
		*d = tailSide{state: tailLost, end: d.end, since: d.since, keyed: d.keyed}
	}
}

// find looks for records in a segment of a lost side. If it finds records, they are followed from data[from:]. ends reports whether the
// records have ended instead: another handshake or plaintext has begun, or so many bytes came that a record must have started in them. sure
// is false if only the contents of the segments show plaintext.
func (d *tailSide) find(data []byte) (from int, ends, sure bool) {
	switch {
	case d.keyed && cipherChanges(data):
		return 0, true, true
	case helloIn(data) < len(data):
		return helloIn(data), true, true
	case chained(data), textPast(data):
		*d = tailSide{state: tailFound, end: d.end, since: d.since, keyed: d.keyed}
		return 0, false, true
	case d.readable(data):
		return 0, true, false
	case d.broken(data):
		return wire.RecordHeader + int(data[3])<<8 + int(data[4]), true, true
	}

	if from = recordIn(data); from < len(data) {
		*d = tailSide{state: tailFound, end: d.end, since: d.since, keyed: d.keyed}
		return from, false, true
	}
	if d.keyed && d.legible(data) {
		return 0, true, false
	}
	if d.left += uint16((len(data) + 1) / 2); d.left >= maxUnplaced/2 {
		return 0, true, true
	}
	return from, false, true
}

// minBroken is how many consecutive segments must begin with a record that is not followed by another one. Segments from the middle of
// records look like that with a probability of about 2^-66.
const minBroken = 3

// broken counts the segments of a lost side that begin with a record of application data and continue with bytes that are not a record.
// It reports whether minBroken segments were counted. The count is in the field unexamined.
func (d *tailSide) broken(data []byte) bool {
	if len(data) < wire.RecordHeader || data[0] != wire.ContentApplicationData || !plausibleHeader(data) {
		d.unexamined = 0
		return false
	}
	if next := wire.RecordHeader + int(data[3])<<8 + int(data[4]); next >= len(data) || plausibleHeader(data[next:]) {
		return false
	}
	d.unexamined++
	return d.unexamined >= minBroken
}

// maxUnplaced is how many consecutive bytes of a lost side without a record header show that the records have ended: three of the largest
// records.
const maxUnplaced = 3 * (wire.RecordHeader + maxRecord)

// recordIn returns the first offset in b where a record of application data may begin, or len(b) if there is no such offset. If b is long
// enough, another record must follow the first one. An incomplete header at the end of b counts.
func recordIn(b []byte) int {
	for at := 0; at < len(b); at++ {
		next := bytes.IndexByte(b[at:], wire.ContentApplicationData)
		if next < 0 {
			break
		}
		at += next
		if r := b[at:]; len(r) < wire.RecordHeader && plausibleHeader(r) || chained(r) && len(r) >= wire.RecordHeader && telling(r[0], int(r[3])<<8|int(r[4])) {
			return at
		}
	}
	return len(b)
}

// textPast reports whether b begins with a record that is followed by text.
func textPast(b []byte) bool {
	if len(b) < wire.RecordHeader || !plausibleHeader(b) {
		return false
	}
	next := wire.RecordHeader + int(b[3])<<8 + int(b[4])
	return next < len(b) && startsWithText(b[next:])
}

// anyHello reports whether b begins with a hello in plaintext.
func anyHello(b []byte) bool {
	return helloBegins(b, tlsmsg.TypeClientHello) == protocols.Yes || helloBegins(b, tlsmsg.TypeServerHello) == protocols.Yes
}

// readable notes whether the start of a segment is text. It reports whether the starts of consecutive segments contained minLostText bytes
// of text in total.
func (d *tailSide) readable(data []byte) bool {
	b := data[:min(len(data), minLostText)]
	if !allText(b) {
		d.text = 0
		return false
	}
	d.text = uint8(min(int(d.text)+len(b), minLostText))
	return d.text == minLostText
}

// follow processes the bytes of a side whose position is known. ok is false if the records end before data[at:], or if a record contains
// text up to data[at:].
func (d *tailSide) follow(data []byte) (at int, ok bool) {
	for at < len(data) && d.state > tailLost {
		if d.left > 0 {
			n := min(int(d.left), len(data)-at)
			if d.unexamined > 0 {
				n = d.read(data[at:], n)
			}
			d.left, at = d.left-uint16(n), at+n
			if d.readText() {
				return at, false
			}
			continue
		}
		if n := d.whole(data[at:]); n > 0 {
			if at += n; d.readText() {
				return at, false
			}
			continue
		}
		had := d.n
		n := d.header(data[at:])
		switch {
		case n >= 0 && d.readText():
			return at + n, false
		case n >= 0:
			at += n
		case d.state == tailSure, startsWithText(data[at:]):
			d.n = had
			return at, false
		default:
			*d = tailSide{state: tailLost, end: d.end, since: d.since, keyed: d.keyed}
		}
	}

	return at, true
}

// whole does the same as header if b has a complete header and the part of the record that is examined for text, which is the usual case.
// Otherwise it returns 0.
func (d *tailSide) whole(b []byte) int {
	if d.n != 0 || d.state != tailSure || len(b) <= wire.RecordHeader || b[0] == wire.ContentHandshake || !plausibleHeader(b) {
		return 0
	}
	size, content := int(b[3])<<8|int(b[4]), b[wire.RecordHeader:]
	if size < readableRun || len(content) < min(size, textHead) {
		return 0
	}
	d.startRecord(b[0], size)
	d.text, d.unexamined, d.left = 0, 0, uint16(size)
	if startsWithText(content[:min(size, textHead)]) {
		d.text = readableRun
	}
	return wire.RecordHeader
}

// header processes the bytes of a record's header, and the first bytes of a handshake record, which may be a hello. It returns how many
// bytes it processed, or -1 if the next bytes are not a record, or are a record of another handshake.
func (d *tailSide) header(data []byte) int {
	n := copy(d.head[min(d.n, wire.RecordHeader):wire.RecordHeader], data)
	d.n += uint8(n)
	b := d.head[:d.n]
	switch {
	case !plausibleHeader(b):
		return -1
	case len(b) < wire.RecordHeader:
		return n
	}

	typ, size := b[0], int(b[3])<<8|int(b[4])
	begun := 0 // bytes of the content that are in head
	switch {
	case changesCipher(typ, size) && d.keyed:
		d.state = tailSure // the end is sure, as for a hello below
		return -1
	case typ == wire.ContentHandshake:
		if size < minSealed {
			return -1 // the record contains a plaintext message
		}
		more := copy(d.head[d.n:], data[n:])
		n, d.n = n+more, d.n+uint8(more)
		switch {
		case d.n < helloPrefix:
			return n
		case anyHello(d.head[:]):
			d.state = tailSure // the end is sure: ciphertext does not look like a hello
			return -1
		}
		begun = helloPrefix - wire.RecordHeader
	}

	d.n, d.left, d.unexamined = 0, uint16(size), uint8(min(size, textHead))
	d.startRecord(typ, size)
	d.head[0] = 0
	d.left -= uint16(d.read(d.head[wire.RecordHeader:], begun))
	return n
}

// startRecord notes the start of a record.
func (d *tailSide) startRecord(typ byte, size int) {
	if d.state < tailSure {
		d.state++
	}
	d.keyed = d.keyed || changesCipher(typ, size)
	d.end = d.end.startRecord(alertSized(typ, size), &d.since)
}
