package protocols

import (
	"bytes"
)

// Recognizers of remote access: SSH, Telnet and RDP.

// SSHBanner recognizes the identification string of SSH, which is one line (RFC 4253 section 4.2).
func SSHBanner(b []byte) Match {
	if a := anyOf("SSH-2.0-", "SSH-1.")(b); a != Yes {
		return a
	}
	_, a := plainLine(b, 255)
	return a
}

// telnetOptions recognizes two or more commands of Telnet at the start of b (RFC 854, RFC 855). A single command only gives Maybe.
func telnetOptions(b []byte) Match {
	if b[0] != 0xff {
		return No
	}
	commands := 0
	for rest := b; commands < 4; commands++ {
		if len(rest) == 0 || rest[0] != 0xff {
			break
		}
		if len(rest) < 3 {
			if len(rest) > 1 && (rest[1] < 0xfa || rest[1] == 0xff) {
				return No
			}
			return More
		}
		if rest[1] < 0xfa || rest[1] == 0xff || rest[2] > 49 && rest[2] < 138 {
			return No
		}
		if rest[1] != 0xfa {
			rest = rest[3:]
			continue
		}
		end := bytes.Index(rest, []byte{0xff, 0xf0})
		if end < 0 {
			if len(b) >= SampleSize {
				return No
			}
			return More
		}
		rest = rest[end+2:]
	}

	if commands < 2 {
		return Maybe
	}
	return Yes
}

// rdpRequest recognizes a client's X.224 Connection Request in a TPKT (MS-RDPBCGR section 2.2.1.1).
func rdpRequest(b []byte) Match { return tpkt(b, 0xe0) }
func rdpConfirm(b []byte) Match { return tpkt(b, 0xd0) }

// tpkt recognizes a TPKT with a message of X.224. code is the message's type.
func tpkt(b []byte, code byte) Match {
	if a := prefix(b, "\x03\x00"); a != Yes {
		return a
	}
	if len(b) < 11 {
		return More
	}
	size := int(b[2])<<8 | int(b[3])
	if b[5] == code && size >= 11 && size < 512 && int(b[4])+5 == size && b[6] == 0 && b[7] == 0 && len(b) <= size {
		return Yes
	}
	return No
}
