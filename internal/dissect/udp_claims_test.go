package dissect

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestInitialOfOneEndThenOthers checks that after an unanswered Initial, packets with short headers are taken for QUIC, and packets of
// other protocols are not.
func TestInitialOfOneEndThenOthers(t *testing.T) {
	initial := fill(seal(t, quicV1, "client in", firstID, firstID, 0, cryptoFrame(0, quicClientHello())))
	random := make([]byte, 60)
	for i, r := 0, rand.New(rand.NewPCG(3, 4)); i < len(random); i++ {
		random[i] = byte(r.Uint32())
	}
	after := func(head string, b []byte) []byte { return append([]byte(head), b...) }
	for name, c := range map[string]struct {
		data []byte
		n    int
		want Kind
	}{
		"short headers":      {after("\x45", random), 60, KindTLS},
		"the Initial again":  {initial, 3, KindTLS},
		"no fixed bit":       {after("\x05", random), 1, KindUnreadable},
		"like CoAP":          {after("\x40\x01\x12\x34\xb5items\x04cart", make([]byte, 20)), 8, KindStructured},
		"flow exports":       {after("\x00\x05\x00\x01", make([]byte, 68)), 8, KindStructured},
		"metrics":            {[]byte("cart.items:1|c"), 1, KindPlain},
		"short texts":        {[]byte("a.b=1;c"), 5, KindText},
		"STUN":               {[]byte("\x00\x01\x00\x00\x21\x12\xa4\x42abcdefghijkl"), 60, KindTLS},
		"a TURN channel":     {after("\x40\x00\x00\x3c", random), 60, KindTLS},
		"a NAT's keepalive":  {[]byte{0}, 3, KindTLS},
		"media without keys": {after("\x80\x60", random), 3, KindUnreadable},
	} {
		s := New()
		s.Datagram(Originator, initial)
		for range c.n {
			s.Datagram(Originator, bytes.Clone(c.data))
		}
		s.Conclude()
		if kind, protocol := s.Kind(Originator); kind != c.want || kind == KindStructured && protocol != "" {
			t.Errorf("%s: kind %d %q, want %d", name, kind, protocol, c.want)
		}
	}
}
