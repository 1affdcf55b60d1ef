package finding

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
)

// encoder appends one JSON object to buf, field by field in the order of the calls, so
// that equal records have equal bytes. What has no value (an empty string or list, an
// address that is not valid, an object without members) is left out, never null.
// Numbers and booleans are always written: whether they are known is for the caller to
// say. Names of fields are constants of this package and need no escapes.
type encoder struct {
	buf   []byte
	opens [8]int // where the names of the open objects begin
	depth int
}

// reset begins a new record; end ends it.
func (e *encoder) reset() { e.buf, e.depth = append(e.buf[:0], '{'), 0 }

func (e *encoder) end() { e.buf = append(e.buf, '}') }

func (e *encoder) name(name string) {
	b := e.buf
	if b[len(b)-1] == '{' {
		b = append(b, '"')
	} else {
		b = append(b, ',', '"')
	}
	e.buf = append(append(b, name...), '"', ':')
}

// open begins a nested object, which close ends.
func (e *encoder) open(name string) {
	e.opens[e.depth] = len(e.buf)
	e.depth++
	e.name(name)
	e.buf = append(e.buf, '{')
}

// objects writes n objects; each writes the members of one.
func (e *encoder) objects(name string, n int, each func(i int)) {
	if n == 0 {
		return
	}
	e.name(name)
	for i := range n {
		e.buf = append(e.buf, "[,"[min(i, 1)], '{')
		each(i)
		e.buf = append(e.buf, '}')
	}
	e.buf = append(e.buf, ']')
}

// close ends the innermost object. An empty one goes without a trace.
func (e *encoder) close() {
	e.depth--
	if e.buf[len(e.buf)-1] == '{' {
		e.buf = e.buf[:e.opens[e.depth]]
		return
	}
	e.buf = append(e.buf, '}')
}

func (e *encoder) str(name, value string) {
	if value != "" {
		e.name(name)
		e.buf = appendQuoted(e.buf, value)
	}
}

// text writes what needs no escapes.
func (e *encoder) text(name string, value []byte) {
	if len(value) > 0 {
		e.name(name)
		e.buf = append(e.buf, '"')
		e.buf = append(e.buf, value...)
		e.buf = append(e.buf, '"')
	}
}

func (e *encoder) list(name string, values []string) {
	if len(values) == 0 {
		return
	}
	e.name(name)
	for i, v := range values {
		e.buf = append(e.buf, "[,"[min(i, 1)])
		e.buf = appendQuoted(e.buf, v)
	}
	e.buf = append(e.buf, ']')
}

func (e *encoder) ports(name string, values []uint16) {
	if len(values) == 0 {
		return
	}
	e.name(name)
	for i, v := range values {
		e.buf = append(e.buf, "[,"[min(i, 1)])
		e.buf = strconv.AppendUint(e.buf, uint64(v), 10)
	}
	e.buf = append(e.buf, ']')
}

func (e *encoder) addrs(name string, values []netip.Addr) {
	if len(values) == 0 {
		return
	}
	e.name(name)
	for i, v := range values {
		e.buf = append(e.buf, "[,"[min(i, 1)])
		e.buf = appendAddr(e.buf, v)
	}
	e.buf = append(e.buf, ']')
}

func (e *encoder) uint(name string, value uint64) {
	e.name(name)
	e.buf = strconv.AppendUint(e.buf, value, 10)
}

func (e *encoder) int(name string, value int64) {
	e.name(name)
	e.buf = strconv.AppendInt(e.buf, value, 10)
}

func (e *encoder) bool(name string, value bool) {
	e.name(name)
	e.buf = strconv.AppendBool(e.buf, value)
}

// yes writes a boolean only where it is true.
func (e *encoder) yes(name string, value bool) {
	if value {
		e.bool(name, true)
	}
}

func (e *encoder) addr(name string, a netip.Addr) {
	if a.IsValid() {
		e.name(name)
		e.buf = appendAddr(e.buf, a)
	}
}

// time writes ns since the epoch as RFC 3339 with nine digits of a second, UTC. The
// fixed length makes the text sort as the time does.
func (e *encoder) time(name string, ns int64) {
	e.name(name)
	e.buf = append(e.buf, '"')
	e.buf = appendTime(e.buf, ns)
	e.buf = append(e.buf, '"')
}

// seconds writes whole seconds since the epoch as RFC 3339, UTC. Years that RFC 3339
// cannot write are left out.
func (e *encoder) seconds(name string, s int64) {
	t := time.Unix(s, 0).UTC()
	if t.Year() < 1 || t.Year() > 9999 {
		return
	}
	e.name(name)
	e.buf = append(e.buf, '"')
	e.buf = t.AppendFormat(e.buf, time.RFC3339)
	e.buf = append(e.buf, '"')
}

func appendTime(b []byte, ns int64) []byte {
	b = time.Unix(0, ns).UTC().AppendFormat(b, time.RFC3339) // for which package time has a short way
	b = append(b[:len(b)-1], ".000000000Z"...)
	for at, rest := len(b)-2, (ns%1e9+1e9)%1e9; rest > 0; at, rest = at-1, rest/10 {
		b[at] += byte(rest % 10)
	}
	return b
}

func appendAddr(b []byte, a netip.Addr) []byte {
	b = append(b, '"')
	b = a.Unmap().WithZone("").AppendTo(b)
	return append(b, '"')
}

const hexDigits = "0123456789abcdef"

// appendQuoted appends s as a JSON string. Besides what RFC 8259 asks for, everything
// that a terminal does not show as itself (controls, bidirectional marks, line
// separators) is escaped: names come from the wire and records end in terminals too.
// Bytes that are not UTF-8 become U+FFFD.
func appendQuoted(b []byte, s string) []byte {
	b = append(b, '"')
	at := len(b)
	b = append(b, s...)
	n := plain(b[at:])
	if n < len(s) {
		b = appendEscaped(b[:at+n], s[n:])
	}
	return append(b, '"')
}

// appendEscaped appends s, with escapes, without quotation marks.
func appendEscaped(b []byte, s string) []byte {
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			i++
			switch {
			case c == '"' || c == '\\':
				b = append(b, '\\', c)
			case c < ' ' || c == 0x7f:
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			default:
				b = append(b, c)
			}
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		switch {
		case unicode.IsPrint(r):
			b = utf8.AppendRune(b, r)
		case r > 0xffff:
			r -= 0x10000
			b = appendEscape(appendEscape(b, 0xd800+r>>10), 0xdc00+r&0x3ff)
		default:
			b = appendEscape(b, r)
		}
	}
	return b
}

// plain returns how many bytes b begins with that are written as they are.
func plain(b []byte) int {
	i := 0
	for ; i+8 <= len(b); i += 8 {
		if !plain8(b[i:]) {
			break
		}
	}
	if i < len(b) && i+8 > len(b) && len(b) >= 8 && plain8(b[len(b)-8:]) {
		return len(b)
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return i
		}
	}
	return len(b)
}

// plain8 reports whether plain takes the first eight bytes of b, which may be false where it
// does. A byte that is less than a space, a quotation mark or a backslash makes a subtraction
// borrow from its highest bit, and DEL sets it by the addition.
func plain8(b []byte) bool {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	x := binary.LittleEndian.Uint64(b)
	return (x|(x-ones*' ')|((x^ones*'"')-ones)|((x^ones*'\\')-ones)|(x+ones))&high == 0
}

func appendEscape(b []byte, r rune) []byte {
	return append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}
