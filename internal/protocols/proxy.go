package protocols

import (
	"bytes"
)

// Recognizers of proxies: SOCKS and the PROXY protocol.

// socks5Methods recognizes a client's first message, which must fill b: version, count and methods (RFC 1928 section 3).
func socks5Methods(b []byte) Match {
	if a := prefix(b, "\x05"); a != Yes {
		return a
	}
	if len(b) < 2 || len(b) < 2+int(b[1]) {
		return More
	}
	if b[1] == 0 || len(b) > 2+int(b[1]) {
		return No
	}
	return Yes
}

// socks5Choice recognizes a server's first message: version and the selected method. The reply to the request may follow.
func socks5Choice(b []byte) Match {
	if a := prefix(b, "\x05"); a != Yes {
		return a
	}
	if len(b) < 2 {
		return More
	}
	if b[1] > 2 && b[1] != 0xff || len(b) > 2 && b[2] != 5 && b[2] != 1 {
		return No
	}
	return Yes
}

// socks4Request recognizes version 4, CONNECT or BIND, port, address, and a user that ends with a NUL. In SOCKS4a a host name follows,
// which also ends with a NUL. The request must fill b.
func socks4Request(b []byte) Match {
	if a := anyOf("\x04\x01", "\x04\x02")(b); a != Yes {
		return a
	}
	if len(b) < 9 {
		return More
	}
	nuls := 1
	if b[4] == 0 && b[5] == 0 && b[6] == 0 && b[7] != 0 {
		nuls = 2
	}
	if len(b) > 600 {
		return No
	}
	for i, c := range b[8:] {
		switch {
		case c == 0:
			if nuls--; nuls == 0 {
				if i+9 == len(b) {
					return Yes
				}
				return No
			}
		case c < 0x20 || c > 0x7e:
			return No
		}
	}

	return More
}

// socks4Reply recognizes version 0, a code from 90 to 93, port and address.
func socks4Reply(b []byte) Match {
	if len(b) > 0 && b[0] != 0 || len(b) > 1 && (b[1] < 90 || b[1] > 93) || len(b) > 8 {
		return No
	}
	if len(b) < 8 {
		return More
	}
	return Yes
}

// First bytes of the two versions of PROXY headers.
const (
	proxyV1 = "PROXY "
	proxyV2 = "\r\n\r\n\x00\r\nQUIT\n"
)

// ProxyHeader recognizes a header of the PROXY protocol, version 1 or 2 (haproxy.org/download/3.0/doc/proxy-protocol.txt). It returns the
// size of the header in bytes. The proxied connection's own bytes follow the header.
func ProxyHeader(b []byte) (size int, a Match) {
	if a := anyOf(proxyV1, proxyV2)(b); a != Yes {
		return 0, a
	}
	if b[0] == 'P' {
		end := bytes.IndexByte(b[:min(len(b), 108)], '\n')
		switch {
		case end < 0 && len(b) >= 108, end > 0 && b[end-1] != '\r':
			return 0, No
		case end < 0:
			return 0, More
		}
		return end + 1, Yes
	}

	if len(b) < 16 {
		return 0, More
	}
	size = 16 + int(b[14])<<8 + int(b[15])
	switch {
	case b[12]>>4 != 2 || size > MaxHead:
		return 0, No
	case len(b) < size:
		return 0, More
	}
	return size, Yes
}
