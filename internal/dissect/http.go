package dissect

import (
	"bytes"
	"strconv"
	"strings"
)

// HTTP is the first request and response of cleartext HTTP/1.
type HTTP struct {
	Version   string // "1.1"
	Method    string
	Host      string // the Host header without its port, lower case
	Path      string // without the query
	UserAgent string
	Status    int
}

const maxMethod = 20

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
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		if len(b) >= maxHead {
			return no
		}
		return more
	}
	if bytes.Contains(b[:end], []byte(" HTTP/1.")) {
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

// readHTTP gathers a message's header up to its end, at most maxHead bytes, and reads
// it.
func (s *Session) readHTTP(side Side, data []byte) {
	st := &s.sides[side]
	if len(st.head) == 0 || &data[0] != &st.head[0] {
		st.head = append(st.head, data[:min(len(data), maxHead-len(st.head))]...)
	}
	end := bytes.Index(st.head, []byte("\r\n\r\n"))
	if end < 0 && len(st.head) < maxHead {
		s.readHeader(st.head)
		return
	}
	if end < 0 {
		end = len(st.head)
	}
	s.readHeader(st.head[:end])
	st.head = nil
	s.revision++
}

func (s *Session) readHeader(b []byte) {
	if s.http == nil {
		s.http = &HTTP{}
	}
	first, rest, _ := strings.Cut(string(b), "\n")
	first = strings.TrimSuffix(first, "\r")
	if strings.HasPrefix(first, "HTTP/") {
		s.http.response(first)
		return
	}
	s.http.request(first)
	for line := range strings.SplitSeq(rest, "\n") {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\r"), ":")
		if !ok {
			continue
		}
		value = clean([]byte(strings.TrimSpace(value)))
		switch strings.ToLower(name) {
		case "host":
			s.http.Host = hostOnly(value)
		case "user-agent":
			s.http.UserAgent = value
		}
	}
}

func (h *HTTP) response(line string) {
	if len(line) < 12 {
		return
	}
	if h.Version == "" {
		h.Version = clean([]byte(line[5:8]))
	}
	if code, err := strconv.Atoi(line[9:12]); err == nil {
		h.Status = code
	}
}

func (h *HTTP) request(line string) {
	if h.Method != "" {
		return
	}
	method, rest, _ := strings.Cut(line, " ")
	target, version, _ := strings.Cut(rest, " ")
	path, _, _ := strings.Cut(target, "?")
	h.Method, h.Path = clean([]byte(method)), clean([]byte(path))
	h.Version = clean([]byte(strings.TrimPrefix(version, "HTTP/")))
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
