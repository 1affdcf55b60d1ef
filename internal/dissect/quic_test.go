package dissect

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
)

// TestQUICKeys checks the keys of RFC 9001 appendix A.1 for the client's connection ID 8394c8f03e515708.
func TestQUICKeys(t *testing.T) {
	dcid, _ := hex.DecodeString("8394c8f03e515708")
	v := quicVersions[quicV1]
	initial, err := hkdf.Extract(sha256.New, dcid, v.salt)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		side, label, want string
		size              int
	}{
		{"client in", v.key, "1f369613dd76d5467730efcbe3b1a22d", 16},
		{"client in", v.iv, "fa044b2f42a3fd3b46fb255c", 12},
		{"client in", v.hp, "9f50449e04a0e810283a1e9933adedd2", 16},
		{"server in", v.key, "cf3a5331653c364c88f0f379b6067e37", 16},
		{"server in", v.iv, "0ac1493ca1905853b0bba03e", 12},
		{"server in", v.hp, "c206b8d9b9f0f37644430b490eeaa314", 16},
	} {
		if got := hex.EncodeToString(expand(expand(initial, c.side, 32), c.label, c.size)); got != c.want {
			t.Errorf("%s of %s is %s, want %s", c.label, c.side, got, c.want)
		}
	}
}

var (
	firstID  = []byte{1, 2, 3, 4, 5, 6, 7, 8} // the client's first destination connection ID
	serverID = []byte{9, 9, 9, 9}
)

// seal protects an Initial packet with the keys of a side. The keys derive from the connection ID key. to is the destination connection ID.
func seal(t testing.TB, version uint32, side string, key, to []byte, number byte, payload []byte) []byte {
	t.Helper()
	if len(payload) < 32 {
		payload = append(payload, make([]byte, 32-len(payload))...)
	}
	k := newInitialKeys(version, key, side)
	header := []byte{0xc0 | quicVersions[version].initial<<4, 0, 0, 0, 0, byte(len(to))}
	binary.BigEndian.PutUint32(header[1:], version)
	header = append(append(header, to...), 0) // no source connection ID
	header = append(header, 0)                // no token
	header = binary.BigEndian.AppendUint16(header, uint16(0x4000|(1+len(payload)+16)))
	header = append(header, number)
	nonce := bytes.Clone(k.iv)
	nonce[11] ^= number
	packet := k.aead.Seal(bytes.Clone(header), nonce, payload, header)
	at := len(header) - 1
	var mask [16]byte
	k.hp.Encrypt(mask[:], packet[at+4:at+20])
	packet[0] ^= mask[0] & 0x0f
	packet[at] ^= mask[1]
	return packet
}

// fill pads a packet to the least size of a client's datagram.
func fill(packet []byte) []byte {
	return append(packet, make([]byte, max(0, minInitial-len(packet)))...)
}

func cryptoFrame(offset int, data []byte) []byte {
	f := []byte{quicCrypto}
	f = binary.BigEndian.AppendUint16(f, 0x4000|uint16(offset))
	f = binary.BigEndian.AppendUint16(f, 0x4000|uint16(len(data)))
	return append(f, data...)
}

func quicClientHello() []byte {
	body := append([]byte{3, 3}, make([]byte, 32)...)
	body = append(body, 0, 0, 2, 0x13, 0x01, 1, 0)
	exts := []byte{0, 0, 0, 10, 0, 8, 0, 0, 5, 'q', '.', 'x', '.', 'y', 0, 16, 0, 5, 0, 3, 2, 'h', '3', 0, 43, 0, 3, 2, 3, 4}
	body = append(binary.BigEndian.AppendUint16(body, uint16(len(exts))), exts...)
	return append([]byte{tlsmsg.TypeClientHello, 0, 0, byte(len(body))}, body...)
}

func quicServerHello(retry bool) []byte {
	body := append([]byte{3, 3}, make([]byte, 32)...)
	if retry {
		copy(body[2:], "\xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91\xc2\xa2\x11\x16\x7a\xbb\x8c\x5e\x07\x9e\x09\xe2\xc8\xa8\x33\x9c")
	}
	body = append(body, 0, 0x13, 0x01, 0, 0, 12, 0, 43, 0, 2, 3, 4, 0, 51, 0, 2, 0, 29)
	return append([]byte{tlsmsg.TypeServerHello, 0, 0, byte(len(body))}, body...)
}

// TestQUICHellosOverPackets checks a ClientHello in two Initials, with CRYPTO frames out of order and PING and PADDING between them, and a
// ServerHello after an ACK.
func TestQUICHellosOverPackets(t *testing.T) {
	hello, answer := quicClientHello(), quicServerHello(false)
	for _, version := range []uint32{quicV1, quicV2} {
		first := append(cryptoFrame(40, hello[40:]), 1, 0, 0, 0)
		first = append(first, make([]byte, 1200)...)
		s := New()
		s.Datagram(Originator, seal(t, version, "client in", firstID, firstID, 1, first))
		if s.TLS().Hello != nil {
			t.Fatal("half a hello is complete")
		}
		s.Datagram(Originator, seal(t, version, "client in", firstID, firstID, 2, append(cryptoFrame(20, hello[20:50]), cryptoFrame(0, hello[:20])...)))
		if h := s.TLS().Hello; h == nil || h.ServerName != "q.x.y" || h.JA4('q')[:10] != "q13d0103h3" {
			t.Fatalf("version %#x: hello %+v", version, h)
		}
		ack := []byte{quicACK, 2, 0, 0, 1}
		s.Datagram(Responder, seal(t, version, "server in", firstID, nil, 0, append(ack, cryptoFrame(0, answer)...)))
		if h := s.TLS().Server; h == nil || !h.TLS13() || h.CipherSuite != 0x1301 || h.Group != 29 {
			t.Errorf("version %#x: answer %+v", version, h)
		}
		check(t, s)
	}
}

// TestQUICHelloInAnyOrder checks that the hello is the same however the CRYPTO stream is divided into frames, and in any order of the
// frames.
func TestQUICHelloInAnyOrder(t *testing.T) {
	hello := quicClientHello()
	var pieces [][]byte
	for at := 0; at < len(hello); at += 7 {
		pieces = append(pieces, cryptoFrame(at, hello[at:min(at+9, len(hello))])) // the pieces overlap
	}
	for range 3 {
		slices.Reverse(pieces[1:])
		s := New()
		for i, p := range pieces {
			s.Datagram(Originator, fill(seal(t, quicV1, "client in", firstID, firstID, byte(i), p)))
		}
		if h := s.TLS().Hello; h == nil || h.ServerName != "q.x.y" {
			t.Errorf("hello %+v", h)
		}
		pieces = append(pieces[1:], pieces[0])
	}
}

// TestQUICDetours checks a Retry and a version negotiation before the hello, packets before the Initial in a datagram, and a server that
// answers in another version.
func TestQUICDetours(t *testing.T) {
	hello, answer := cryptoFrame(0, quicClientHello()), cryptoFrame(0, quicServerHello(false))
	negotiation := append([]byte{0xc0, 0, 0, 0, 0, 0, byte(len(firstID))}, append(slices.Clone(firstID), 0, 0, 0, 1)...)
	retry := append([]byte{0xf0, 0, 0, 0, 1, 0, byte(len(serverID))}, append(slices.Clone(serverID), make([]byte, 40)...)...)
	zero := append([]byte{0xd0, 0, 0, 0, 1, byte(len(firstID))}, append(slices.Clone(firstID), 0, 0x40, 30)...)
	zero = append(zero, make([]byte, 30)...)

	s := New()
	s.Datagram(Originator, fill(seal(t, quicV1, "client in", firstID, firstID, 0, cryptoFrame(0, quicClientHello()[:20]))))
	s.Datagram(Responder, negotiation)
	s.Datagram(Responder, retry)
	s.Datagram(Originator, fill(append(slices.Clone(zero), seal(t, quicV1, "client in", serverID, serverID, 1, hello)...)))
	s.Datagram(Responder, seal(t, quicV2, "server in", serverID, nil, 0, answer))
	s.Datagram(Originator, seal(t, quicV2, "client in", serverID, []byte{7, 7}, 2, []byte{quicPing}))
	x := s.TLS()
	if x.Hello == nil || x.Server == nil || !x.QUICRetry || x.Client != Originator {
		t.Errorf("%+v", x)
	}
	check(t, s)
}

// TestQUICHelloRetry checks a HelloRetryRequest: each end sends two hellos in its CRYPTO stream.
func TestQUICHelloRetry(t *testing.T) {
	hello, again, answer := quicClientHello(), quicServerHello(true), quicServerHello(false)
	s := New()
	s.Datagram(Originator, fill(seal(t, quicV1, "client in", firstID, firstID, 0, cryptoFrame(0, hello))))
	s.Datagram(Responder, seal(t, quicV1, "server in", firstID, nil, 0, cryptoFrame(0, again)))
	s.Datagram(Originator, fill(seal(t, quicV1, "client in", firstID, serverID, 1, cryptoFrame(len(hello), hello))))
	s.Datagram(Responder, seal(t, quicV1, "server in", firstID, nil, 1, cryptoFrame(len(again), answer)))
	if x := s.TLS(); !x.HelloRetry || !x.SecondHello || x.Server == nil || x.Server.Retry {
		t.Errorf("%+v", x)
	}
}

// TestQUICClientIsTheResponder checks that the first side in a capture need not be the client.
func TestQUICClientIsTheResponder(t *testing.T) {
	s := New()
	s.Datagram(Originator, fill(seal(t, quicV1, "server in", firstID, nil, 0, cryptoFrame(0, quicServerHello(false)))))
	s.Datagram(Responder, fill(seal(t, quicV1, "client in", firstID, firstID, 0, cryptoFrame(0, quicClientHello()))))
	if x := s.TLS(); x.Hello == nil || x.Client != Responder {
		t.Errorf("%+v", x)
	}
}

// TestQUICFirstPacketTruncated checks that the server's answer can be decrypted if only the header of the client's first packet was
// captured.
func TestQUICFirstPacketTruncated(t *testing.T) {
	s := New()
	s.Datagram(Originator, seal(t, quicV1, "client in", firstID, firstID, 0, append(cryptoFrame(0, quicClientHello()), make([]byte, 1200)...))[:100])
	s.Datagram(Responder, seal(t, quicV1, "server in", firstID, nil, 0, cryptoFrame(0, quicServerHello(false))))
	if x := s.TLS(); x == nil || x.Server == nil || x.Hello != nil || x.Client != Originator || !x.RolesKnown {
		t.Errorf("%+v", x)
	}
	check(t, s)
}

// TestQUICClose checks that the alert is read if a server refuses the connection in an Initial.
func TestQUICClose(t *testing.T) {
	s := New()
	s.Datagram(Originator, fill(seal(t, quicV1, "client in", firstID, firstID, 0, cryptoFrame(0, quicClientHello()))))
	s.Datagram(Responder, seal(t, quicV1, "server in", firstID, nil, 0, []byte{quicClose, 0x41, 120, 0, 0}))
	if x := s.TLS(); len(x.Alerts) != 1 || x.Alerts[0] != (Alert{Side: Responder, Level: 2, Description: 120}) {
		t.Errorf("%+v", x.Alerts)
	}
}

// TestPrefixesOfQUICHelloAreIncomplete checks that every strict prefix of a datagram with a hello is incomplete.
func TestPrefixesOfQUICHelloAreIncomplete(t *testing.T) {
	whole := seal(t, quicV1, "client in", firstID, firstID, 0, append(cryptoFrame(0, quicClientHello()), make([]byte, 1200)...))
	for n := 1; n < len(whole); n++ {
		s := New()
		s.Datagram(Originator, whole[:n])
		s.Conclude()
		if kind, name := s.Kind(Originator); kind == KindPlain || kind == KindText || kind == KindEncrypted {
			t.Fatalf("prefix of %d bytes is of kind %d %q", n, kind, name)
		}
		if x := s.TLS(); x != nil && x.Hello != nil {
			t.Fatalf("prefix of %d bytes is a complete hello", n)
		}
	}
	hello := quicClientHello()
	for n := range len(hello) {
		s := New()
		s.Datagram(Originator, fill(seal(t, quicV1, "client in", firstID, firstID, 0, cryptoFrame(0, hello[:n]))))
		if s.TLS().Hello != nil {
			t.Fatalf("%d bytes of a CRYPTO stream are a complete hello", n)
		}
	}
}

// FuzzQUIC processes any payloads of Initial packets of both sides, and the same bytes without protection.
func FuzzQUIC(f *testing.F) {
	f.Add(cryptoFrame(0, quicClientHello()), cryptoFrame(0, quicServerHello(false)), uint8(0))
	f.Add(cryptoFrame(3, quicClientHello()[3:]), []byte{quicACKECN, 2, 0, 1, 1, 1, 1, 0, 0, 0, quicClose, 0x41, 1}, uint8(1))
	f.Fuzz(func(t *testing.T, client, server []byte, how uint8) {
		if len(client) > 4096 || len(server) > 4096 {
			return
		}
		version := uint32(quicV1)
		if how&1 != 0 {
			version = quicV2
		}
		s := New()
		s.Datagram(Originator, fill(seal(t, version, "client in", firstID, firstID, 0, slices.Clone(client))))
		s.Datagram(Responder, seal(t, version, "server in", firstID, nil, 0, slices.Clone(server)))
		s.Datagram(Originator, seal(t, version, "client in", firstID, serverID, 1, cryptoFrame(0, quicClientHello())))
		s.Datagram(Originator, client)
		s.Datagram(Responder, server)
		check(t, s)
	})
}
