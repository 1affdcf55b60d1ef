package dissect

import (
	"bytes"
	"strings"
)

// HTTP is the first request and response of cleartext HTTP: of HTTP/1 and, by their
// first header blocks, of HTTP/2.
type HTTP struct {
	Version   string // "1.1", "2"
	Method    string
	Host      string // the Host header or :authority, without its port, lower case
	Path      string // without the query
	UserAgent string
	Upgrade   string // the Upgrade header's first protocol, lower case
	Status    int    // of the first response that is not 100 or 103
}

const (
	maxMethod = 20
	maxTarget = 2 << 10 // bytes of a request line that are kept, and of its path
	maxValue  = 256     // bytes of a header's value that are kept
	// maxHTTPHeader bounds the header that is read, in bytes.
	maxHTTPHeader = 64 << 10
)

// httpRequest: a method token, a target, and HTTP/1. within the first line (RFC 9112
// section 3).
func httpRequest(b []byte) answer {
	i := 0
	for i < len(b) && i <= maxMethod && (b[i] >= 'A' && b[i] <= 'Z' || b[i] == '-' || b[i] == '_') {
		i++
	}
	if i == len(b) && i <= maxMethod {
		return more
	}
	if i == 0 || i > maxMethod || b[i] != ' ' {
		return no
	}
	line, _, whole := bytes.Cut(b, []byte("\n"))
	if !whole {
		switch {
		case odd(b) > 0:
			return no
		case len(b) >= maxTarget && i+1 < len(b) && b[i+1] == '/':
			return yes
		case len(b) >= maxHead:
			return no
		}
		return more
	}
	if bytes.Contains(line, []byte(" HTTP/1.")) {
		return yes
	}
	return no
}

// httpResponse: HTTP/1. and a status code (RFC 9112 section 4).
func httpResponse(b []byte) answer {
	if a := prefix(b, "HTTP/1."); a != yes {
		return a
	}
	if len(b) < 12 {
		return more
	}
	if b[8] != ' ' || b[9] < '1' || b[9] > '5' {
		return no
	}
	return yes
}

// httpReader reads the header of a direction's first message line by line. Of the
// header fields it keeps those alone that HTTP names, of a line no more than it needs.
type httpReader struct {
	line    []byte
	seen    int  // bytes of the header so far
	first   bool // the first line was read
	skip    bool // the line is of no interest, or too long
	interim bool // the message is a 1xx response
}

// readHTTP takes the next bytes of a direction that speaks HTTP/1.
func (s *Session) readHTTP(side Side, data []byte) {
	p := s.sides[side].p
	r := p.http
	if s.http == nil {
		s.http = &HTTP{}
	}
	for len(data) > 0 {
		part, rest, ended := bytes.Cut(data, []byte("\n"))
		if r.seen += len(part) + 1; r.seen > maxHTTPHeader {
			s.endHTTP(side)
			return
		}
		s.httpPart(r, part)
		if !ended {
			return
		}
		if s.httpLine(r) {
			s.endHTTP(side)
			if s.sides[side].p.http2 != nil {
				s.readHTTP2(side, rest)
			}
			return
		}
		data = rest
	}
}

// wanted are the header fields that are read.
var wanted = []string{"host:", "user-agent:", "upgrade:"}

// httpPart takes a part of a line.
func (s *Session) httpPart(r *httpReader, part []byte) {
	if r.skip {
		return
	}
	limit := maxValue
	if !r.first {
		limit = maxTarget
	}
	var whole bool
	r.line, whole = s.hold(r.line, part, limit)
	if !r.first {
		r.skip = !whole
		return
	}
	if len(r.line) == 0 || len(r.line) == 1 && r.line[0] == '\r' {
		return // the end of the header, perhaps
	}
	for _, w := range wanted {
		n := min(len(w), len(r.line))
		if strings.EqualFold(string(r.line[:n]), w[:n]) {
			r.skip = !whole
			return
		}
	}
	r.skip, r.line = true, r.line[:0] // a secret, perhaps
}

// httpLine reads a whole line; it tells whether the header ends there.
func (s *Session) httpLine(r *httpReader) (done bool) {
	line := string(bytes.TrimSuffix(r.line, []byte("\r")))
	blank := line == "" && !r.skip
	r.line, r.skip = r.line[:0], false
	switch {
	case !r.first:
		r.first = true
		if strings.HasPrefix(line, "HTTP/") {
			r.interim = s.http.response(line)
		} else {
			s.http.request(line)
		}
		s.revision++
	case blank && r.interim && s.http.Status != 101:
		*r = httpReader{line: r.line} // a final response follows
	case blank:
		return true
	default:
		s.http.field(line)
	}
	return false
}

// endHTTP closes a direction's header. What follows may be another protocol.
func (s *Session) endHTTP(side Side) {
	st := &s.sides[side]
	s.release(&st.p.http.line)
	st.p.http = nil
	s.revision++
	if s.http.Status != 101 {
		return
	}
	switch s.http.Upgrade {
	case "websocket": // RFC 6455
		s.rename("websocket")
	case "h2c": // RFC 7540 section 3.2
		s.rename("http2")
		for i := range s.sides {
			if s.sides[i].p != nil && s.sides[i].p.http == nil {
				s.sides[i].p.http2 = &http2Reader{preface: Side(i) != side}
			}
		}
	}
}

// rename names the protocol of both directions that speak HTTP/1.
func (s *Session) rename(protocol string) {
	for i := range s.sides {
		if s.sides[i].protocol == "http" {
			s.sides[i].protocol = protocol
		}
	}
}

// response reads a status line. It tells whether another response will follow.
func (h *HTTP) response(line string) (interim bool) {
	if len(line) < 12 {
		return false
	}
	if h.Version == "" {
		h.Version = clean([]byte(line[5:8]))
	}
	code := 0
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return false
		}
		code = code*10 + int(c-'0')
	}
	if code/100 == 1 && code != 101 {
		return true
	}
	h.Status = code
	return false
}

func (h *HTTP) request(line string) {
	if h.Method != "" {
		return
	}
	method, rest, _ := strings.Cut(line, " ")
	target, version, _ := strings.Cut(rest, " ")
	h.Method, h.Path = clean([]byte(method)), pathOf(target)
	h.Version = clean([]byte(strings.TrimPrefix(version, "HTTP/")))
}

// pathOf cuts query and fragment off a request target, and what names a user.
func pathOf(target string) string {
	if i := strings.IndexAny(target, "?#"); i >= 0 {
		target = target[:i]
	}
	if scheme, rest, ok := strings.Cut(target, "://"); ok && !strings.HasPrefix(target, "/") {
		if i := strings.IndexByte(rest, '/'); i >= 0 {
			_, host, named := strings.Cut(rest[:i], "@")
			if named {
				rest = host + rest[i:]
			}
		} else if _, host, named := strings.Cut(rest, "@"); named {
			rest = host
		}
		target = scheme + "://" + rest
	}
	return clean([]byte(target))
}

func (h *HTTP) field(line string) {
	name, value, ok := strings.Cut(line, ":")
	if !ok {
		return
	}
	value = clean([]byte(strings.TrimSpace(value)))
	switch strings.ToLower(name) {
	case "host":
		if h.Host == "" {
			h.Host = hostOnly(value)
		}
	case "user-agent":
		if h.UserAgent == "" {
			h.UserAgent = value
		}
	case "upgrade":
		first, _, _ := strings.Cut(value, ",")
		h.Upgrade = strings.ToLower(strings.TrimSpace(first))
	}
}

// hostOnly cuts the port off a Host header's value.
func hostOnly(v string) string {
	v = strings.ToLower(v)
	if strings.HasPrefix(v, "[") {
		host, _, _ := strings.Cut(v[1:], "]")
		return host
	}
	host, _, _ := strings.Cut(v, ":")
	return host
}
