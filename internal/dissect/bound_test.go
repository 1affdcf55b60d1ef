package dissect

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// maxPending bounds the memory of one session, in bytes.
const maxPending = 24 << 10

// measuringError is how many bytes more weigh may return, because the runtime itself allocates meanwhile.
const measuringError = 64

// weigh returns how many bytes of heap a session uses. fresh returns a session.
func weigh(t *testing.T, fresh func(i int) *Session) int {
	t.Helper()
	const n = 500
	all := [n]*Session{}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range all {
		all[i] = fresh(i)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	held := int(int64(after.HeapAlloc)-int64(before.HeapAlloc)) / n
	runtime.KeepAlive(all)
	return held
}

// drip passes the bytes of a side to a session in pieces.
func drip(s *Session, side Side, b []byte, size int) {
	at := int64(0)
	for piece := range slices.Chunk(b, size) {
		s.Data(side, at, piece, 0, 0)
		at += int64(len(piece))
	}
}

// hugeHello returns a ClientHello whose body has size bytes: many cipher suites, empty extensions and ALPN names, and one long extension.
func hugeHello(size int) []byte {
	body := append([]byte{3, 3}, make([]byte, 32)...)
	body = append(body, 0)
	suites := make([]byte, 2*512)
	for i := range suites {
		suites[i] = byte(i)
	}
	body = binary.BigEndian.AppendUint16(body, uint16(len(suites)))
	body = append(append(body, suites...), 1, 0)
	exts := []byte{}
	for typ := range 200 {
		exts = binary.BigEndian.AppendUint16(exts, uint16(1000+typ))
		exts = append(exts, 0, 0)
	}
	names := []byte{}
	for len(names) < 8000 {
		names = append(names, 255)
		names = append(names, make([]byte, 255)...)
	}
	exts = append(exts, 0, 16)
	exts = binary.BigEndian.AppendUint16(exts, uint16(2+len(names)))
	exts = binary.BigEndian.AppendUint16(exts, uint16(len(names)))
	exts = append(exts, names...)
	exts = append(exts, 0, 0xfa)
	exts = binary.BigEndian.AppendUint16(exts, uint16(size-len(body)-len(exts)-4))
	exts = append(exts, make([]byte, size-len(body)-len(exts)-2)...)
	body = binary.BigEndian.AppendUint16(body, uint16(len(exts)))
	body = append(body, exts...)
	return append([]byte{tlsmsg.TypeClientHello, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
}

// inRecords puts handshake bytes into records.
func inRecords(b []byte) []byte {
	var out []byte
	for part := range slices.Chunk(b, 1<<14) {
		out = append(out, wire.ContentHandshake, 3, 3, byte(len(part)>>8), byte(len(part)))
		out = append(out, part...)
	}
	return out
}

// counted checks how much memory a Pool counts for a session: about held bytes, and 0 after the session is dropped.
func counted(t *testing.T, name string, held int, fill func(*Session)) {
	t.Helper()
	m := &Pool{}
	all := [10]*Session{}
	for i := range all {
		all[i] = m.New()
		fill(all[i])
	}
	if got := m.BytesInUse() / len(all); got < held*9/10 || got > held+8<<10 {
		t.Errorf("%s: %d bytes are counted of %d", name, got, held)
	}
	for i, s := range all {
		if i%2 == 0 {
			s.SetConclusion(true)
			s.Finish()
			s.Finish()
		}
		s.Drop()
		s.Drop()
	}
	if m.BytesInUse() != 0 {
		t.Errorf("%s: %d bytes are counted of none", name, m.BytesInUse())
	}
}

// TestPendingSessionIsBounded checks that a session stays within its bound for any hostile bytes.
func TestPendingSessionIsBounded(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	letters := make([]byte, 1<<16)
	for i := range letters {
		letters[i] = 'A' + byte(r.IntN(26))
	}
	hello := inRecords(hugeHello(16 << 10))
	sealed := []byte{}
	for range 200 {
		sealed = append(sealed, 23, 3, 3, 0, 1, 0)
	}
	for name, fill := range map[string]func(s *Session){
		"a request line without an end": func(s *Session) {
			drip(s, Originator, append([]byte("GET /"), letters...), 100)
			drip(s, Responder, append([]byte("HTTP/1.1 200 "), letters...), 100)
		},
		"long header fields": func(s *Session) {
			drip(s, Originator, append([]byte("GET / HTTP/1.1\r\nHost: "), letters...), 1000)
		},
		"undecided text": func(s *Session) {
			drip(s, Originator, append([]byte("+"), letters...), 7)
			drip(s, Responder, append([]byte(":"), letters...), 7)
		},
		"a ClientHello short of its end": func(s *Session) {
			drip(s, Originator, hello[:len(hello)-1], 1448)
			drip(s, Responder, append([]byte{22, 3, 3, 0x40, 0, 2, 0, 0x1f, 0xff, 3, 3}, make([]byte, 8000)...), 1000)
		},
		"a large ClientHello, records, certificates": func(s *Session) {
			drip(s, Originator, append(slices.Clone(hello), sealed...), 1448)
			drip(s, Responder, append(inRecords(append([]byte{11, 1, 0, 0, 0, 0xff, 0xfd, 0, 0xff, 0xf0}, make([]byte, 60000)...)), sealed...), 1448)
		},
		"HTTP/2 header block": func(s *Session) {
			b := []byte(protocols.HTTP2Preface)
			b = append(b, 0, 0x1f, 0x00, protocols.FrameHeaders, 0, 0, 0, 0, 1)
			b = append(b, make([]byte, 0x1eff)...)
			drip(s, Originator, b, 1448)
			drip(s, Responder, append([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0x1f, 0x00, protocols.FrameHeaders, 0, 0, 0, 0, 1}, make([]byte, 0x1eff)...), 1448)
		},
		"DTLS fragments out of order": func(s *Session) {
			for i := range 500 {
				for _, side := range []Side{Originator, Responder} {
					s.Datagram(side, capturetest.DTLSRecord(wire.ContentHandshake, 0, capturetest.DTLSFragment(tlsmsg.TypeClientHello, 60000, uint16(i%3), 100+i*100, make([]byte, 100))))
				}
			}
		},
		"QUIC CRYPTO out of order": func(s *Session) {
			q := make([]byte, 1300)
			copy(q, []byte{0xc0, 0, 0, 0, 1, 0, 0, 0, 0x44, 0x40})
			s.Datagram(Originator, q)
			for i := range 500 {
				s.quicCrypto(Originator, uint64(1+i*50), make([]byte, 40))
				s.quicCrypto(Responder, uint64(1+i*50), make([]byte, 40))
			}
		},
	} {
		held := weigh(t, func(int) *Session { s := New(); fill(s); return s })
		t.Logf("%s: %d bytes", name, held)
		if held > maxPending+measuringError {
			t.Errorf("%s: a session uses %d bytes, more than %d", name, held, maxPending)
		}
		counted(t, name, held, fill)
		s := New()
		fill(s)
		if s.Failed() || s.buffered > maxBuffered || s.buffered < 0 {
			t.Errorf("%s: failed %v, buffers hold %d", name, s.Failed(), s.buffered)
		}
		s.Finish()
		if s.buffered != 0 {
			t.Errorf("%s: finished, and %d bytes buffered", name, s.buffered)
		}
	}
}

// TestLargeCertificateMessage checks that a Certificate message of any size is counted and hashed, and that the chain is Broken if its leaf
// is too large to be parsed.
func TestLargeCertificateMessage(t *testing.T) {
	leaf := make([]byte, 100<<10)
	for i := range leaf {
		leaf[i] = byte(i * 7)
	}
	list := []byte{}
	for range 3 {
		list = append(list, byte(len(leaf)>>16), byte(len(leaf)>>8), byte(len(leaf)))
		list = append(list, leaf...)
	}
	body := append([]byte{byte(len(list) >> 16), byte(len(list) >> 8), byte(len(list))}, list...)
	message := append([]byte{tlsmsg.TypeCertificate, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
	s := New()
	drip(s, Responder, inRecords(append(slices.Clone(quicServerHello(false)), message...)), 1448)
	c := s.TLS().Certs[Responder]
	if c == nil || c.Length != 3 || c.Bytes != 3*len(leaf) || !c.Broken || c.Leaf != nil || c.SHA256 != sha256.Sum256(leaf) {
		t.Errorf("%+v", c)
	}
	if s.buffered != 0 {
		t.Errorf("%d bytes are in use", s.buffered)
	}
}

// BenchmarkData measures the processing of later bytes of a connection, which allocates nothing.
func BenchmarkData(b *testing.B) {
	sealed := append([]byte{23, 3, 3, 0x05, 0xa3}, make([]byte, 1443)...)
	for name, first := range map[string][2][]byte{
		"tls":     streamsOf(b, tls.VersionTLS13, capturetest.Presented),
		"http":    {[]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), []byte("HTTP/1.1 200 OK\r\n\r\n")},
		"unknown": {sealed[5:], sealed[5:]},
	} {
		b.Run(name, func(b *testing.B) {
			s := New()
			for side := range Side(2) {
				s.Data(side, 0, first[side], 0, 0)
			}
			for range 2 * maxTries {
				s.Data(Responder, int64(len(first[1])), sealed, -1, 0)
			}
			b.ReportAllocs()
			b.SetBytes(int64(len(sealed)))
			for b.Loop() {
				s.Data(Responder, int64(len(first[1])), sealed, -1, 0)
			}
		})
	}
}

// BenchmarkRecognize measures a connection of two short messages, from its first byte.
func BenchmarkRecognize(b *testing.B) {
	for name, talk := range map[string][2]string{
		"http":       {"GET /a HTTP/1.1\r\nHost: cart.shop\r\nUser-Agent: x\r\nAccept: */*\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"},
		"redis":      {"*1\r\n$4\r\nPING\r\n", "+PONG\r\n"},
		"unreadable": {string(make([]byte, 200)), string(make([]byte, 200))},
	} {
		b.Run(name, func(b *testing.B) {
			client, server := []byte(talk[0]), []byte(talk[1])
			b.ReportAllocs()
			for b.Loop() {
				s := New()
				s.Data(Originator, 0, client, 0, 0)
				s.Data(Responder, 0, server, int64(len(client)), 0)
				s.Finish()
			}
		})
	}
}
