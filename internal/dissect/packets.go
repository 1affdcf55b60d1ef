package dissect

import (
	"bytes"
	"encoding/binary"
)

// Recognizers of protocols over UDP. b is a whole datagram.

var packets = []recognizer{
	{protocol: "dhcp", kind: KindPlain, client: dhcpMessage, server: dhcpMessage},
	{protocol: "snmp", kind: KindEncrypted, client: snmpSealed, server: snmpSealed},
	{protocol: "snmp", kind: KindPlain, client: snmpMessage, server: snmpMessage},
	{protocol: "kerberos", kind: KindPlain, client: kerberosMessage, server: kerberosMessage},
	{protocol: "ldap", kind: KindPlain, client: ldapRequest, server: weak(ldapResponse)},
	{protocol: "radius", kind: KindPlain, client: radiusMessage, server: radiusMessage},
	{protocol: "memcached", kind: KindPlain, client: memcachedPacket(memcachedCommand), server: memcachedPacket(memcachedReply)},
	{protocol: "oncrpc", kind: KindPlain, client: oncPacket(oncCall), server: oncPacket(oncReply)},
	{protocol: "syslog", kind: KindPlain, client: syslogLine},
	{protocol: "statsd", kind: KindPlain, client: statsdLine},
	{protocol: "ntp", kind: KindPlain, client: ntpPacket(3), server: ntpPacket(4)},
}

// consultPackets asks the protocols over UDP. It reports whether one says yes, or maybe of
// this end and of the other.
func (s *Session) consultPackets(side Side, b []byte) bool {
	st, other := &s.sides[side], &s.sides[side.Other()]
	var theirs opinion
	if other.p != nil && (other.kind != KindTLS || s.unborne(side.Other())) {
		theirs = other.p.maybe
	}
	st.p.maybe = opinion{}
	for i := range packets {
		r := &packets[i]
		client, server := r.ask(r.client, b), r.ask(r.server, b)
		agreed := client == maybe && theirs.server.has(i) || server == maybe && theirs.client.has(i)
		if agreed || max(client, server) == yes || max(client, server) == maybe && other.protocol == r.protocol {
			st.kind, st.protocol = r.kind, r.protocol
			if agreed && other.protocol == "" {
				other.kind, other.protocol = r.kind, r.protocol
			}
			s.revision++
			return true
		}
		if client == maybe {
			st.p.maybe.client.add(i)
		}
		if server == maybe {
			st.p.maybe.server.add(i)
		}
	}
	return false
}

// dhcpMessage recognizes BOOTP's fields and DHCP's magic cookie (RFC 2131 section 3).
func dhcpMessage(b []byte) answer {
	if len(b) < 241 || b[0] != 1 && b[0] != 2 || b[2] > 16 || binary.BigEndian.Uint32(b[236:]) != 0x63825363 {
		return no
	}
	return yes
}

// snmpMessage recognizes a message of SNMP 1 and 2c by its version, community and PDU (RFC
// 1157 section 4, RFC 1901), and of SNMP 3 one that is authenticated and not encrypted;
// snmpSealed one that is encrypted (RFC 3412 section 6). An exchange that asks for the
// engine's id says nothing yet.
func snmpMessage(b []byte) answer {
	version, rest := snmpVersion(b)
	switch version {
	case 0, 1:
		if len(rest) < 4 || rest[0] != 4 || rest[1] > 0x7f || len(rest) < 3+int(rest[1]) {
			return no
		}
		if n := int(rest[1]); printable(rest[2:2+n]) && rest[2+n] >= 0xa0 && rest[2+n] <= 0xa8 {
			return yes
		}
	case 3:
		if flags, ok := snmpFlags(rest); ok && flags&3 == 1 {
			return yes
		}
	}
	return no
}

func snmpSealed(b []byte) answer {
	if version, rest := snmpVersion(b); version == 3 {
		if flags, ok := snmpFlags(rest); ok && flags&2 != 0 {
			return yes
		}
	}
	return no
}

// snmpVersion reads a sequence that fills b and its version, -1 if there is none.
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

// snmpFlags reads the flags of SNMP 3: behind two numbers, one byte, and the security
// model.
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

// radiusMessage recognizes a packet whose length is the datagram's and whose attributes
// fill it (RFC 2865 section 3): three of them, or a name that can be read; else a maybe.
func radiusMessage(b []byte) answer {
	if len(b) < 20 || int(binary.BigEndian.Uint16(b[2:])) != len(b) || b[0] == 0 || b[0] > 13 && (b[0] < 40 || b[0] > 45) {
		return no
	}
	attributes, named := 0, false
	for rest := b[20:]; len(rest) > 0; attributes++ {
		if len(rest) < 2 || rest[1] < 2 || int(rest[1]) > len(rest) {
			return no
		}
		named = named || rest[0] == 1 && rest[1] > 5 && printable(rest[2:rest[1]])
		rest = rest[rest[1]:]
	}
	if attributes >= 3 || named {
		return yes
	}
	return maybe
}

// memcachedPacket recognizes the frame header over UDP, of a message in one datagram, and
// the text that follows it (doc/protocol.txt, "UDP protocol").
func memcachedPacket(text func([]byte) answer) func([]byte) answer {
	return func(b []byte) answer {
		if len(b) < 10 || b[2] != 0 || b[3] != 0 || b[4] != 0 || b[5] == 0 || b[6] != 0 || b[7] != 0 {
			return no
		}
		if text(b[8:]) < maybe || odd(b[8:min(len(b), 16)]) > 0 {
			return no
		}
		return yes
	}
}

// oncPacket recognizes ONC RPC over UDP, which has no record mark.
func oncPacket(message func([]byte) answer) func([]byte) answer {
	return func(b []byte) answer {
		if len(b) < 24 || len(b) > 1<<16-4 {
			return no
		}
		var marked [64]byte
		binary.BigEndian.PutUint32(marked[:], 0x80000000|uint32(len(b)))
		return message(marked[:4+copy(marked[4:], b)])
	}
}

// statsdLine recognizes NAME:VALUE|TYPE (github.com/statsd/statsd, docs/metric_types.md).
func statsdLine(b []byte) answer {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	name, rest, ok := bytes.Cut(line, []byte(":"))
	value, typ, typed := bytes.Cut(rest, []byte("|"))
	if !ok || !typed || len(name) == 0 || len(value) == 0 || len(value) > 32 || identifier(name, len(name)) != yes || odd(b[:min(len(b), sampled)]) > 0 {
		return no
	}
	if len(bytes.Trim(value, "0123456789.+-eE:")) > 0 {
		return no
	}
	typ, _, _ = bytes.Cut(typ, []byte("|"))
	switch string(typ) {
	case "c", "g", "ms", "h", "s", "d", "m":
		if len(line) >= 8 {
			return yes
		}
	}
	return no
}

// ntpPacket recognizes a packet of NTP 3 or 4 in a mode, as a maybe (RFC 5905 section 7.3).
func ntpPacket(mode byte) func([]byte) answer {
	return func(b []byte) answer {
		if len(b) != 48 && len(b) != 68 || b[0]&7 != mode || b[0]>>3&7 < 3 || b[0]>>3&7 > 4 || b[1] > 16 || b[2] > 17 {
			return no
		}
		return maybe
	}
}
