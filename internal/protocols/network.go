package protocols

import (
	"encoding/binary"
)

// Recognizers of network configuration and routing: DHCP, NTP and BGP.

// dhcpMessage recognizes the fields of BOOTP and DHCP's magic cookie (RFC 2131 section 3).
func dhcpMessage(b []byte) Match {
	if len(b) < 241 || b[0] != 1 && b[0] != 2 || b[2] > 16 || binary.BigEndian.Uint32(b[236:]) != 0x63825363 {
		return No
	}
	return Yes
}

// ntpPacket returns a recognizer of NTP 3 and 4 in a mode (RFC 5905 section 7.3). Its result is at most Maybe.
func ntpPacket(mode byte) func([]byte) Match {
	return func(b []byte) Match {
		if len(b) != 48 && len(b) != 68 || b[0]&7 != mode || b[0]>>3&7 < 3 || b[0]>>3&7 > 4 || b[1] > 16 || b[2] > 17 {
			return No
		}
		return Maybe
	}
}

// bgpMessage recognizes the marker, length and type of a message (RFC 4271 section 4.1).
func bgpMessage(b []byte) Match {
	if a := prefix(b, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"); a != Yes {
		return a
	}
	if len(b) < 19 {
		return More
	}
	if size := binary.BigEndian.Uint16(b[16:]); size < 19 || b[18] < 1 || b[18] > 5 {
		return No
	}
	return Yes
}
