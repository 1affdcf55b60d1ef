package dissect

import (
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
)

// FuzzMixed checks that any bytes after sealed messages can be examined, in pieces of any size and with gaps. No message may be longer than
// a length of four bytes allows.
func FuzzMixed(f *testing.F) {
	sealing := []string{"smb", "dcerpc", "oncrpc", "rdp", "ldap", "postgresql"}
	f.Add([]byte("\x00\x00\x00\x40\xfdSMB0123456789abcdef0123456789abcdef"), uint8(0), uint16(7), uint16(0))
	f.Add([]byte("\x05\x00\x00\x03\x10\x00\x00\x00\x40\x00\x10\x00\x01\x00\x00\x00\x00\x00\x00\x00"), uint8(1), uint16(3), uint16(4))
	f.Add([]byte("\x80\x00\x00\x28\x12\x34\x56\x78\x00\x00\x00\x00\x00\x00\x00\x02\x00\x01\x86\xa3\x00\x00\x00\x04\x00\x00\x00\x01\x00\x00\x00\x06"), uint8(2), uint16(40), uint16(0))
	f.Add([]byte("\x02\x0c\x0c\x00\x00\x00\x00\x00\x00\x00\x00\x00"), uint8(3), uint16(1), uint16(9))
	f.Add([]byte("0\x0c\x02\x01\x01`\x07\x02\x01\x03\x04\x00\x80\x00"), uint8(4), uint16(2), uint16(0))
	f.Add([]byte("Q\x00\x00\x00\x10SELECT 1;\x00"), uint8(5), uint16(5), uint16(0))
	f.Fuzz(func(t *testing.T, stream []byte, which uint8, size, hole uint16) {
		protocol, step := sealing[int(which)%len(sealing)], int(size)%2000+1
		s := New()
		for i := range s.sides {
			s.sides[i] = sealedStream(protocol)
		}
		for at := 0; at < len(stream); at += step {
			piece, gap := stream[at:min(at+step, len(stream))], int64(0)
			if hole > 0 && at > 0 && at%int(hole) == 0 {
				gap = int64(hole)
			}
			for i := range s.sides {
				s.Data(Side(i), int64(at), piece, -1, gap)
				if p := s.sides[i].p; p != nil && (p.watch.left < 0 || p.watch.left > 4+1<<32) {
					t.Fatalf("a message of %d bytes", p.watch.left)
				}
			}
		}
		s.Conclude()
		if s.Failed() {
			t.Fatal("failed")
		}
	})
}

// sealedStream returns a direction in which sealed messages of a protocol were seen.
func sealedStream(protocol string) stream {
	return stream{kind: KindEncrypted, protocol: protocol, sealed: true, p: &parser{}}
}

// FuzzStray checks that the stray part of a datagram extends to the datagram's end. A datagram that QuietDatagram accepts must have no
// stray part.
func FuzzStray(f *testing.F) {
	f.Add([]byte("\x17\xfe\xfd\x00\x01\x00\x00\x00\x00\x00\x01\x00\x04abcdGET coap://cart/items?key=hunter2 in the clear, and more"))
	f.Add([]byte("\x2f\x01\x02\x00\x03abc\x2c\x01\x00\x01a0"))
	f.Add([]byte("\x16\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x01\x00\x0c\x0e\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, tail := range []Tail{{}, {over: tlsmsg.OverDTLS}, {over: tlsmsg.OverDTLS, udp: udpTail{is13: true, media: true, server: true, side: Responder}}, {over: tlsmsg.OverQUIC}} {
			stray := tail.stray(b)
			if len(stray) > len(b) || string(stray) != string(b[len(b)-len(stray):]) {
				t.Fatalf("%d of %d bytes", len(stray), len(b))
			}
			for side := range Side(2) {
				if tail.QuietDatagram(side, b) && (len(stray) > 0 || tail.answers(side, b)) {
					t.Fatal("quiet, and something else")
				}
			}
		}
	})
}
