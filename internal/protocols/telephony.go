package protocols

import "slices"

// Recognizers of telephony and media: SIP, RTSP, Diameter and SMPP.

// sipMessage recognizes a message of SIP (RFC 3261), and rtspMessage a message of RTSP (RFC 7826).
func sipMessage(b []byte) Match { return lineWith(b, "SIP/2.0 ", " SIP/2.0") }
func rtspMessage(b []byte) Match {
	return max(lineWith(b, "RTSP/1.0 ", " RTSP/1.0"), lineWith(b, "RTSP/2.0 ", " RTSP/2.0"))
}

// lineWith recognizes a first line of text that begins with begin, or that begins with a method and ends with end.
func lineWith(b []byte, begin, end string) Match {
	best := prefix(b, begin)
	if best == Yes {
		return Yes
	}
	i := 0
	for i < len(b) && i <= MaxMethod && (b[i] >= 'A' && b[i] <= 'Z' || b[i] == '_') {
		i++
	}
	switch {
	case i == len(b) && i <= MaxMethod:
		return More
	case i == 0 || i > MaxMethod || b[i] != ' ':
		return best
	}

	line, a := plainLine(b, SampleSize)
	switch {
	case a == More:
		return More
	case a == Yes && len(line) > len(end) && string(line[len(line)-len(end):]) == end:
		return Yes
	}
	return best
}

// diameterCommands are the command codes of the base protocol (RFC 6733) and of common applications.
var diameterCommands = []uint32{257, 258, 265, 268, 271, 272, 274, 275, 280, 282, 283, 284, 285, 286, 287, 288, 300, 301, 302, 303, 304, 305, 306, 307, 308, 309, 316, 317, 318, 319, 320, 321, 322, 323, 324}

// diameterMessage recognizes a header of Diameter (RFC 6733 section 3).
func diameterMessage(b []byte) Match {
	switch {
	case b[0] != 1, len(b) > 1 && b[1] != 0, len(b) > 3 && b[3]&3 != 0, len(b) > 4 && b[4]&15 != 0, len(b) > 8 && b[8] > 1:
		return No
	case len(b) < 12:
		return More
	}
	size, command := int(b[2])<<8|int(b[3]), uint32(b[5])<<16|uint32(b[6])<<8|uint32(b[7])
	if size < 20 || !slices.Contains(diameterCommands, command) {
		return No
	}
	return Yes
}

// smppMessage recognizes a header of SMPP with status 0: length, command and status (SMPP 3.4 section 3.2).
func smppMessage(b []byte) Match {
	zeros := [...]int{0, 1, 5, 6, 8, 9, 10, 11}
	for _, i := range zeros {
		if i < len(b) && b[i] != 0 {
			return No
		}
	}
	if len(b) > 4 && b[4]&0x7f != 0 {
		return No
	}
	if len(b) < 16 {
		return More
	}
	if size := int(b[2])<<8 | int(b[3]); size < 16 || size > MaxHead || b[7] == 0 || b[7] > 0x21 {
		return No
	}
	return Yes
}
