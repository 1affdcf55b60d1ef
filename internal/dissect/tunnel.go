package dissect

import (
	"bytes"

	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
)

// CONNECT and SOCKS open a tunnel. The protocol that opens a tunnel does not show which protocol the tunnel carries, so both ends are
// recognized anew.

// maxTunnels bounds how many tunnels, each within the one before, are recognized.
const maxTunnels = 4

// hop describes the first request and response of HTTP/1 within the current tunnel.
type hop struct {
	asked   bool   // the request was seen
	connect bool   // it is a CONNECT
	framed  bool   // the response has a Content-Length or Transfer-Encoding, which a granted CONNECT never has (RFC 9110 section 9.3.6)
	status  uint16 // status of the response, 0 if it was not seen
}

// halfSeen reports whether either the request or the response may open a tunnel, and the other one was not seen.
func (h *hop) halfSeen() bool {
	return h.connect && h.status == 0 || !h.asked && h.status/100 == 2 && !h.framed
}

// loseHeader notes that the bytes after line are missing, which is the start of the first line of an HTTP header, or of another protocol. A
// tunnel may be open nevertheless. A response without a status may have had any.
func (s *plainLayer) loseHeader(line []byte) {
	switch h := &s.hop; {
	case bytes.HasPrefix(line, []byte("CONNECT ")):
		h.asked, h.connect = true, true
	case bytes.HasPrefix(line, []byte("HTTP/1.")) && h.status == 0:
		if h.status = 200; len(line) >= len("HTTP/1.1 200") {
			h.status = uint16(line[9]-'0')*100 + uint16(line[10]-'0')*10 + uint16(line[11]-'0')
		}
	}
}

// inTunnel reports whether bytes can be the first ones within a tunnel of which only the request or the response was seen: the start of TLS,
// or the method negotiation of SOCKS (RFC 1928 section 3).
func inTunnel(b []byte) bool {
	return sniffTLS(b) == protocols.Yes || len(b) >= 2 && b[0] == 5 && (len(b) == 2 || len(b) == 2+int(b[1]))
}

// openTunnel notes that the server granted a tunnel.
func (s *plainLayer) openTunnel() {
	s.tunnelOpen = true
	s.revision++
}

// granted looks at the start of a segment for a reply that opens a tunnel. It is the reply of a SOCKS server, or the reply of an HTTP
// proxy to a request that was repeated with credentials. granted returns the size of the reply in bytes, or 0.
func (s *plainLayer) granted(side Side, data []byte) int {
	switch s.sides[side].protocol {
	case "socks5":
		return socks5Granted(data)
	case "http":
		if h := &s.hop; !h.connect || h.status != 407 || protocols.HTTPResponse(data) != protocols.Yes || data[9] != '2' {
			return 0
		}
		if end := bytes.Index(data, []byte("\r\n\r\n")); end > 0 {
			return end + 4
		}
	}
	return 0
}

// socks5Granted returns the size of a reply that grants the request (RFC 1928 section 6), or 0.
func socks5Granted(b []byte) int {
	if len(b) < 5 || b[0] != 5 || b[1] != 0 || b[2] != 0 {
		return 0
	}
	size := 0
	switch b[3] {
	case 1:
		size = 4 + 4 + 2
	case 3:
		size = 4 + 1 + int(b[4]) + 2
	case 4:
		size = 4 + 16 + 2
	}
	if len(b) < size {
		return 0
	}
	return size
}

// throughTunnel processes a reply that opens a tunnel, or the first bytes in an open tunnel. It reports whether it processed data. After
// missing bytes it does nothing, because data may be from the middle of the tunnel.
func (s *Session) throughTunnel(side Side, offset int64, data []byte, ack int64) bool {
	if s.tunnels == maxTunnels || s.doubt || s.tls != nil || s.sides[side].seen > maxUpgrade {
		return false
	}
	switch {
	case s.tunnelOpen:
	case s.sides[side].protocol == "http" && s.sides[side].p.http == nil && s.hop.halfSeen() && inTunnel(data):
		s.openTunnel()
	default:
		n := s.granted(side, data)
		if n == 0 {
			return false
		}
		s.openTunnel()
		offset, data = offset+int64(n), data[n:]
	}
	if len(data) > 0 {
		s.enterTunnel(side, offset, data, ack)
	}
	return true
}

// enterTunnel recognizes both directions anew; data are the first bytes within the tunnel.
func (s *Session) enterTunnel(side Side, offset int64, data []byte, ack int64) {
	s.tunnels++
	s.tunnelOpen, s.hop, s.afterOther, s.upgraded = false, hop{}, true, s.sides[side].protocol
	s.endLogin()
	s.login.over = false
	if s.depth > 0 {
		s.preceding = KindPlain
	}
	for i := range s.sides {
		st := &s.sides[i]
		st.kind, st.protocol, st.upgrades = KindNone, "", false
		p := st.p
		if p == nil {
			continue
		}
		s.stopReading(p)
		p.maybe, p.asked, p.tries, p.chain, p.ssh = maybes{}, 0, 0, chain{}, nil
	}
	s.plainFrom = s.sides[0].seen + s.sides[1].seen
	s.revision++
	s.recognize(side, offset, data, ack)
}
