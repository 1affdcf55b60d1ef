package dissect

import (
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/protocols"
	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

func TestDatagrams(t *testing.T) {
	query := []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03org\x00\x00\x01\x00\x01")
	edns := slices.Concat(query, []byte("\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00"))
	edns[11] = 1
	reply := slices.Concat(query, []byte("\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x00\x00\x01"))
	reply[2], reply[3], reply[7] = 0x81, 0x80, 1
	mdns := []byte("\x00\x00\x84\x00\x00\x00\x00\x01\x00\x00\x00\x00\x05_http\x04_tcp\x05local\x00\x00\x0c\x80\x01\x00\x00\x11\x94\x00\x02\xc0\x0c")
	stun := []byte("\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl")
	for _, c := range []struct {
		name     string
		sent     [][]byte
		kind     Kind
		protocol string
	}{
		{"dns query", [][]byte{query}, KindPlain, "dns"},
		{"dns query with EDNS", [][]byte{edns}, KindPlain, "dns"},
		{"dns reply", [][]byte{reply}, KindPlain, "dns"},
		{"dns reply, cut short", [][]byte{reply[:len(reply)-6]}, KindPlain, "dns"},
		{"dns query, too long", [][]byte{append(slices.Clone(query), 0)}, KindUnreadable, ""},
		{"multicast dns", [][]byte{mdns}, KindPlain, "dns"},
		{"stun", [][]byte{stun}, KindUnreadable, ""},
		{"text", [][]byte{[]byte("34 2026-01-01T00:00:00Z host app - - - hello\n")}, KindText, ""},
		{"short texts", [][]byte{[]byte("a.b=1;c"), []byte("a.c=22;ms"), []byte("a.d=333;g;#x=y"), []byte("a.e=1;c")}, KindText, ""},
		{"one short text", [][]byte{[]byte("a.b=1;c")}, KindNone, ""},
		{"text after others", [][]byte{{1, 2, 3, 0xff}, []byte(`{"query":"account","user":"john"}`), []byte(`{"query":"account","user":"jane"}`)}, KindText, ""},
		{"text in turn with others", [][]byte{{1, 2, 3, 0xff}, []byte(`{"query":"account","user":"john"}`), {1, 2, 3, 0xff}, []byte(`{"query":"account","user":"jane","number":1}`)}, KindText, ""},
		{"keepalives that are text", slices.Repeat([][]byte{{1, 2, 3, 0xff}, []byte("\r\n\r\n\r\n\r\n")}, 20), KindUnreadable, ""},
		{"text after many others", append(slices.Repeat([][]byte{{1, 2, 3, 0xff}}, 2*maxDatagrams), []byte(`{"query":"account","user":"john","number":1,"iban":"DE00 0000 0000 0000"}`)), KindText, ""},
		{"text and then none", [][]byte{[]byte("a.b=1;c"), {1, 2, 3, 0xff}, []byte("this is text, and long enough to be so")}, KindUnreadable, ""},
	} {
		s := New()
		for _, b := range c.sent {
			s.Datagram(Originator, b)
		}
		if kind, protocol := s.Kind(Originator); kind != c.kind || protocol != c.protocol {
			t.Errorf("%s: kind %d %q, want %d %q", c.name, kind, protocol, c.kind, c.protocol)
		}
	}
}

// TestPlaintextDatagramsStaySo checks that a connection stays plaintext if a packet that looks like TLS follows plaintext.
func TestPlaintextDatagramsStaySo(t *testing.T) {
	initial := fill(seal(t, quicV1, "client in", firstID, firstID, 0, cryptoFrame(0, quicClientHello())))
	hello := capturetest.DTLSRecord(wire.ContentHandshake, 0, capturetest.DTLSFragment(tlsmsg.TypeClientHello, 100, 0, 0, make([]byte, 100)))
	for _, later := range [][]byte{initial, hello} {
		s := New()
		s.Datagram(Originator, []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03org\x00\x00\x01\x00\x01"))
		s.Datagram(Responder, later)
		s.Datagram(Originator, later)
		if kind, protocol := s.Kind(Originator); kind != KindPlain || protocol != "dns" || s.TLS() != nil {
			t.Errorf("kind %d %q, %+v", kind, protocol, s.TLS())
		}
	}
}

// TestPlaintextDatagramsAfterAHello checks plaintext after a first packet that is TLS or looks like TLS. The plaintext must not be
// called TLS. Either end may send it, in its first datagram or later.
func TestPlaintextDatagramsAfterAHello(t *testing.T) {
	initial := fill(seal(t, quicV1, "client in", firstID, firstID, 0, cryptoFrame(0, quicClientHello())))
	header := append([]byte{0xc0, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0x44, 0x9e}, make([]byte, 1182)...)
	dtls := capturetest.Datagrams(dtlsTalk(t, capturetest.NotRequested, false)[:1], 1<<14)[0].Data
	text := []byte("this is text, and long enough to be so")
	query := []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03org\x00\x00\x01\x00\x01")
	binary := []byte("\x00\x01\x02\x03 a binary protocol\x00\x00\x00\x01")
	type sent struct {
		side Side
		data []byte
	}
	for name, first := range map[string][]byte{"QUIC": initial, "a header": header, "DTLS": dtls} {
		for what, c := range map[string]struct {
			then  []sent
			clear bool
		}{
			"text of the other":          {[]sent{{Responder, text}}, true},
			"short texts of the other":   {[]sent{{Responder, text[:20]}, {Originator, text[:10]}, {Responder, text[:20]}}, true},
			"text of the same":           {[]sent{{Originator, text}}, true},
			"text of the same, answered": {[]sent{{Responder, first}, {Originator, text}}, true},
			"dns of the other":           {[]sent{{Responder, query}}, true},
			"binary of the other":        {[]sent{{Responder, binary}, {Responder, binary}}, false},
			"nothing":                    {nil, false},
		} {
			s := New()
			s.Datagram(Originator, first)
			for _, x := range c.then {
				s.Datagram(x.side, x.data)
			}
			if s.AnsweredInPlaintext() != c.clear || s.TLS() == nil {
				t.Errorf("%s, then %s: AnsweredInPlaintext %v, %+v", name, what, s.AnsweredInPlaintext(), s.TLS())
			}
			if s.TLS().Protected1RTT[Responder] > 0 {
				t.Errorf("%s, then %s: plaintext counts as protected", name, what)
			}
		}
	}
}

// TestDTLSAfterSTUN checks that STUN may come before DTLS (RFC 7983).
func TestDTLSAfterSTUN(t *testing.T) {
	s := New()
	stun := []byte("\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl")
	for range 3 {
		s.Datagram(Originator, stun)
		s.Datagram(Responder, stun)
	}
	s.Datagram(Responder, capturetest.Datagrams(dtlsTalk(t, capturetest.NotRequested, false)[:1], 1<<14)[0].Data)
	if x := s.TLS(); x == nil || x.Hello == nil || x.Client != Responder {
		t.Errorf("%+v", x)
	}
}

// TestDripCostsNoMore checks that the recognizers are not tried again for each of many small segments.
func TestDripCostsNoMore(t *testing.T) {
	s := New()
	letters := make([]byte, protocols.MaxHead)
	for i := range letters {
		letters[i] = 'a' + byte(i%26)
	}
	asked := 0
	for i := range letters {
		before := 0
		if p := s.sides[0].p; p != nil {
			before = p.asked
		}
		s.Data(Originator, int64(i), append([]byte("+"), letters...)[i:i+1], 0, 0)
		if s.sides[0].p.asked != before {
			asked++
		}
	}
	if asked > 120 {
		t.Errorf("the recognizers were tried %d times", asked)
	}
}
