package credentials

import "bytes"

// Field reads one header field of an HTTP request, in pieces. The zero value is ready for a field. A field can be folded over several lines
// (RFC 9112 section 5.2): Write then gets all of them, without the ends of the lines.
type Field struct {
	kinds  Kinds
	part   fieldPart
	scheme Kinds // of Authorization
	basic  separated
	word   [maxWord]byte // the name of the field, the scheme, or the name of a cookie
	n      uint8
}

// maxWord is how many bytes of a name are stored. Longer names are compared by their beginning.
const maxWord = 48

// fieldPart is the part of a field to which the next byte belongs.
type fieldPart uint8

const (
	fieldName fieldPart = iota
	schemeName
	schemeValue
	cookieName
	cookieValue  // of a session
	cookieOther  // the value of another cookie
	fieldIgnored // the rest of the field does not matter
)

// Begins reports whether a field that starts with b may contain credentials. For all other fields Write is not needed.
func Begins(b []byte) bool {
	const enough = 3
	if len(b) < enough {
		return true
	}
	switch b[0] | 0x20 {
	case 'a':
		return b[1]|0x20 == 'u'
	case 'c':
		return b[1]|0x20 == 'o' && b[2]|0x20 == 'o'
	case 'p':
		return b[1]|0x20 == 'r' && b[2]|0x20 == 'o'
	}
	return false
}

// Write reads the next bytes of the field, without the end of the line.
func (f *Field) Write(b []byte) {
	for len(b) > 0 && f.part != fieldIgnored {
		n := 1
		switch f.part {
		case fieldName:
			if n = bytes.IndexByte(b, ':'); n < 0 {
				f.store(b)
				return
			}
			f.named(f.name(b[:n]))
			f.n, n = 0, n+1
		case schemeName, schemeValue:
			f.schemeByte(b[0])
		default:
			f.cookies(b)
			return
		}
		b = b[n:]
	}
}

// Kinds returns the kinds of the credentials in the field as far as it was read.
func (f *Field) Kinds() Kinds {
	if f.part == schemeValue && f.scheme == HTTPBasic && f.basic.secret() {
		f.kinds |= HTTPBasic
	}
	return f.kinds
}

// InField returns the kinds of the credentials in a complete field. name must be in lower case.
func InField(name, value string) Kinds {
	var f Field
	if f.named([]byte(name)); f.part != fieldIgnored {
		f.Write([]byte(value))
	}
	return f.Kinds()
}

// named selects how the value of a field is read. Some servers ignore whitespace before the colon.
func (f *Field) named(name []byte) {
	f.part = fieldIgnored
	if n := len(name); n > 0 && name[n-1] <= ' ' {
		name = bytes.TrimRight(name, " \t\r")
	}
	switch len(name) {
	case len("cookie"):
		if is(name, "cookie") {
			f.part = cookieName
		}
	case len("authorization"), len("proxy-authorization"):
		if is(name, "authorization") || is(name, "proxy-authorization") {
			f.part = schemeName
		}
	}
}

// schemeByte reads the authentication scheme (RFC 9110 section 11.4) or the value after it.
func (f *Field) schemeByte(c byte) {
	switch {
	case f.part == schemeValue:
		f.valueByte(c)
		return
	case c != ' ' && c != '\t' && c != '\r':
		f.storeByte(c)
		return
	case f.n == 0: // before the scheme
		return
	}
	f.part = schemeValue
	switch scheme := f.word[:f.n]; {
	case is(scheme, "basic"):
		f.scheme, f.basic = HTTPBasic, userAndPassword()
	case is(scheme, "bearer"):
		f.scheme = HTTPBearer
	case is(scheme, "digest"):
		f.scheme = HTTPDigest
	default:
		f.part = fieldIgnored
	}
}

func (f *Field) valueByte(c byte) {
	switch {
	case c == ' ' || c == '\t' || c == '\r':
	case f.scheme == HTTPBasic:
		f.basic.add(c)
	default:
		f.kinds |= f.scheme
		f.part = fieldIgnored
	}
}

// cookies reads names and values of cookies (RFC 6265 section 4.2.1). Each byte is read once.
func (f *Field) cookies(b []byte) {
	for len(b) > 0 {
		switch f.part {
		case cookieName:
			end, letters := nameEnd(b)
			if end == len(b) {
				f.store(b)
				return
			}
			if b[end] == '=' {
				f.part = cookieOther
				if (f.n > 0 || mayNameSession(letters)) && isSessionName(f.name(b[:end])) {
					f.part = cookieValue
				}
			}
			f.n, b = 0, b[end+1:]
		case cookieOther:
			end := bytes.IndexByte(b, ';')
			if end < 0 {
				return
			}
			f.part, b = cookieName, b[end+1:]
		default: // cookieValue
			switch b[0] {
			case ';':
				f.part = cookieName
			case ' ', '"', '\r':
			default:
				f.kinds |= HTTPCookie
				f.part = fieldIgnored
				return
			}
			b = b[1:]
		}
	}
}

// nameEnd returns the index of the first = or ; in b, len(b) if there is none, and the letters before it as bits, a at bit 1. Other
// bytes set bits too.
func nameEnd(b []byte) (end int, letters uint32) {
	for i, c := range b {
		if c == '=' || c == ';' {
			return i, letters
		}
		letters |= 1 << (c & 31)
	}
	return len(b), letters
}

// name returns the stored name followed by b, of at most maxWord bytes.
func (f *Field) name(b []byte) []byte {
	if f.n == 0 {
		return b[:min(len(b), maxWord)]
	}
	f.store(b)
	return f.word[:f.n]
}

// store adds bytes to the stored name.
func (f *Field) store(b []byte) {
	for _, c := range b[:min(len(b), len(f.word))] {
		f.storeByte(c)
	}
}

func (f *Field) storeByte(c byte) {
	if int(f.n) < len(f.word) {
		f.word[f.n] = c
		f.n++
	}
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
