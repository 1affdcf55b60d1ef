package dissect

import (
	"bytes"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/credentials"
	"github.com/meshtls-tap/meshtls-tap/internal/names"
	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
)

// HTTP describes the first request and response of plaintext HTTP/1 or HTTP/2. In HTTP/2 they are each side's first header block.
type HTTP struct {
	Version   string // such as "1.1" or "2"
	Method    string
	Host      string // from the target, the Host header or :authority, without port: a valid host name or an address, or ""
	Misnamed  bool   // the host was invalid, or the request named several different hosts
	Path      string // without the query
	UserAgent string
	Upgrade   string // first protocol of the Upgrade header, in lower case
	Status    int    // status of the first final response, or 101

	absolute bool // the request target contains the host
}

const (
	maxValue = 288 // stored bytes of a header field: more than an authority and the field's name need
	// maxHTTPHeader bounds the header that is parsed, in bytes.
	maxHTTPHeader = 64 << 10
)

// httpReader parses the header of a direction's first message line by line. It stores only the header fields in wanted, and only the needed
// part of each line.
type httpReader struct {
	line    []byte
	seen    int  // bytes of the header so far
	first   bool // the first line was read
	request bool // the message is a request
	again   bool // the message is not the first one of its direction
	skip    bool // the line is not needed, or too long
	interim bool // the message is a 1xx response

	asks   bool              // the message is a request of the originator, whose fields are searched for credentials
	within bool              // a part of the line was passed to scanField
	scans  bool              // the field that the line belongs to may have credentials
	field  credentials.Field // used if scans is set
}

// endReader releases a reader at the end of its header.
func (s *memory) endReader(r **httpReader) {
	s.release(&(*r).line)
	s.pool.putLineReader(*r)
	*r = nil
}

// readHTTP processes the next bytes of a direction that speaks HTTP/1.
func (s *Session) readHTTP(side Side, data []byte) {
	p := s.sides[side].p
	r := p.http
	if s.http == nil {
		s.http = s.pool.http()
	}
	for len(data) > 0 {
		part, rest, ended := bytes.Cut(data, []byte("\n"))
		if r.seen += len(part) + 1; r.seen > maxHTTPHeader {
			s.markStrayed()
			s.endHTTP(side)
			return
		}
		line := s.httpPart(r, part, ended)
		if !ended {
			return
		}
		if s.httpLine(side, r, line) {
			s.endHTTP(side)
			switch st := &s.sides[side]; {
			case st.p.http2 != nil:
				s.readHTTP2(side, rest)
			case s.tunnelOpen && len(rest) > 0:
				s.enterTunnel(side, st.seen+st.missed-int64(len(rest)), rest, -1)
			case st.asks:
				s.followHTTP(side, rest)
			}
			return
		}
		data = rest
	}
}

// wanted are the names of the header fields that are parsed.
var wanted = [...]string{"host:", "user-agent:", "upgrade:", "content-length:", "transfer-encoding:"}

// isFraming reports whether a line is a header field that describes a body.
func isFraming(line []byte) bool {
	name, _, _ := bytes.Cut(line, []byte(":"))
	return foldsTo(name, "content-length") || foldsTo(name, "transfer-encoding")
}

// isWanted reports whether a line is a header field that is parsed. An incomplete line counts if it may become such a field.
func isWanted(line []byte) bool {
	for _, w := range &wanted {
		if n := min(len(w), len(line)); foldsTo(line[:n], w[:n]) {
			return true
		}
	}
	return false
}

// foldsTo reports whether b equals name, ignoring the case of ASCII letters. name must be in lower case.
func foldsTo(b []byte, name string) bool {
	if len(b) != len(name) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != name[i] {
			return false
		}
	}
	return true
}

// httpPart processes a part of a line; ended reports whether the part is the last one of the line. It returns the stored part of the line
// so far, which is valid until the next call. A line in one piece is not copied.
func (s *plainLayer) httpPart(r *httpReader, part []byte, ended bool) (line []byte) {
	if r.asks && (r.scans || r.within || !ended || credentials.Begins(part)) {
		s.scanField(r, part, ended)
	}
	if r.skip {
		return r.line
	}
	limit := maxValue
	if !r.first {
		limit = protocols.MaxTarget
	}
	var whole bool
	if ended && len(r.line) == 0 {
		line, whole = part[:min(len(part), limit)], len(part) <= limit
	} else {
		r.line, whole = s.bufferBytes(r.line, part, limit)
		line = r.line
	}

	switch {
	case !r.first:
		r.skip = !whole
	case len(line) == 0 || len(line) == 1 && line[0] == '\r': // perhaps the end of the header
	case isWanted(line):
		r.skip = !whole
	default:
		r.skip, r.line, line = true, r.line[:0], nil // a field that is not wanted may contain a secret
	}

	return line
}

// httpLine processes a complete line; line is the part that httpPart stored. It reports whether the header ends with the line.
func (s *plainLayer) httpLine(side Side, r *httpReader, line []byte) (done bool) {
	line = bytes.TrimSuffix(line, []byte("\r"))
	blank, whole := len(line) == 0 && !r.skip, !r.skip
	r.line, r.skip = r.line[:0], false
	switch {
	case !r.first && blank: // servers ignore empty lines before a request (RFC 9112 section 2.2)
	case !r.first && r.again:
		r.first, r.request, r.asks = true, true, side == Originator
		s.compareRequest(line)
	case !r.first:
		r.first = true
		if bytes.HasPrefix(line, []byte("HTTP/")) {
			if r.interim = s.http.response(string(line[:min(len(line), statusLine)])); !r.interim {
				s.hop.status = uint16(s.http.Status)
			}
		} else {
			r.request, r.asks = true, side == Originator
			method, _ := firstWord(line)
			s.hop.asked, s.hop.connect = true, len(method) == len("CONNECT") && string(method) == "CONNECT"
			s.sides[side].asks = true
			s.http.request(line)
		}
		s.revision++
	case blank && r.interim && s.http.Status != 101:
		*r = httpReader{line: r.line} // a final response follows the interim one
	case blank:
		if r.request {
			s.requestRead(side, r.again)
		}
		return true
	default:
		if r.request {
			s.checkField(line)
		} else {
			s.hop.framed = s.hop.framed || isFraming(line)
		}
		if !r.again {
			s.http.field(line, r.request, whole)
		}
	}

	return false
}

// endHTTP ends a direction's header. Another protocol may follow.
func (s *plainLayer) endHTTP(side Side) {
	st := &s.sides[side]
	s.endReader(&st.p.http)
	s.revision++
	if s.hop.connect && s.hop.status/100 == 2 && s.tunnels < maxTunnels {
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

// rename sets the protocol of both directions that speak HTTP/1.
func (s *streams) rename(protocol string) {
	for i := range s.sides {
		if s.sides[i].protocol == "http" {
			s.sides[i].protocol = protocol
		}
	}
}

// statusLine is how many bytes of a status line are parsed: "HTTP/1.1 200".
const statusLine = 12

// response parses a status line and reports whether the response is an interim one (1xx).
func (h *HTTP) response(line string) (interim bool) {
	if len(line) < statusLine {
		return false
	}
	if h.Version == "" {
		h.Version = names.Printable([]byte(line[5:8]))
	}
	code := 0
	for _, c := range line[9:statusLine] {
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

// request parses a request line. Only the first call has an effect.
func (h *HTTP) request(line []byte) {
	if h.Method != "" {
		return
	}
	method, rest := firstWord(line)
	target, version := firstWord(rest)
	h.Method = methodName(method)
	if number, ok := bytes.CutPrefix(version, []byte("HTTP/1.")); ok && len(number) == 1 && '0' <= number[0] && number[0] <= '9' {
		h.Version = httpVersions[number[0]-'0']
	}
	h.target(string(target))
}

// firstWord returns the first word of a request line, and the rest without whitespace before it.
func firstWord(line []byte) (word, rest []byte) {
	for len(line) > 0 && line[0] <= ' ' {
		line = line[1:]
	}
	for i, c := range line {
		if c <= ' ' {
			for rest = line[i+1:]; len(rest) > 0 && rest[0] <= ' '; {
				rest = rest[1:]
			}
			return line[:i], rest
		}
	}
	return line, nil
}

var httpVersions = [10]string{"1.0", "1.1", "1.2", "1.3", "1.4", "1.5", "1.6", "1.7", "1.8", "1.9"}

// methodName returns the method of a request. It does not allocate for the methods of RFC 9110.
func methodName(b []byte) string {
	for _, m := range [...]string{"GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE"} {
		if string(b) == m {
			return m
		}
	}
	return names.Printable(b)
}

// target parses a request target (RFC 9112 section 3.2). A host in it takes precedence over the Host header.
func (h *HTTP) target(target string) {
	scheme, rest, absolute := strings.Cut(target, "://")
	switch {
	case h.Method == "CONNECT":
		host, port, ok := names.Authority(target)
		h.setHost(host, ok && port)
		h.absolute = true
		return
	case absolute && scheme != "" && strings.Trim(strings.ToLower(scheme), schemeBytes) == "":
		at := strings.IndexAny(rest, "/?#")
		if at < 0 {
			at = len(rest)
		}
		host, _, ok := names.Authority(rest[:at])
		h.setHost(host, ok)
		h.absolute, target = true, rest[at:]
	}
	if i := strings.IndexAny(target, "?#"); i >= 0 {
		target = target[:i]
	}
	h.Path = names.Printable([]byte(target))
}

// schemeBytes are the characters of a URI scheme, in lower case (RFC 3986 section 3.1).
const schemeBytes = "abcdefghijklmnopqrstuvwxyz0123456789+-."

// setHost stores the host of a request; ok reports whether the host is valid. If a request has two different hosts, neither is stored.
func (h *HTTP) setHost(host string, ok bool) {
	switch {
	case !ok || h.Host != "" && h.Host != host:
		h.Host, h.Misnamed = "", true
	case !h.Misnamed:
		h.Host = host
	}
}

// field processes a header field; whole reports whether all of its value was stored.
func (h *HTTP) field(line []byte, request, whole bool) {
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok {
		return
	}
	value = bytes.Trim(value, " \t")
	switch {
	case foldsTo(name, "host"):
		if request && len(value) > 0 {
			h.host(string(value), whole)
		}
	case foldsTo(name, "user-agent"):
		if request && h.UserAgent == "" {
			h.UserAgent = names.Printable(value)
		}
	case foldsTo(name, "upgrade"):
		first, _, _ := strings.Cut(names.Printable(value), ",")
		h.Upgrade = strings.ToLower(strings.TrimSpace(first))
	}
}

// host processes a Host header. It is ignored if the request target has a host (RFC 9112 section 3.2.2).
func (h *HTTP) host(value string, whole bool) {
	if h.absolute {
		return
	}
	host, _, ok := names.Authority(value)
	h.setHost(host, ok && whole)
}
