package dissect

import (
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
)

// dhcp returns a DHCPDISCOVER.
func dhcp() string {
	return "\x01\x01\x06\x00" + strings.Repeat("\x00", 232) + "\x63\x82\x53\x63\x35\x01\x01\xff"
}

// snmp3 returns a message of SNMP 3 with flags.
func snmp3(flags string) string {
	return "\x30\x3e\x02\x01\x03\x30\x11\x02\x04\x12\x34\x56\x78\x02\x03\x00\xff\xe3\x04\x01" + flags + "\x02\x01\x03\x04\x10\x30\x0e" + strings.Repeat("\x04", 16) + "\x30\x14" + strings.Repeat("\x05", 18)
}

// packetProtocols has datagrams of both ends in each protocol (client and server), and similar
// datagrams that do not belong to it (near).
var packetProtocols = []struct {
	name           string
	kind           Kind
	client, server string
	near           []string
}{
	{"memcached", KindPlain, "\x00\x01\x00\x00\x00\x01\x00\x00get key\r\n", "\x00\x01\x00\x00\x00\x01\x00\x00VALUE key 0 1\r\nx\r\nEND\r\n", []string{"\x00\x01\x01\x00\x00\x01\x00\x00get key\r\n", "\x00\x01\x00\x00\x00\x01\x00\x00got key\r\n"}},
	{"radius", KindPlain, "\x01\x07\x00\x26abcdefghijklmnop\x01\x08alicex\x04\x06\x0a\x00\x00\x01\x05\x04\x00\x01", "\x02\x07\x00\x14abcdefghijklmnop", []string{"\x01\x07\x00\x27abcdefghijklmnop\x01\x08alicex\x04\x06\x0a\x00\x00\x01\x05\x04\x00\x01", "\x1f\x07\x00\x14abcdefghijklmnop"}},
	{"snmp", KindPlain, "\x30\x1d\x02\x01\x01\x04\x06public\xa0\x10\x02\x01\x01\x02\x01\x00\x02\x01\x00\x30\x05\x30\x03\x06\x01\x2b", "\x30\x1d\x02\x01\x01\x04\x06public\xa2\x10\x02\x01\x01\x02\x01\x00\x02\x01\x00\x30\x05\x30\x03\x06\x01\x2b", []string{"\x30\x1e\x02\x01\x01\x04\x06public\xa0\x10\x02\x01\x01\x02\x01\x00\x02\x01\x00\x30\x05\x30\x03\x06\x01\x2b"}},
	{"snmp", KindPlain, snmp3("\x05"), snmp3("\x01"), nil},
	{"snmp", KindEncrypted, snmp3("\x07"), snmp3("\x03"), []string{snmp3("\x04")}},
	{"dhcp", KindPlain, dhcp(), "\x02" + dhcp()[1:], []string{"\x03" + dhcp()[1:]}},
	{"syslog", KindPlain, "<34>1 2003-10-11T22:14:15.003Z host su - ID47 - m", "", []string{"<34>"}},
	{"statsd", KindPlain, "app.requests:1|c\napp.latency:12|ms\n", "", []string{"app.requests:1|x", "app requests:1|c", "app.requests:one|c"}},
	{"kerberos", KindPlain, capturetest.KerberosRequest, capturetest.KerberosReply, []string{"\x6f" + capturetest.KerberosRequest[1:]}},
	{"oncrpc", KindPlain, "\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01\x86\xa0\x00\x00\x00\x02\x00\x00\x00\x03" + strings.Repeat("\x00", 8) + strings.Repeat("\x00", 8), "\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00" + strings.Repeat("\x00", 8) + "\x00\x00\x00\x00\x00\x00\x08\x01", nil},
	{"ntp", KindPlain, "\x23\x00\x06\xec" + strings.Repeat("\x00", 44), "\x24\x02\x06\xec" + strings.Repeat("\x01", 44), []string{"\x23\x00\x06\xec" + strings.Repeat("\x00", 40)}},
	{"ldap", KindPlain, "0\x25\x02\x01\x02c\x20\x04\x00\x0a\x01\x00\x0a\x01\x00\x02\x01\x00\x02\x01\x00\x01\x01\x00\x87\x0bobjectclass0\x00", "", nil},
}

func TestPackets(t *testing.T) {
	for i := range packetProtocols {
		c := &packetProtocols[i]
		s := New()
		for side, data := range []string{c.client, c.server} {
			if data != "" {
				s.Datagram(Side(side), []byte(data))
			}
		}
		for side, data := range []string{c.client, c.server} {
			if kind, protocol := s.Kind(Side(side)); data != "" && (kind != c.kind || protocol != c.name) {
				t.Errorf("%s: side %d is of kind %d %q: %q", c.name, side, kind, protocol, data)
			}
		}
		for _, near := range c.near {
			s := New()
			s.Datagram(Originator, []byte(near))
			if kind, protocol := s.Kind(Originator); protocol == c.name {
				t.Errorf("%q is recognized as %s (kind %d)", near, c.name, kind)
			}
		}
	}
}
