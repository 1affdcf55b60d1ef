package tlsmsg

import (
	"fmt"
	"testing"
)

// TestFingerprintCache checks that fingerprints from the cache equal computed ones, and that different hellos do not share fingerprints.
func TestFingerprintCache(t *testing.T) {
	var c FingerprintCache
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
				c.FingerprintClient(h, over)
				want.computeFingerprints(over)
				if *h.fingerprints != *want.fingerprints {
					t.Errorf("change %d: %+v, want %+v", i, *h.fingerprints, *want.fingerprints)
				}
			}
		}
	}
	for range 2 {
		for i := range 2 * maxCached {
			h := &ServerHello{LegacyVersion: 0x0303, CipherSuite: uint16(i % 3), Extensions: []uint16{43, 51}[:i%2+1]}
			c.FingerprintServer(h)
			if want := h.computeJA3S(); h.ja3s != want {
				t.Errorf("hello %d: JA3S %s, want %s", i, h.ja3s, want)
			}
		}
	}
}

// TestCachedFingerprintsDoNotAllocate checks that the fingerprints of a cached hello need no allocation.
func TestCachedFingerprintsDoNotAllocate(t *testing.T) {
	var c FingerprintCache
	hellos := make([]*ClientHello, maxCached)
	for i := range hellos {
		hellos[i] = &ClientHello{Version: 0x0303, CipherSuites: []uint16{uint16(i + 1)}, ServerName: fmt.Sprint(i)}
		c.FingerprintClient(hellos[i], OverTCP)
	}
	if n := testing.AllocsPerRun(10, func() {
		for _, h := range hellos {
			c.FingerprintClient(h, OverTCP)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
