package dissect

import (
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// TestProtocols checks that each protocol is recognized from both ends, in one piece and in pieces. Similar bytes that do not belong to
// the protocol must not be recognized.
func TestProtocols(t *testing.T) {
	for _, c := range capturetest.ProtocolSamples {
		for _, size := range []int{1 << 16, 3, 1} {
			s := New()
			for side, data := range []string{c.Client, c.Server} {
				drip(s, Side(side), []byte(data), size)
			}
			for side, data := range []string{c.Client, c.Server} {
				if kind, protocol := s.Kind(Side(side)); data != "" && (kind != KindPlain || protocol != c.Protocol) {
					t.Errorf("%s, in pieces of %d: side %d is of kind %d %q: %q", c.Protocol, size, side, kind, protocol, data)
				}
			}
		}
		for _, near := range c.LookAlikes {
			s := New()
			s.Data(Originator, 0, []byte(near), 0, 0)
			if kind, protocol := s.Kind(Originator); protocol == c.Protocol {
				t.Errorf("%q is recognized as %s (kind %d)", near, c.Protocol, kind)
			}
			s.Conclude()
		}
	}
}

// TestSealedProtocols checks protocols that encrypt by their own means, such as SMB 3, DCE-RPC, NFS and Oracle. They count as encrypted
// once sealed messages of both ends were seen.
func TestSealedProtocols(t *testing.T) {
	const (
		sealedSMB  = "\x00\x00\x00\x64\xfdSMB0123456789abcdef0123456789a"
		privacy    = "\x05\x00\x00\x03\x10\x00\x00\x00\x30\x00\x08\x00\x01\x00\x00\x00\xd0\x16\xd0\x16\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09\x06\x00\x00\x00\x00\x00\x00NTLMSSP\x00"
		rpcBind    = "\x05\x00\x0b\x03\x10\x00\x00\x00\x48\x00\x00\x00\x01\x00\x00\x00\xd0\x16\xd0\x16"
		gssCall    = "\x80\x00\x00\x50\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01\x86\xa3\x00\x00\x00\x04\x00\x00\x00\x01\x00\x00\x00\x06\x00\x00\x00\x18\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x03\x00\x00\x00\x04abcd"
		gssReply   = "\x80\x00\x00\x18\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x06\x00\x00\x00\x04abcd"
		rdpAsks    = "\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00"
		rdpAnswers = "\x03\x00\x00\x13\x0e\xd0\x00\x00\x12\x34\x00\x02\x00\x08\x00\x00\x00\x00\x00"
		tnsConnect = "\x00\xd5\x00\x00\x01\x00\x00\x00\x01\x3e\x01\x2c\x0c\x41\x20\x00\xff\xff\x7f\x08\x00\x00\x01\x00\x00\x9b\x00\x3a(DESCRIPTION="
		tnsAccept  = "\x00\x20\x00\x00\x02\x00\x00\x00\x01\x3e\x0c\x41\x20\x00\xff\xff\x01\x00\x00\x00\x00\x20\x41\x41\x00\x00\x00\x00\x00\x00\x00\x00"
		tnsChoice  = "\x00\x4c\x00\x00\x06\x00\x00\x00\x00\x00\xde\xad\xbe\xef\x00\x42\x13\x00\x00\x00\x00\x01\x00\x00\x02\x00\x02\x00\x00\x00\x00\x00\x04\x00\x05\x13\x00\x00\x00\x00\x01\x00\x02"
	)
	for name, c := range map[string]struct {
		talk []string
		want [2]Kind
	}{
		"smb":                         {[]string{"\x00\x00\x00\x45\xffSMB\x72\x00\x00\x00\x00\x18\x53\xc8", "\x00\x00\x00\xf8\xfeSMB\x40\x00", sealedSMB, sealedSMB}, [2]Kind{KindEncrypted, KindEncrypted}},
		"smb, attached to late":       {[]string{sealedSMB, sealedSMB}, [2]Kind{KindEncrypted, KindEncrypted}},
		"smb, plain":                  {[]string{"\x00\x00\x00\x45\xfeSMB\x40\x00", "\x00\x00\x00\xf8\xfeSMB\x40\x00"}, [2]Kind{KindPlain, KindPlain}},
		"dcerpc":                      {[]string{rpcBind, strings.Replace(rpcBind, "\x0b", "\x0c", 1), privacy, privacy}, [2]Kind{KindEncrypted, KindEncrypted}},
		"dcerpc with integrity only":  {[]string{rpcBind, strings.Replace(rpcBind, "\x0b", "\x0c", 1), strings.Replace(privacy, "\x09\x06", "\x09\x05", 1), strings.Replace(privacy, "\x09\x06", "\x09\x05", 1)}, [2]Kind{KindPlain, KindPlain}},
		"nfs with privacy":            {[]string{gssCall, gssReply}, [2]Kind{KindEncrypted, KindEncrypted}},
		"nfs with integrity only":     {[]string{strings.Replace(gssCall, "\x00\x00\x00\x03", "\x00\x00\x00\x02", 1), "\x80\x00\x00\x18\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}, [2]Kind{KindPlain, KindPlain}},
		"oracle":                      {[]string{tnsConnect, tnsAccept, "", tnsChoice + "\x11"}, [2]Kind{KindEncrypted, KindEncrypted}},
		"rdp's own security":          {[]string{rdpAsks, rdpAnswers, "\x03\x00\x00\x20\x02\xf0\x80\x64\x00\x06\x03\xeb\x70\x12\x48\x00\x00\x00abcdefghijklmn", "\x03\x00\x00\x20\x02\xf0\x80\x68\x00\x01\x03\xeb\x70\x80\x12\x88\x00\x00\x00abcdefghijklm"}, [2]Kind{KindEncrypted, KindEncrypted}},
		"rdp without it":              {[]string{rdpAsks, rdpAnswers, "\x03\x00\x00\x20\x02\xf0\x80\x64\x00\x06\x03\xeb\x70\x12\x40\x00\x00\x00abcdefghijklmn"}, [2]Kind{KindPlain, KindPlain}},
		"telnet":                      {[]string{"\xff\xfb\x26\xff\xfd\x26", "\xff\xfd\x26\xff\xfb\x26", "\xff\xfa\x26\x03\x00\xff\xf0", "\xff\xfa\x26\x03\x00\xff\xf0"}, [2]Kind{KindEncrypted, KindEncrypted}},
		"vnc with RA2":                {[]string{"RFB 003.008\n", "RFB 003.008\n", "\x81"}, [2]Kind{KindEncrypted, KindEncrypted}},
		"vnc":                         {[]string{"RFB 003.008\n", "RFB 003.008\n", "\x02"}, [2]Kind{KindPlain, KindPlain}},
		"oracle that does not choose": {[]string{tnsConnect, tnsAccept, "", tnsChoice + "\x00"}, [2]Kind{KindPlain, KindPlain}},
	} {
		s := New()
		var at [2]int64
		for i, data := range c.talk {
			s.Data(Side(i%2), at[i%2], []byte(data), at[1-i%2], 0)
			at[i%2] += int64(len(data))
		}
		for side, want := range c.want {
			if kind, protocol := s.Kind(Side(side)); kind != want {
				t.Errorf("%s: side %d is of kind %d %q, want %d", name, side, kind, protocol, want)
			}
		}
	}
}

// TestTLSWithinTDS checks TLS in packets of TDS of any size. After the handshake the TLS records are sent without packets.
func TestTLSWithinTDS(t *testing.T) {
	for _, packet := range []int{100, 512, 4096} {
		streams := streamsOf(t, 0x0303, 2)
		var wire [2][]byte
		for side, b := range streams {
			first := capturetest.TDSPrelogin
			if side == 1 {
				first = capturetest.TDSPreloginReply
			}
			wire[side] = []byte(first)
			for piece := range slices.Chunk(b[:handshakeEnd(b)], packet-8) {
				size := len(piece) + 8
				wire[side] = append(append(wire[side], 0x12, 1, byte(size>>8), byte(size), 0, 0, 0, 0), piece...)
			}
			wire[side] = append(wire[side], b[handshakeEnd(b):]...)
		}
		for _, segment := range []int{1448, 7, 1} {
			s := New()
			drip(s, Originator, wire[0][:len(capturetest.TDSPrelogin)], segment)
			drip(s, Responder, wire[1][:len(capturetest.TDSPreloginReply)], segment)
			var at [2]int64
			for side := range wire {
				at[side] = int64(len(capturetest.TDSPrelogin))
				if side == 1 {
					at[side] = int64(len(capturetest.TDSPreloginReply))
				}
				for piece := range slices.Chunk(wire[side][at[side]:], segment) {
					s.Data(Side(side), at[side], piece, -1, 0)
					at[side] += int64(len(piece))
				}
			}
			x := s.TLS()
			if x == nil || x.Hello == nil || x.Server == nil || x.Certs[0] == nil || !x.Finished[0] || !x.Finished[1] || x.Broken(Originator) || x.Broken(Responder) || s.UpgradedFrom() != "tds" {
				t.Errorf("packets of %d, segments of %d: upgraded from %q, %+v", packet, segment, s.UpgradedFrom(), x)
			}
		}
	}
}

// handshakeEnd returns the offset of the first record of application data.
func handshakeEnd(b []byte) int {
	at := 0
	for at+wire.RecordHeader <= len(b) && b[at] != wire.ContentApplicationData {
		at += wire.RecordHeader + int(b[at+3])<<8 + int(b[at+4])
	}
	return at
}
