package dissect

import (
	"crypto/tls"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
)

// fragmentOf makes a fragment of a handshake message.
func fragmentOf(typ uint8, size int, seq uint16, offset int, data []byte) []byte {
	f := fragment{typ: typ, size: size, seq: seq, offset: offset, length: len(data), data: data}
	return f.whole()
}

var dtlsNumber uint16

// dtlsRecord makes a record of epoch 0 with handshake fragments.
func dtlsRecord(number uint16, fragments ...[]byte) []byte {
	body := slices.Concat(fragments...)
	b := []byte{contentHandshake, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, byte(number >> 8), byte(number)}
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return append(b, body...)
}

// message is a handshake message of one side, or another datagram (typ 0xff).
type message struct {
	side Side
	typ  uint8
	body []byte
}

// dtlsTalk turns a conversation of TLS 1.2 into the messages of one over DTLS: the
// hellos get their other form, what is behind a ChangeCipherSpec is a record of epoch 1.
func dtlsTalk(t testing.TB, auth capturetest.ClientAuth, verify bool) []message {
	t.Helper()
	talks, err := capturetest.TLSTalk(tls.VersionTLS12, auth, 1)
	if err != nil {
		t.Fatal(err)
	}
	var out []message
	sealed := [2]bool{}
	pending := [2][]byte{}
	for _, c := range talks[0].Chunks {
		side := Originator
		if c.FromServer {
			side = Responder
		}
		pending[side] = append(pending[side], c.Data...)
		for len(pending[side]) >= 5 {
			b := pending[side]
			n := 5 + int(b[3])<<8 + int(b[4])
			if n > len(b) {
				break
			}
			typ, body := b[0], b[5:n]
			pending[side] = b[n:]
			switch {
			case sealed[side] || typ == contentApplicationData:
				out = append(out, message{side, 0xff, sealedRecord(typ, 1, body)})
			case typ == contentChangeCipherSpec:
				sealed[side] = true
				out = append(out, message{side, 0xff, append([]byte{20, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1}, 1)})
			default:
				for len(body) > 0 {
					size := int(body[1])<<16 | int(body[2])<<8 | int(body[3])
					out = append(out, message{side, body[0], dtlsBody(body[0], body[4:4+size])})
					body = body[4+size:]
				}
			}
		}
	}
	if !verify {
		return out
	}
	cookie := message{Responder, typeHelloVerifyRequest, []byte{0xfe, 0xff, 3, 1, 2, 3}}
	again := message{Originator, typeClientHello, slices.Clone(out[0].body)}
	at := 2 + 32 + 1 + int(again.body[34])
	again.body = slices.Insert(again.body, at+1, 1, 2, 3)
	again.body[at] = 3
	return append([]message{out[0], cookie, again}, out[1:]...)
}

func sealedRecord(typ, epoch byte, body []byte) []byte {
	b := []byte{typ, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 7}
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return append(b, body...)
}

// dtlsBody changes the hellos of TLS 1.2 to those of DTLS 1.2.
func dtlsBody(typ byte, b []byte) []byte {
	b = slices.Clone(b)
	if typ == typeClientHello || typ == typeServerHello {
		b[0], b[1] = 0xfe, 0xfd
	}
	if typ == typeClientHello {
		b = slices.Insert(b, 2+32+1+int(b[34]), 0)
	}
	return b
}

// datagramsOf cuts messages into datagrams of fragments of at most size bytes.
func datagramsOf(talk []message, size int) []message {
	var out []message
	seq := [2]uint16{}
	for _, m := range talk {
		if m.typ == 0xff {
			out = append(out, m)
			continue
		}
		for offset := 0; ; offset += size {
			end := min(offset+size, len(m.body))
			dtlsNumber++
			out = append(out, message{m.side, 0xff, dtlsRecord(dtlsNumber, fragmentOf(m.typ, len(m.body), seq[m.side], offset, m.body[offset:end]))})
			if end == len(m.body) {
				break
			}
		}
		seq[m.side]++
	}
	return out
}

func TestDTLSWhateverTheFragments(t *testing.T) {
	talk := dtlsTalk(t, capturetest.Presented, true)
	for _, size := range []int{1, 7, 100, 1200, 1 << 14} {
		for _, shuffled := range []bool{false, true} {
			if shuffled && size < 100 {
				continue // more pieces out of order than are kept
			}
			all := datagramsOf(talk, size)
			if shuffled {
				shuffleFlights(all)
			}
			s := New()
			for _, d := range all {
				s.Datagram(d.side, d.body)
				s.Datagram(d.side, d.body) // and its retransmission
			}
			x := s.TLS()
			if x == nil || x.Hello == nil || x.Server == nil {
				t.Fatalf("fragments of %d, shuffled %v: no handshake", size, shuffled)
			}
			if x.Over != OverDTLS || !x.HelloVerify || x.Hello.ServerName != "cart.shop.svc.cluster.local" || x.Server.Version != versionDTLS12 || !x.CertificateRequest || !x.ServerHelloDone || !x.CertificateVerify {
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

// shuffleFlights changes the order of the datagrams of one side that stand in a row, but
// for those that are protected.
func shuffleFlights(all []message) {
	r := rand.New(rand.NewPCG(7, 8))
	for i := 0; i < len(all); {
		j := i
		for j < len(all) && all[j].side == all[i].side && all[j].body[0] == contentHandshake && all[j].body[4] == 0 {
			j++
		}
		if i > 0 {
			r.Shuffle(j-i, func(a, b int) { all[i+a], all[i+b] = all[i+b], all[i+a] })
		}
		i = max(j, i+1)
	}
}

// A fragment that is lost leaves nothing that is called absent.
func TestDTLSLoss(t *testing.T) {
	all := datagramsOf(dtlsTalk(t, capturetest.Presented, false), 400)
	for lost := range all {
		s := New()
		for i, d := range all {
			if i != lost {
				s.Datagram(d.side, d.body)
			}
		}
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

// Every strict prefix of a datagram with a hello reads as incomplete.
func TestPrefixesOfDTLSHelloAreIncomplete(t *testing.T) {
	hello := datagramsOf(dtlsTalk(t, capturetest.NotRequested, false)[:1], 1<<14)[0].body
	for n := 1; n < len(hello); n++ {
		s := New()
		s.Datagram(Originator, hello[:n])
		s.Conclude()
		if kind, name := s.Kind(Originator); kind == KindPlain || kind == KindText || kind == KindEncrypted {
			t.Fatalf("prefix of %d bytes reads as kind %d %q", n, kind, name)
		}
		if x := s.TLS(); x != nil && x.Hello != nil {
			t.Fatalf("prefix of %d bytes reads as a whole hello", n)
		}
	}
}

// DTLS 1.3: the hellos are in the clear, what follows is a ciphertext of its own form.
func TestDTLS13(t *testing.T) {
	s := New()
	hello := dtlsTalk(t, capturetest.NotRequested, false)[0]
	s.Datagram(Originator, datagramsOf([]message{hello}, 1200)[0].body)
	server := append([]byte{0xfe, 0xfd}, make([]byte, 32)...)
	server = append(server, 0, 0x13, 0x01, 0, 0, 6, 0, extSupportedVersions, 0, 2, 0xfe, 0xfc)
	s.Datagram(Responder, dtlsRecord(0, fragmentOf(typeServerHello, len(server), 0, 0, server)))
	for range 2 {
		s.Datagram(Originator, append([]byte{0x2f, 1, 2, 0, 20}, make([]byte, 20)...))
		s.Datagram(Responder, append([]byte{0x2f, 1, 2, 0, 20}, make([]byte, 20)...))
	}
	x := s.TLS()
	if x.Server == nil || !x.Server.TLS13() || x.Server.Version != versionDTLS13 || x.Protected1RTT != [2]int{2, 2} {
		t.Errorf("%+v", x)
	}
}

func FuzzDTLS(f *testing.F) {
	for _, d := range datagramsOf(dtlsTalk(f, capturetest.Presented, true), 300)[:8] {
		f.Add(d.body, d.body)
	}
	f.Add(sealedRecord(contentHandshake, 1, make([]byte, 40)), []byte{0x2f, 0, 0})
	f.Fuzz(func(t *testing.T, client, server []byte) {
		s := New()
		s.udp = &datagrams{dtls: &dtls{}}
		s.carry(OverDTLS, "dtls")
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

// check holds what must hold of any session.
func check(t *testing.T, s *Session) {
	t.Helper()
	if s.Failed() {
		t.Fatal("the dissector panicked")
	}
	if s.held < 0 || s.held > maxHeld {
		t.Fatalf("buffers hold %d bytes", s.held)
	}
	s.Conclude()
	s.Finish()
}
