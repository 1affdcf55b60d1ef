package dissect

import (
	"fmt"
	"testing"
)

// The fingerprints of a hello are the same whether another one like it was seen before or
// not, and hellos that differ in any part do not share them.
func TestMarksAreOfTheirHello(t *testing.T) {
	var m Memory
	base := func() *ClientHello {
		return &ClientHello{
			Version: 0x0303, CipherSuites: []uint16{0x1301, 0xc02b}, Extensions: []uint16{0, 10, 43}, Groups: []uint16{29, 23},
			PointFormats: []uint8{0}, SignatureSchemes: []uint16{0x0403}, Versions: []uint16{0x0304}, ALPN: []string{"h2", "http/1.1"},
		}
	}
	changes := []func(*ClientHello){
		func(*ClientHello) {},
		func(h *ClientHello) { h.Version = 0x0301 },
		func(h *ClientHello) { h.CipherSuites = h.CipherSuites[:1] },
		func(h *ClientHello) { h.Extensions = []uint16{10, 0, 43} },
		func(h *ClientHello) { h.Groups = []uint16{23, 29} },
		func(h *ClientHello) { h.PointFormats = []uint8{1} },
		func(h *ClientHello) { h.SignatureSchemes = []uint16{0x0804} },
		func(h *ClientHello) { h.Versions = []uint16{0x0303} },
		func(h *ClientHello) { h.ALPN = nil },
		func(h *ClientHello) { h.ALPN = []string{"h3"} },
		func(h *ClientHello) { h.Random[0] = 1 },
	}
	for range 2 {
		for i, change := range changes {
			for _, over := range []Over{OverTCP, OverDTLS} {
				h, want := base(), base()
				change(h)
				change(want)
				m.mark(h, over)
				want.mark(over)
				if *h.marks != *want.marks {
					t.Errorf("change %d: %+v, want %+v", i, *h.marks, *want.marks)
				}
			}
		}
	}
	for range 2 {
		for i := range 2 * maxMarked {
			h := &ServerHello{LegacyVersion: 0x0303, CipherSuite: uint16(i % 3), Extensions: []uint16{43, 51}[:i%2+1]}
			m.markServer(h)
			if want := h.computeJA3S(); h.ja3s != want {
				t.Errorf("%s of %d, want %s", h.ja3s, i, want)
			}
		}
	}
}

// The fingerprints of a hello whose like was seen before take no memory.
func TestMarksAreFoundAgain(t *testing.T) {
	var m Memory
	hellos := make([]*ClientHello, maxMarked)
	for i := range hellos {
		hellos[i] = &ClientHello{Version: 0x0303, CipherSuites: []uint16{uint16(i + 1)}, ServerName: fmt.Sprint(i)}
		m.mark(hellos[i], OverTCP)
	}
	if n := testing.AllocsPerRun(10, func() {
		for _, h := range hellos {
			m.mark(h, OverTCP)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
