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
	Host      string // of the Host header, the target or :authority, without its port: a Hostname or an address; empty if none
	Misnamed  bool   // what stood there is none
	Path      string // without the query
	UserAgent string
	Upgrade   string // the Upgrade header's first protocol, lower case
	Status    int    // of the first response that is not 100 or 103

	absolute bool // the target names the host
}

const (
	maxMethod = 20
	maxTarget = 2 << 10 // bytes of a request line that are kept, and of its path
	maxValue  = 288     // bytes of a header's value that are kept: more than maxAuthority and a field's name
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
	request bool // the message is a request
	again   bool // it is not the first one
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
			s.stray()
			s.endHTTP(side)
			return
		}
		s.httpPart(r, part)
		if !ended {
			return
		}
		if s.httpLine(side, r) {
			s.endHTTP(side)
			switch st := &s.sides[side]; {
			case st.p.http2 != nil:
				s.readHTTP2(side, rest)
			case s.tunnelOpen && !s.inTunnel && len(rest) > 0:
				s.enterTunnel(side, st.seen+st.missed-int64(len(rest)), rest, -1)
			case st.asks:
				s.followHTTP(side, rest)
			}
			return
		}
		data = rest
	}
}

// wanted are the header fields that are read.
var wanted = []string{"host:", "user-agent:", "upgrade:", "content-length:", "transfer-encoding:"}

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
func (s *Session) httpLine(side Side, r *httpReader) (done bool) {
	line := string(bytes.TrimSuffix(r.line, []byte("\r")))
	blank, whole := line == "" && !r.skip, !r.skip
	r.line, r.skip = r.line[:0], false
	switch {
	case !r.first && r.again:
		r.first, r.request = true, true
		s.sameRequest(line)
	case !r.first:
		r.first = true
		if strings.HasPrefix(line, "HTTP/") {
			r.interim = s.http.response(line)
		} else {
			r.request = true
			s.sides[side].asks = true
			s.http.request(line)
		}
		s.revision++
	case blank && r.interim && s.http.Status != 101:
		*r = httpReader{line: r.line} // a final response follows
	case blank:
		return true
	default:
		if r.request {
			s.alone(line)
		}
		if !r.again {
			s.http.field(line, r.request, whole)
		}
	}
	return false
}

// endHTTP closes a direction's header. What follows may be another protocol.
func (s *Session) endHTTP(side Side) {
	st := &s.sides[side]
	s.release(&st.p.http.line)
	st.p.http = nil
	s.revision++
	if s.http.Method == "CONNECT" && s.http.Status/100 == 2 && !s.inTunnel {
		s.openTunnel()
	}
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
	h.Method = clean([]byte(method))
	if number, ok := strings.CutPrefix(version, "HTTP/1."); ok && len(number) == 1 && '0' <= number[0] && number[0] <= '9' {
		h.Version = "1." + number
	}
	h.target(target)
}

// target reads a request target (RFC 9112 section 3.2). Where it names the host, that
// counts in place of the Host header's.
func (h *HTTP) target(target string) {
	scheme, rest, absolute := strings.Cut(target, "://")
	switch {
	case h.Method == "CONNECT":
		host, port, ok := authority(target)
		h.named(host, ok && port)
		h.absolute = true
		return
	case absolute && scheme != "" && strings.Trim(strings.ToLower(scheme), schemeBytes) == "":
		at := strings.IndexAny(rest, "/?#")
		if at < 0 {
			at = len(rest)
		}
		host, _, ok := authority(rest[:at])
		h.named(host, ok)
		h.absolute, target = true, rest[at:]
	}
	if i := strings.IndexAny(target, "?#"); i >= 0 {
		target = target[:i]
	}
	h.Path = clean([]byte(target))
}

// schemeBytes are those of a URI's scheme (RFC 3986 section 3.1).
const schemeBytes = "abcdefghijklmnopqrstuvwxyz0123456789+-."

// named notes the host of a request, once; ok says that it is one. Requests that name two
// name none.
func (h *HTTP) named(host string, ok bool) {
	switch {
	case !ok || h.Host != "" && h.Host != host:
		h.Host, h.Misnamed = "", true
	case !h.Misnamed:
		h.Host = host
	}
}

// field reads a header field; whole tells that all of its value was kept.
func (h *HTTP) field(line string, request, whole bool) {
	name, value, ok := strings.Cut(line, ":")
	if !ok {
		return
	}
	value = strings.Trim(value, " \t")
	switch strings.ToLower(name) {
	case "host":
		if request && value != "" {
			h.host(value, whole)
		}
	case "user-agent":
		if request && h.UserAgent == "" {
			h.UserAgent = clean([]byte(value))
		}
	case "upgrade":
		first, _, _ := strings.Cut(clean([]byte(value)), ",")
		h.Upgrade = strings.ToLower(strings.TrimSpace(first))
	}
}

// host reads a Host header. A target that named a host before counts in its place (RFC
// 9112 section 3.2.2), whatever the header says.
func (h *HTTP) host(value string, whole bool) {
	if h.absolute {
		return
	}
	host, _, ok := authority(value)
	h.named(host, ok && whole)
}
