package dissect

import (
	"bytes"
	"encoding/binary"
	"strings"
)

// Recognizers of terminals, monitoring, logs, routing and finance.

// telnetOptions recognizes two or more telnet commands at the beginning (RFC 854, RFC 855); a single one gives maybe.
func telnetOptions(b []byte) answer {
	if b[0] != 0xff {
		return no
	}
	commands := 0
	for rest := b; commands < 4; commands++ {
		if len(rest) == 0 || rest[0] != 0xff {
			break
		}
		if len(rest) < 3 {
			if len(rest) > 1 && (rest[1] < 0xfa || rest[1] == 0xff) {
				return no
			}
			return more
		}
		if rest[1] < 0xfa || rest[1] == 0xff || rest[2] > 49 && rest[2] < 138 {
			return no
		}
		if rest[1] != 0xfa {
			rest = rest[3:]
			continue
		}
		end := bytes.Index(rest, []byte{0xff, 0xf0})
		if end < 0 {
			if len(b) >= sampled {
				return no
			}
			return more
		}
		rest = rest[end+2:]
	}
	if commands < 2 {
		return maybe
	}
	return yes
}

// zabbixMessage recognizes the header of Zabbix's protocol: its name, flags, and a length.
func zabbixMessage(b []byte) answer {
	if a := prefix(b, "ZBXD"); a != yes {
		return a
	}
	if len(b) < 13 {
		return more
	}
	if b[4] == 0 || b[4] > 7 || b[8] > 0x3f {
		return no
	}
	return yes
}

const months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec "

// syslogLine recognizes a message of syslog: its priority, and a version or a month (RFC
// 5424 section 6, RFC 3164 section 4), perhaps behind its length (RFC 6587 section 3.4.1).
func syslogLine(b []byte) answer {
	i := 0
	for i < len(b) && i < 6 && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	if i > 0 {
		if i < len(b) && b[i] != ' ' || i == 6 {
			return no
		}
		i++
	}
	if i < len(b) && b[i] != '<' {
		return no
	}
	if len(b) < i+9 {
		return more
	}
	end := bytes.IndexByte(b[i:i+5], '>')
	if end < 2 || !isNumber(b[i+1:i+end]) {
		return no
	}
	switch rest := b[i+end+1:]; {
	case rest[0] == '1' && rest[1] == ' ' && (rest[2] >= '0' && rest[2] <= '9' || rest[2] == '-'):
		return yes
	case rest[3] == ' ' && strings.Contains(months, string(rest[:4])):
		return yes
	}
	return no
}

// bgpMessage recognizes the marker, a length and a type of BGP (RFC 4271 section 4.1).
func bgpMessage(b []byte) answer {
	if a := prefix(b, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"); a != yes {
		return a
	}
	if len(b) < 19 {
		return more
	}
	if size := binary.BigEndian.Uint16(b[16:]); size < 19 || b[18] < 1 || b[18] > 5 {
		return no
	}
	return yes
}
