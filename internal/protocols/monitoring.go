package protocols

import (
	"bytes"
	"strings"
)

// Recognizers of monitoring and logs: SNMP, syslog, StatsD and Zabbix.

// snmpMessage recognizes a plaintext message of SNMP. Versions 1 and 2c are recognized by version, community and PDU (RFC 1157 section 4,
// RFC 1901). A message of version 3 must be authenticated and not encrypted (RFC 3412 section 6). A message without authentication, as in
// engine discovery, gives No, because such a message does not show how the data will be sent.
func snmpMessage(b []byte) Match {
	version, rest := snmpVersion(b)
	switch version {
	case 0, 1:
		if len(rest) < 4 || rest[0] != 4 || rest[1] > 0x7f || len(rest) < 3+int(rest[1]) {
			return No
		}
		if n := int(rest[1]); printable(rest[2:2+n]) && rest[2+n] >= 0xa0 && rest[2+n] <= 0xa8 {
			return Yes
		}
	case 3:
		if flags, ok := snmpFlags(rest); ok && flags&3 == 1 {
			return Yes
		}
	}
	return No
}

// snmpSealed recognizes an encrypted message of SNMP 3 (RFC 3412 section 6).
func snmpSealed(b []byte) Match {
	if version, rest := snmpVersion(b); version == 3 {
		if flags, ok := snmpFlags(rest); ok && flags&2 != 0 {
			return Yes
		}
	}
	return No
}

// snmpVersion returns a message's version and the bytes after it. The message must fill b; otherwise the version is -1.
func snmpVersion(b []byte) (version int, rest []byte) {
	if len(b) < 12 || b[0] != 0x30 {
		return -1, nil
	}
	at, size := 2, int(b[1])
	switch b[1] {
	case 0x81:
		at, size = 3, int(b[2])
	case 0x82:
		at, size = 4, int(b[2])<<8|int(b[3])
	}
	if at+size != len(b) || b[at] != 2 || b[at+1] != 1 {
		return -1, nil
	}
	return int(b[at+2]), b[at+3:]
}

// snmpFlags returns the msgFlags of SNMP 3.
func snmpFlags(b []byte) (flags byte, ok bool) {
	if len(b) < 2 || b[0] != 0x30 || b[1] > 0x7f {
		return 0, false
	}
	b = b[2:]
	for range 2 {
		if len(b) < 2 || b[0] != 2 || b[1] > 5 || len(b) < 2+int(b[1]) {
			return 0, false
		}
		b = b[2+int(b[1]):]
	}
	if len(b) < 6 || b[0] != 4 || b[1] != 1 || b[2] > 7 || b[3] != 2 || b[4] != 1 {
		return 0, false
	}
	return b[2], true
}

const months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec "

// syslogLine recognizes a message of syslog by its priority, followed by a version (RFC 5424 section 6) or a month (RFC 3164 section 4).
// The length of the message may come first (RFC 6587 section 3.4.1).
func syslogLine(b []byte) Match {
	i := 0
	for i < len(b) && i < 6 && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	if i > 0 {
		if i < len(b) && b[i] != ' ' || i == 6 {
			return No
		}
		i++
	}

	if i < len(b) && b[i] != '<' {
		return No
	}
	if len(b) < i+9 {
		return More
	}
	end := bytes.IndexByte(b[i:i+5], '>')
	if end < 2 || !isNumber(b[i+1:i+end]) {
		return No
	}
	switch rest := b[i+end+1:]; {
	case rest[0] == '1' && rest[1] == ' ' && (rest[2] >= '0' && rest[2] <= '9' || rest[2] == '-'):
		return Yes
	case rest[3] == ' ' && strings.Contains(months, string(rest[:4])):
		return Yes
	}
	return No
}

// statsdLine recognizes NAME:VALUE|TYPE (github.com/statsd/statsd, docs/metric_types.md).
func statsdLine(b []byte) Match {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	name, rest, ok := bytes.Cut(line, []byte(":"))
	value, typ, typed := bytes.Cut(rest, []byte("|"))
	if !ok || !typed || len(name) == 0 || len(value) == 0 || len(value) > 32 || identifier(name, len(name)) != Yes || CountNonText(b[:min(len(b), SampleSize)]) > 0 {
		return No
	}
	if len(bytes.Trim(value, "0123456789.+-eE:")) > 0 {
		return No
	}
	typ, _, _ = bytes.Cut(typ, []byte("|"))
	switch string(typ) {
	case "c", "g", "ms", "h", "s", "d", "m":
		if len(line) >= 8 {
			return Yes
		}
	}
	return No
}

// zabbixMessage recognizes Zabbix's header: "ZBXD", flags and a length.
func zabbixMessage(b []byte) Match {
	if a := prefix(b, "ZBXD"); a != Yes {
		return a
	}
	if len(b) < 13 {
		return More
	}
	if b[4] == 0 || b[4] > 7 || b[8] > 0x3f {
		return No
	}
	return Yes
}
