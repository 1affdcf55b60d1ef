package dissect

import (
	"bytes"

	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
)

// follower reads what a client sends after its first HTTP request, as long as the client only repeats that request. In HTTP/1 it parses
// later requests like the first one. In HTTP/2 it parses only the headers of frames.
type follower struct {
	next *httpReader // HTTP/1: reads the next request; nil before its first byte

	hdr  [protocols.FrameHeaderSize]byte // HTTP/2
	n    int                             // bytes of hdr
	left int                             // bytes of the frame still to come
	body int                             // bytes of DATA so far
	on   bool                            // the connection is HTTP/2
}

// maxCall bounds the DATA of an HTTP/2 request that OneRequest accepts, in bytes. A health check of gRPC sends the name of a service
// (grpc.health.v1.HealthCheckRequest).
const maxCall = 300

// OneRequest reports whether all bytes of plaintext HTTP are known to belong to one request without a body, to repetitions of that request
// with the same method and path, and to their responses. In HTTP/2 one stream counts, with up to maxCall bytes of DATA. OneRequest stays
// false once a client has sent something else, or bytes were missing or not examined.
func (s *plainLayer) OneRequest() bool {
	return s.http != nil && s.http.Method != "" && !s.strayed && !s.finished && !s.failed
}

// Asking reports whether the originator's first HTTP request has begun, or may have begun, and is incomplete. The request's path or user
// agent is then unknown. A header longer than 64 KiB does not count as a request.
func (s *plainLayer) Asking() bool {
	st := &s.sides[Originator]
	if st.p == nil || s.strayed || s.finished || s.failed {
		return false
	}
	switch {
	case st.p.http != nil:
		return st.p.http.request || !st.p.http.first
	case st.p.http2 != nil:
		return s.http == nil || s.http.Method == ""
	case st.kind != KindNone || len(st.p.head) == 0:
		return false
	}
	return protocols.StartsHTTPRequest(st.p.head)
}

// OnlyDNS reports whether the connection carries only DNS. both means that both sides have sent DNS. asked means that at least one side has
// sent DNS. If a side has sent anything else, both results are false.
func (s *plainLayer) OnlyDNS() (both, asked bool) {
	if s.dns == nil || s.strayed || s.failed {
		return false, false
	}
	for i := range s.sides {
		if st := &s.sides[i]; st.kind != KindNone && st.protocol != "dns" {
			return false, false
		}
	}
	a, b := s.dns.spoke[0], s.dns.spoke[1]
	return a && b, a || b
}

// markStrayed notes that the connection may carry more than DNS or repetitions of one request.
func (s *plainLayer) markStrayed() {
	if !s.strayed {
		s.strayed = true
		s.revision++
	}
}

// followHTTP processes what a client sends after its first request of HTTP/1.
func (s *plainLayer) followHTTP(side Side, data []byte) {
	f := &s.sides[side].p.after
	for len(data) > 0 && !s.strayed {
		if f.next == nil {
			if f.next = s.pool.lineReader(true); data[0] != '\r' && data[0] != '\n' && (s.http.Method == "" || data[0] != s.http.Method[0]) {
				s.markStrayed() // the bytes are a body, or are not HTTP
				return
			}
		}
		part, rest, ended := bytes.Cut(data, []byte("\n"))
		if f.next.seen += len(part) + 1; f.next.seen > maxHTTPHeader {
			s.markStrayed()
			return
		}
		line := s.httpPart(f.next, part, ended)
		if !ended {
			return
		}
		if s.httpLine(side, f.next, line) {
			s.endReader(&f.next)
		}
		data = rest
	}
}

// compareRequest compares the first line of a later request with the first line of the first request.
func (s *plainLayer) compareRequest(line []byte) {
	var h HTTP
	h.request(line)
	if h.Misnamed || h.Method != s.http.Method || h.Path != s.http.Path || h.Version == "" {
		s.markStrayed()
	}
}

// checkField examines a header field of a request. If the field announces a body or another protocol, more than requests may follow.
func (s *plainLayer) checkField(line []byte) {
	name, value, _ := bytes.Cut(line, []byte(":"))
	switch {
	case foldsTo(name, "content-length"):
		if len(bytes.Trim(value, " \t0")) > 0 {
			s.markStrayed()
		}
	case foldsTo(name, "transfer-encoding"), foldsTo(name, "upgrade"):
		s.markStrayed()
	}
}

// followHTTP2 processes the frames after a client's first header block.
func (s *plainLayer) followHTTP2(side Side, data []byte) {
	f := &s.sides[side].p.after
	for len(data) > 0 && !s.strayed {
		if f.left > 0 {
			n := min(f.left, len(data))
			f.left, data = f.left-n, data[n:]
			continue
		}
		n := copy(f.hdr[f.n:], data)
		f.n, data = f.n+n, data[n:]
		if f.n < protocols.FrameHeaderSize {
			return
		}
		f.n, f.left = 0, int(f.hdr[0])<<16|int(f.hdr[1])<<8|int(f.hdr[2])
		switch f.hdr[3] {
		case protocols.FrameData:
			f.body += f.left
		case protocols.FramePriority, protocols.FrameReset, protocols.FrameSettings, protocols.FramePing, protocols.FrameGoAway, protocols.FrameWindowUpdate:
			f.body += max(0, f.left-maxControl)
		default:
			s.markStrayed()
		}
		if f.body > maxCall {
			s.markStrayed()
		}
	}
}

// maxControl is how many bytes of payload a frame without application content may have. Further bytes count as content.
const maxControl = 128
