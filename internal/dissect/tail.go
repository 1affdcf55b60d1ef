package dissect

// Tail follows the record layer of a TLS connection of which all else is known. It
// finds where the records end, or cease to be ciphertext, and other bytes begin: after a close_notify (FTP's CCC of RFC
// 4217 section 12.3, LDAP's closure of RFC 4511 section 4.14.3) or without one, and where
// another handshake begins in plaintext. It reads the headers of records and keeps a few
// bytes for each side. The zero value follows nothing.
//
// Lost bytes are never taken for an end. Where they hide the place of the next header the
// side is lost, until a segment begins with headers of records. Meanwhile only readable
// text counts, at the start of segments.
type Tail struct {
	over  Over
	sides [2]tailSide
}

// tailSide is one side of a Tail.
type tailSide struct {
	left  uint16            // bytes of the current record still to come
	state tailState         //
	n     uint8             // bytes of head
	text  uint8             // readable bytes in a row: at the starts of segments while lost, else of short records
	head  [helloPrefix]byte // the beginning of a record's header, with a hello's behind it
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
	return f.over != OverTCP || f.sides[0].state != tailNone || f.sides[1].state != tailNone
}

// Data takes the next bytes of a side. gap is how many bytes before them were lost, or were
// left out by a filter. ok is false where the records end before data[at:]; unread bytes of
// an earlier call belong to what follows them. sure is false where the place was found by
// what follows alone.
func (f *Tail) data(side Side, data []byte, gap int64) (at int, sure, ok bool) {
	d := &f.sides[side]
	if gap > 0 {
		d.lose(gap, tailBridge)
	}
	switch {
	case d.state == tailNone || len(data) == 0:
		return 0, false, true
	case d.state == tailLost:
		if ends, text := d.find(data); ends {
			return 0, !text, false
		}
	}
	at, ok = d.follow(data)
	return at, true, ok
}

// Quiet reports whether the next bytes of a side, which gap bytes were lost before, are
// nothing but records. If they are not, the Tail is as it was before.
func (f *Tail) Quiet(side Side, data []byte, gap int64) bool {
	d := &f.sides[side]
	if gap == 0 && d.state > tailLost && d.n == 0 && len(data) <= int(d.left) {
		d.left -= uint16(len(data))
		return true
	}
	before := *d
	if _, _, ok := f.data(side, data, gap); !ok {
		*d = before
		return false
	}
	return true
}

// Cut notes that n bytes of a side came and are not known. exact reports that they are
// within a protected record or up to its end: the place of the next header is as sure as
// before.
func (f *Tail) Cut(side Side, n int64) { f.sides[side].lose(n, tailSure) }

// lose notes that n bytes are not known. Where they are within a record its length tells
// the place of the next header, at most as sure as given.
func (d *tailSide) lose(n int64, sure tailState) {
	switch {
	case d.state <= tailLost:
	case d.n == 0 && n <= int64(d.left):
		d.left -= uint16(n)
		d.state = min(d.state, sure)
	default:
		*d = tailSide{state: tailLost}
	}
}

// find looks for records, or for what is none, at the start of a segment of a lost side.
func (d *tailSide) find(data []byte) (ends, text bool) {
	switch {
	case anyHello(data):
		return true, false
	case chained(data):
		*d = tailSide{state: tailFound}
	case d.readable(data):
		return true, true
	}
	return false, false
}

// anyHello reports whether b begins with a hello in plaintext.
func anyHello(b []byte) bool {
	return helloBegins(b, typeClientHello) == yes || helloBegins(b, typeServerHello) == yes
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
// end, which is before data[at:].
func (d *tailSide) follow(data []byte) (at int, ok bool) {
	for at < len(data) && d.state > tailLost {
		if d.left > 0 {
			n := min(int(d.left), len(data)-at)
			d.left, at = d.left-uint16(n), at+n
			continue
		}
		if b := data[at:]; d.n == 0 && len(b) > recordHeader && b[0] == contentApplicationData && plausibleHeader(b) {
			size := int(b[3])<<8 | int(b[4])
			if d.holdsText(b[recordHeader:], size) {
				return at, false
			}
			if d.state == tailSure {
				d.left = uint16(size)
				at += recordHeader
				continue
			}
		}
		had := d.n
		n := d.header(data[at:])
		switch {
		case n >= 0:
			at += n
		case d.state == tailSure:
			d.n = had
			return at, false
		default:
			*d = tailSide{state: tailLost}
		}
	}
	return at, true
}

// header takes the bytes of a record's header, and of a hello's where one may follow, and
// returns how many it took; -1 where no record follows here, or one of another handshake.
func (d *tailSide) header(data []byte) int {
	n := copy(d.head[min(d.n, recordHeader):recordHeader], data)
	d.n += uint8(n)
	b := d.head[:d.n]
	switch {
	case !plausibleHeader(b):
		return -1
	case len(b) < recordHeader:
		return n
	}
	size := int(b[3])<<8 | int(b[4])
	begun := 0 // bytes of the record that head has
	if b[0] == contentHandshake {
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
		begun = helloPrefix - recordHeader
	}
	d.n, d.left = 0, uint16(size-begun)
	if d.state < tailSure {
		d.state++
	}
	return n
}
