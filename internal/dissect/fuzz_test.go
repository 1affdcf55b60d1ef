package dissect

import (
	"crypto/sha256"
	"crypto/tls"
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
)

// streamsOf returns the bytes that each end of a conversation sent.
func streamsOf(t testing.TB, version uint16, auth capturetest.ClientAuth) (streams [2][]byte) {
	t.Helper()
	talks, err := capturetest.TLSTalk(version, auth, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range talks[0].Chunks {
		side := Originator
		if c.FromServer {
			side = Responder
		}
		streams[side] = append(streams[side], c.Data...)
	}
	return streams
}

// FuzzSession passes two streams to a session in pieces, with gaps, each end in turn.
func FuzzSession(f *testing.F) {
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		s := streamsOf(f, v, capturetest.Presented)
		f.Add(s[0], s[1], uint16(1448), uint16(0))
		f.Add(append([]byte("EHLO x\r\nSTARTTLS\r\n"), s[0]...), append([]byte("220 x ESMTP\r\n250 OK\r\n220 go\r\n"), s[1]...), uint16(20), uint16(0))
		again := func(side int, between string) []byte { return slices.Concat(s[side], []byte(between), s[side]) }
		f.Add(again(0, "a2 LOGIN me secret\r\na3 STARTTLS\r\n"), again(1, "a2 OK\r\na3 OK go\r\n"), uint16(7), uint16(0))
		f.Add(again(0, ""), again(1, ""), uint16(500), uint16(1002))
		f.Add(append([]byte("\x05\x01\x00CONNECT a:1 HTTP/1.1\r\n\r\n"), s[0]...), append([]byte("\x05\x00HTTP/1.1 200 OK\r\n\r\n"), s[1]...), uint16(2), uint16(0))
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), []byte("HTTP/1.1 200 OK\r\n\r\n"), uint16(3), uint16(2))
	for _, c := range capturetest.ProtocolSamples {
		f.Add([]byte(c.Client), []byte(c.Server), uint16(20), uint16(0))
	}
	f.Add([]byte{0x80, 0x2e, 1, 0, 2, 0, 5, 0, 0, 0, 16}, []byte("220 x ESMTP\r\n"), uint16(10), uint16(0))
	f.Fuzz(func(t *testing.T, client, server []byte, size, hole uint16) {
		s := New()
		step := int(size) + 1
		var at [2]int64
		streams := [2][]byte{client, server}
		for len(streams[0])+len(streams[1]) > 0 {
			for i := range streams {
				n := min(step, len(streams[i]))
				gap := int64(0)
				if hole > 0 && at[i] > 0 && at[i]%int64(hole) == 0 {
					gap = int64(hole)
				}
				s.Data(Side(i), at[i]+gap, streams[i][:n], at[1-i], gap)
				at[i] += int64(n) + gap
				streams[i] = streams[i][n:]
			}
		}
		s.Closed(Originator, false)
		s.AnsweredInPlaintext()
		check(t, s)
	})
}

// FuzzDatagram passes two datagrams, and then parts of them, to one session.
func FuzzDatagram(f *testing.F) {
	f.Add([]byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01"), []byte("\x12\x34\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01"))
	f.Add(fill(seal(f, quicV1, "client in", firstID, firstID, 0, cryptoFrame(0, quicClientHello()))), seal(f, quicV1, "server in", firstID, nil, 0, cryptoFrame(0, quicServerHello(false))))
	for i := range packetProtocols {
		f.Add([]byte(packetProtocols[i].client), []byte(packetProtocols[i].server))
	}
	f.Add([]byte("app.requests:1|c\napp.latency:12|ms\n"), []byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		s := New()
		s.Datagram(Originator, a)
		s.Datagram(Responder, b)
		for piece := range slices.Chunk(slices.Concat(a, b), 1+len(a)/2) {
			s.Datagram(Originator, piece)
		}
		check(t, s)
	})
}

// FuzzCertificates parses a Certificate message in pieces. Certificates are counted and hashed even if they are malformed.
func FuzzCertificates(f *testing.F) {
	s := streamsOf(f, tls.VersionTLS12, capturetest.NotRequested)
	for at := 0; at+9 < len(s[1]); at += 5 + int(s[1][at+3])<<8 + int(s[1][at+4]) {
		if s[1][at+5] == tlsmsg.TypeCertificate {
			f.Add(s[1][at+9:at+5+int(s[1][at+3])<<8+int(s[1][at+4])], uint16(100))
		}
	}
	f.Add([]byte{0, 0, 0}, uint16(1))
	f.Fuzz(func(t *testing.T, body []byte, size uint16) {
		x := New()
		c := newChainReader(len(body))
		for piece := range slices.Chunk(body, int(size)+1) {
			c.add(&x.memory, piece)
		}
		got := c.chain()
		if got.Length > 0 && (got.Leaf == nil) != got.Broken && !c.bad {
			t.Errorf("broken %v, leaf %v", got.Broken, got.Leaf)
		}
		if got.Length == 1 && !c.bad && c.left == 0 && len(body) == 6+got.Bytes && got.SHA256 != sha256.Sum256(body[6:]) {
			t.Error("the hash is of other bytes")
		}
	})
}
