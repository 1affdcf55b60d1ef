package tapfilter

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter/kerneltest"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// TestKernelDefault runs the default filter in the kernel on long packets.
func TestKernelDefault(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 0))
	k := kerneltest.New(t)
	for _, link := range []wire.LinkType{wire.LinkEthernet, wire.LinkRaw} {
		p := Default(pcapfilter.Config{Link: link, Live: true})
		if err := k.Attach(p); err != nil {
			t.Fatalf("the kernel refuses it: %v\n%s", err, p.Listing())
		}
		cut := 0
		for range 400 {
			s := segment{ip6: r.IntN(2) == 0, tagged: r.IntN(4) == 0 && link == wire.LinkEthernet, proto: pick(r, []byte{wire.ProtoTCP, wire.ProtoTCP, wire.ProtoTCP, wire.ProtoUDP, 50}), options: r.IntN(11)}
			for len(s.payload) < pick(r, []int{1000, 3000, 20000, 50000, 64000}) {
				s.payload = append(s.payload, record(pick(r, []byte{23, 23, 23, 23, 22, 21, 99}), pick(r, []int{0, 53, 1000, 16401}))...)
			}
			frame := s.frame()
			if link == wire.LinkRaw {
				frame = frame[14:]
			}
			packet := pcapfilter.Packet{Data: frame, Length: len(frame)}
			want := min(int(p.Run(&packet)), len(frame))
			if got := k.Run(frame); got != want {
				t.Fatalf("%s: the kernel keeps %d bytes of %d, Run %d: % x", pcapfilter.LinkName(link), got, len(frame), want, frame[:100])
			}
			if want < len(frame) {
				cut++
			}
		}
		if cut < 50 {
			t.Errorf("%s: %d packets were cut: too few to say anything", pcapfilter.LinkName(link), cut)
		}
	}
}

// TestThinAny compares the program's results with the expected ones, and with the kernel's.
func TestThinAny(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	k := kerneltest.New(t)
	for round := range 60 {
		all := randomConnections(r, 1+r.IntN(60), true)
		left := map[Connection]bool{}
		for _, c := range all {
			left[c], left[Connection{A: c.B, B: c.A}] = true, true
		}
		link := []wire.LinkType{wire.LinkEthernet, wire.LinkRaw}[round%2]
		p, err := Thin(pcapfilter.Config{Link: link, Live: true}, all)
		if err == nil {
			p, err = pcapfilter.And(p, Default(pcapfilter.Config{Link: link, Live: true}))
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Validate(); err != nil {
			t.Fatal(err)
		}
		if err := k.Attach(p); err != nil {
			t.Fatal(err)
		}
		for range 300 {
			c := all[r.IntN(len(all))]
			if r.IntN(2) == 0 {
				c = randomConnections(r, 1, true)[0]
			}
			if r.IntN(2) == 0 {
				c = Connection{A: c.B, B: c.A}
			}
			b := tcpPacket{src: c.A, dst: c.B, seq: 0x00ffffff, flags: 16, payload: []byte("x")}.bytes(link)
			taken := p.Run(&pcapfilter.Packet{Data: b, Length: len(b)}) != 0
			if taken == left[c] {
				t.Fatalf("%v > %v: taken: %t; left out are %v\n%s", c.A, c.B, taken, all, p.Listing())
			}
			if got := k.Run(b); got > 0 != taken {
				t.Fatalf("%v > %v: Run says %t, the kernel keeps %d bytes", c.A, c.B, taken, got)
			}
		}
	}
}

// TestThinRecords compares the program's results for TLS with the expected ones and with the
// kernel's. There are so many connections that the program's jumps are long.
func TestThinRecords(t *testing.T) {
	r := rand.New(rand.NewPCG(17, 18))
	k := kerneltest.New(t)
	for round := range 20 {
		all := randomConnections(r, 1+r.IntN(60), true)
		for i := range all {
			all[i].TLS = true
		}
		link := []wire.LinkType{wire.LinkEthernet, wire.LinkRaw}[round%2]
		p, err := Thin(pcapfilter.Config{Link: link, Live: true}, all)
		if err == nil {
			p, err = pcapfilter.And(p, Default(pcapfilter.Config{Link: link, Live: true}))
		}
		if err == nil {
			err = p.Validate()
		}
		if err == nil {
			err = k.Attach(p)
		}
		if err != nil {
			t.Fatal(err)
		}
		for range 300 {
			c := all[r.IntN(len(all))]
			var payload []byte
			for range r.IntN(thinSteps + 3) {
				payload = append(payload, records(1, byte(r.IntN(9)))...)
			}
			if n := len(payload); n > 0 {
				switch r.IntN(5) {
				case 0: // a packet of another length, at most 64 KiB
					binary.BigEndian.PutUint16(payload[3:], uint16(r.Uint32()))
				case 1:
					payload[r.IntN(n)] = byte(r.Uint32())
				case 2:
					payload = payload[:r.IntN(n)]
				case 3:
					payload = append(payload, "text"[:1+r.IntN(4)]...)
				}
			}
			b := tcpPacket{src: c.A, dst: c.B, seq: 0x00ffffff, flags: 16, options: r.IntN(4), payload: payload}.bytes(link)
			taken := p.Run(&pcapfilter.Packet{Data: b, Length: len(b)}) != 0
			if taken == onlyRecords(payload) {
				t.Fatalf("% x: taken: %t\n%s", payload, taken, p.Listing())
			}
			if got := k.Run(b); got > 0 != taken {
				t.Fatalf("% x: Run says %t, the kernel keeps %d bytes", payload, taken, got)
			}
		}
	}
}
