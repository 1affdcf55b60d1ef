package dissect

import (
	"bytes"

	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Tail follows the record layer of a TLS connection of which all else is known. It
// finds where the records end, or cease to be ciphertext, and other bytes begin: after a
// close_notify (FTP's CCC of RFC 4217 section 12.3, LDAP's closure of RFC 4511 section
// 4.14.3) or without one, and where another handshake begins in plaintext. It reads the headers of records and keeps a few
// bytes for each side. The zero value follows nothing.
//
// Lost bytes are never taken for an end. Where they hide the place of the next header the
// side is lost, until a segment begins with headers of records. Meanwhile only text at the start
// of segments counts, and segments that cannot be ciphertext (tailSide.legible).
type Tail struct {
	over  tlsmsg.Over
	udp   udpTail
	sides [2]tailSide
}

// tailSide is one side of a Tail.
type tailSide struct {
	left       uint16            // bytes of the current record still to come; while lost, half of the bytes in a row that hold no header
	state      tailState         //
	n          uint8             // bytes of head
	text       uint8             // readable bytes in a row: at the starts of segments while lost, else in records
	unexamined uint8             // bytes of the current record that are still to be looked at for text; while lost: see broken
	end        tailEnd           // see parted
	since      uint8             // records since end was noted
	keyed      bool              // the handshake has changed the cipher, which it does once
	head       [helloPrefix]byte // the beginning of a record's header and of the hello after it; while lost, the first byte: see legible
}

// tailState says how sure the place of the next header is.
type tailState uint8

const (
	tailNone tailState = iota // nothing is followed
	tailLost
	tailFound  // headers were seen where the place was lost before; each further one makes it surer
	tailSure   = tailFound + 2
	tailBridge = tailSure - 1 // lost bytes were within a record, by its length
)

const (
	// minLostText is how many readable bytes at the starts of segments it takes to call a
	// lost side plaintext: 64 random bytes look so once in 10^22.
	minLostText = 64
	// minSealed is less than any protected handshake record of TLS 1.2 and older has: a
	// message's header, a MAC or a tag, and what else the cipher adds.
	minSealed = 20
)

// Follows reports whether anything is followed.
func (f *Tail) Follows() bool {
	return f.over != tlsmsg.OverTCP || f.sides[0].state != tailNone || f.sides[1].state != tailNone
}

// data takes the next bytes of a side. gap is how many bytes before them were lost, or were
// left out by a filter. ok is false where the records end before data[at:]; unread bytes of
// an earlier call belong to what follows them. sure is false where the place was found by
// what follows alone.
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

// Quiet reports whether the next bytes of a side, which gap bytes were lost before, are
// nothing but records. If they are not, the Tail is as it was before.
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

// skim is follow where all that data holds are records of application data whose headers
// are whole, as nearly always. Else it does nothing and returns false.
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

// QuietAfterSkip is Quiet where a filter has left out skipped bytes before the next ones. They
// are not lost: the filter hands on what begins a handshake.
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

// Truncated notes that n bytes of a side came and are not known. Where they are within a record
// the place of the next header is as sure as before.
func (f *Tail) Truncated(side Side, n int64) { f.sides[side].skip(n, tailSure) }

// addGap notes that n bytes were lost.
func (d *tailSide) addGap(n int64, sure tailState) {
	beyond := n
	if d.state > tailLost && d.n == 0 {
		beyond -= int64(d.left)
	}
	if d.skip(n, sure); d.state == tailLost {
		d.end, d.since = d.end.lost(beyond), 0
	}
}

// skip notes that n bytes are not known. Where they are within a record its length tells
// the place of the next header, at most as sure as given.
func (d *tailSide) skip(n int64, sure tailState) {
	switch {
	case d.state == tailNone:
	case d.state == tailLost:
		d.left = 0
	case d.n == 0 && n <= int64(d.left):
		d.left -= uint16(n)
		d.unexamined -= uint8(min(n, int64(d.unexamined)))
		d.text = 0
		d.state = min(d.state, sure)
	default:
		*d = tailSide{state: tailLost, end: d.end, since: d.since, keyed: d.keyed}
	}
}

// find looks for records in a segment of a lost side, from where on they are followed, or
// for what ends them: at its start another handshake or text, or so many bytes in a row
// that a record would have begun in them. sure is false of text.
func (d *tailSide) find(data []byte) (from int, ends, sure bool) {
	switch {
	case anyHello(data), d.keyed && cipherChanges(data):
		return 0, true, true
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

// minBroken is how many segments in a row have to begin with a record that no other one
// follows: the middles of records look so once in 2^66 times.
const minBroken = 3

// broken notes whether a segment of a lost side begins with a record of application data that
// other bytes than a record follow, and reports that enough do. Meanwhile look counts them.
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

// maxUnplaced is how many bytes in a row may hold no record's header, of a lost side: three
// of the largest records.
const maxUnplaced = 3 * (wire.RecordHeader + maxRecord)

// recordIn returns where in b a record of application data may begin, followed by another
// one as far as b goes; len(b) where none does. A header that b has only a part of counts.
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

// textPast reports whether b begins with a record that text follows.
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

// readable notes whether the start of a segment is text. It reports that enough is.
func (d *tailSide) readable(data []byte) bool {
	b := data[:min(len(data), minLostText)]
	if !allText(b) {
		d.text = 0
		return false
	}
	d.text = uint8(min(int(d.text)+len(b), minLostText))
	return d.text == minLostText
}

// follow takes the bytes of a side whose place is known. ok is false where the records
// end, which is before data[at:], or where text was read in one, up to data[at:].
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

// whole is header where b has all that is wanted of a record at once, as nearly always: its
// header, and of its content what is looked at for text. Else it returns 0.
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

// header takes the bytes of a record's header, and of a hello's where one may follow, and
// returns how many it took; -1 where no record follows here, or one of another handshake.
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
	begun := 0 // bytes of the record that head has
	switch {
	case changesCipher(typ, size) && d.keyed:
		d.state = tailSure // as below
		return -1
	case typ == wire.ContentHandshake:
		if size < minSealed {
			return -1 // in plaintext
		}
		more := copy(d.head[d.n:], data[n:])
		n, d.n = n+more, d.n+uint8(more)
		switch {
		case d.n < helloPrefix:
			return n
		case anyHello(d.head[:]):
			d.state = tailSure // no ciphertext looks so
			return -1
		}
		begun = helloPrefix - wire.RecordHeader
	}
	d.n, d.left, d.unexamined = 0, uint16(size), uint8(min(size, textHead))
	d.startRecord(typ, size)
	d.left -= uint16(d.read(d.head[wire.RecordHeader:], begun))
	return n
}

// startRecord notes that a record begins.
func (d *tailSide) startRecord(typ byte, size int) {
	if d.state < tailSure {
		d.state++
	}
	d.keyed = d.keyed || changesCipher(typ, size)
	d.end = d.end.startRecord(alertSized(typ, size), &d.since)
}
