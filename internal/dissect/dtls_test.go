package dissect

import (
	"crypto/tls"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// dtlsTalk returns a conversation of DTLS 1.2, optionally with a HelloVerifyRequest.
func dtlsTalk(t testing.TB, auth capturetest.ClientAuth, verify bool) []capturetest.DTLSMessage {
	t.Helper()
	talks, err := capturetest.TLSTalk(tls.VersionTLS12, auth, 1)
	if err != nil {
		t.Fatal(err)
	}
	out := capturetest.DTLS(talks[0])
	if !verify {
		return out
	}
	cookie := capturetest.DTLSMessage{FromServer: true, Type: tlsmsg.TypeHelloVerifyRequest, Body: []byte{0xfe, 0xff, 3, 1, 2, 3}}
	again := capturetest.DTLSMessage{Type: tlsmsg.TypeClientHello, Body: slices.Clone(out[0].Body)}
	at := 2 + 32 + 1 + int(again.Body[34])
	again.Body = slices.Insert(again.Body, at+1, 1, 2, 3)
	again.Body[at] = 3
	return append([]capturetest.DTLSMessage{out[0], cookie, again}, out[1:]...)
}

// exchange passes datagrams to a session.
func exchange(s *Session, chunks []capturetest.Chunk) {
	for _, c := range chunks {
		side := Originator
		if c.FromServer {
			side = Responder
		}
		s.Datagram(side, c.Data)
	}
}

func TestDTLSWhateverTheFragments(t *testing.T) {
	talk := dtlsTalk(t, capturetest.Presented, true)
	for _, size := range []int{1, 7, 100, 1200, 1 << 14} {
		for _, shuffled := range []bool{false, true} {
			if shuffled && size < 100 {
				continue // more chunks are out of order than fit in the buffer
			}
			all := capturetest.Datagrams(talk, size)
			if shuffled {
				shuffleFlights(all)
			}
			s := New()
			for i := range all {
				exchange(s, all[i:i+1])
				exchange(s, all[i:i+1]) // the retransmission of the datagram
			}
			x := s.TLS()
			if x == nil || x.Hello == nil || x.Server == nil {
				t.Fatalf("fragments of %d, shuffled %v: no handshake", size, shuffled)
			}
			if x.Over != tlsmsg.OverDTLS || !x.HelloVerify || x.Hello.ServerName != "cart.shop.svc.cluster.local" || x.Server.Version != 0xfefd || !x.CertificateRequest || !x.ServerHelloDone || !x.CertificateVerify {
				t.Errorf("fragments of %d, shuffled %v: %+v", size, shuffled, x)
			}
			for side := range Side(2) {
				if c := x.Certs[side]; c == nil || c.Leaf == nil || !x.Finished[side] || x.LostHandshake[side] {
					t.Errorf("fragments of %d, shuffled %v, side %d: certificate %v, finished %v, lost %v", size, shuffled, side, c, x.Finished[side], x.LostHandshake[side])
				}
			}
			if got := x.Hello.JA4('d'); got[0] != 'd' {
				t.Errorf("JA4 %s", got)
			}
		}
	}
}

// shuffleFlights changes the order of consecutive datagrams of one side, except for the first hello and for protected datagrams.
func shuffleFlights(all []capturetest.Chunk) {
	r := rand.New(rand.NewPCG(7, 8))
	for i := 0; i < len(all); {
		j := i
		for j < len(all) && all[j].FromServer == all[i].FromServer && all[j].Data[0] == wire.ContentHandshake && all[j].Data[4] == 0 {
			j++
		}
		if i > 0 {
			r.Shuffle(j-i, func(a, b int) { all[i+a], all[i+b] = all[i+b], all[i+a] })
		}
		i = max(j, i+1)
	}
}

// TestDTLSLoss checks that nothing is called absent if a fragment is missing.
func TestDTLSLoss(t *testing.T) {
	all := capturetest.Datagrams(dtlsTalk(t, capturetest.Presented, false), 400)
	for lost := range all {
		s := New()
		exchange(s, slices.Delete(slices.Clone(all), lost, lost+1))
		x := s.TLS()
		if x == nil {
			continue
		}
		if x.ServerHelloDone && !x.CertificateRequest {
			t.Errorf("without datagram %d the CertificateRequest is called absent", lost)
		}
		if c := x.Certs[Originator]; c != nil && (c.Leaf == nil || c.Length != 1) {
			t.Errorf("without datagram %d the client's certificate is %+v", lost, c)
		}
	}
}

// TestDTLSFinishedComesAgain checks that a retransmitted Finished does not count as renegotiation, and that another message after it does.
func TestDTLSFinishedComesAgain(t *testing.T) {
	s := New()
	exchange(s, capturetest.Datagrams(dtlsTalk(t, capturetest.NotRequested, false), 1200))
	for _, c := range []struct{ size, want int }{{40, 1}, {40, 1}, {200, 2}} {
		s.Datagram(Originator, capturetest.DTLSRecord(wire.ContentHandshake, 1, make([]byte, c.size)))
		if got := s.TLS().SealedHandshakes[Originator]; got != c.want {
			t.Errorf("after a record of %d bytes: %d handshake messages, want %d", c.size, got, c.want)
		}
	}
}

// TestPrefixesOfDTLSHelloAreIncomplete checks that every strict prefix of a datagram with a hello is incomplete.
func TestPrefixesOfDTLSHelloAreIncomplete(t *testing.T) {
	hello := capturetest.Datagrams(dtlsTalk(t, capturetest.NotRequested, false)[:1], 1<<14)[0].Data
	for n := 1; n < len(hello); n++ {
		s := New()
		s.Datagram(Originator, hello[:n])
		s.Conclude()
		if kind, name := s.Kind(Originator); kind == KindPlain || kind == KindText || kind == KindEncrypted {
			t.Fatalf("prefix of %d bytes is of kind %d %q", n, kind, name)
		}
		if x := s.TLS(); x != nil && x.Hello != nil {
			t.Fatalf("prefix of %d bytes is a complete hello", n)
		}
	}
}

// TestDTLS13 checks that the hellos of DTLS 1.3 are parsed, and its ciphertexts counted.
func TestDTLS13(t *testing.T) {
	server := append([]byte{0xfe, 0xfd}, make([]byte, 32)...)
	server = append(server, 0, 0x13, 0x01, 0, 0, 6, 0, 43, 0, 2, 0xfe, 0xfc)
	s := New()
	exchange(s, capturetest.Datagrams([]capturetest.DTLSMessage{
		dtlsTalk(t, capturetest.NotRequested, false)[0], {FromServer: true, Type: tlsmsg.TypeServerHello, Body: server},
	}, 1200))
	for range 2 {
		s.Datagram(Originator, append([]byte{0x2f, 1, 2, 0, 20}, make([]byte, 20)...))
		s.Datagram(Responder, append([]byte{0x2f, 1, 2, 0, 20}, make([]byte, 20)...))
	}
	x := s.TLS()
	if x.Server == nil || !x.Server.TLS13() || x.Server.Version != 0xfefc || x.Protected1RTT != [2]int{2, 2} {
		t.Errorf("%+v", x)
	}
}

func FuzzDTLS(f *testing.F) {
	for _, d := range capturetest.Datagrams(dtlsTalk(f, capturetest.Presented, true), 300)[:8] {
		f.Add(d.Data, d.Data)
	}
	f.Add(capturetest.DTLSRecord(wire.ContentHandshake, 1, make([]byte, 40)), []byte{0x2f, 0, 0})
	f.Fuzz(func(t *testing.T, client, server []byte) {
		s := New()
		s.udp = &datagrams{dtls: &dtls{}}
		s.startDatagramTLS(Originator, tlsmsg.OverDTLS, "dtls")
		for size := range 3 {
			for piece := range slices.Chunk(client, 1+len(client)>>size) {
				s.Datagram(Originator, piece)
			}
			for piece := range slices.Chunk(server, 1+len(server)>>size) {
				s.Datagram(Responder, piece)
			}
		}
		check(t, s)
	})
}

// check checks the invariants of a session.
func check(t *testing.T, s *Session) {
	t.Helper()
	if s.Failed() {
		t.Fatal("the dissector panicked")
	}
	if s.buffered < 0 || s.buffered > maxBuffered {
		t.Fatalf("buffers hold %d bytes", s.buffered)
	}
	s.Conclude()
	s.Finish()
}
