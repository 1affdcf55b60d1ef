package tlsmsg

import (
	"strings"
	"testing"
)

// TestIsProtocolName accepts registered names (IANA "TLS ALPN Protocol IDs"), names of meshes and GREASE values, and rejects free text.
func TestIsProtocolName(t *testing.T) {
	for name := range strings.FieldsSeq("http/0.9 http/1.0 http/1.1 spdy/1 spdy/2 spdy/3 stun.turn stun.nat-discovery h2 h2c webrtc c-webrtc ftp imap pop3 managesieve coap co xmpp-client xmpp-server acme-tls/1 mqtt dot ntske/1 sunrpc h3 h3-29 smb irc nntp nnsp doq sip/2 tds/8.0 dicom postgresql radius/1.0 radius/1.1 grpc-exp istio istio-peer-exchange istio-http/1.0 istio-http/1.1 istio-h2 transport.l5d.io/v1 osm kuma \x0a\x0a \xfa\xfa") {
		if !IsProtocolName(name) {
			t.Errorf("%q is rejected", name)
		}
	}
	for _, name := range []string{"", "bob:hunter2@x/topsecretpath", "a b", "h2\n", "caf\xe9", `a\x00`, "key=value", strings.Repeat("a", 65), "\x0a\x1a", "\x00\x00"} {
		if IsProtocolName(name) {
			t.Errorf("%q is accepted", name)
		}
	}
}
