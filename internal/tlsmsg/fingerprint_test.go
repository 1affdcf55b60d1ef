package tlsmsg_test

import (
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/tlsmsg"
)

// TestJA4 has the example of FoxIO's technical_details/JA4.md.
func TestJA4(t *testing.T) {
	h := tlsmsg.ClientHello{
		Version:          0x0303,
		Versions:         []uint16{0x0a0a, 0x0304, 0x0303},
		CipherSuites:     []uint16{0x1a1a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035},
		Extensions:       []uint16{0x2a2a, 0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012, 0x002b, 0xff01, 0x000b, 0x000a, 0x0015},
		SignatureSchemes: []uint16{0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601},
		ALPN:             []string{"h2", "http/1.1"},
	}
	if got, want := h.JA4('t'), "t13d1516h2_8daaf6152771_e5627efa2ab1"; got != want {
		t.Errorf("JA4 %s, want %s", got, want)
	}
	bare := tlsmsg.ClientHello{Version: 0x0301}
	if got, want := bare.JA4('t'), "t10i000000_000000000000_000000000000"; got != want {
		t.Errorf("JA4 %s, want %s", got, want)
	}
}

// TestJA3 has the examples of JA3's README.
func TestJA3(t *testing.T) {
	h := tlsmsg.ClientHello{
		Version:      769,
		CipherSuites: []uint16{47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4},
		Extensions:   []uint16{0, 10, 11},
		Groups:       []uint16{23, 24, 25},
		PointFormats: []uint8{0},
	}
	if got, want := h.JA3(), "ada70206e40642a3e4461f35503241d5"; got != want {
		t.Errorf("JA3 %s, want %s", got, want)
	}
	h = tlsmsg.ClientHello{Version: 769, CipherSuites: []uint16{4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99}}
	if got, want := h.JA3(), "de350869b8c85de67a350c8d186f11e6"; got != want {
		t.Errorf("JA3 %s, want %s", got, want)
	}
}

// TestShapeOutlivesResumption checks that the extensions of a resumption do not change the shape.
func TestShapeOutlivesResumption(t *testing.T) {
	first := tlsmsg.ClientHello{Version: 0x0303, Versions: []uint16{0x0304}, CipherSuites: []uint16{0x1301}, Extensions: []uint16{0, 10, 43, 51}}
	again := first
	again.Extensions = []uint16{0x0a0a, 51, 43, 10, 0, 42, 44, 21, 41}
	if first.Shape() != again.Shape() {
		t.Error("the shape changed with pre_shared_key, early_data, cookie, padding, GREASE and order")
	}
	again.Extensions = []uint16{0, 10, 43, 51, 49}
	if first.Shape() == again.Shape() {
		t.Error("another extension did not change the shape")
	}
}
