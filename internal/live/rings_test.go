package live

import (
	"encoding/binary"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/tapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

func defaultFilter(c pcapfilter.Config) (pcapfilter.Program, error) { return tapfilter.Default(c), nil }

// TestRingsSplit: each packet goes into one ring, and all segments of a connection go into the TCP ring. This holds even after
// an extension header, which BIG TCP puts before large segments.
func TestRingsSplit(t *testing.T) {
	c := pcapfilter.Config{Link: wire.LinkEthernet, Live: true}
	rings, filters, err := splitFilter(defaultFilter, c)
	if err != nil {
		t.Fatal(err)
	}
	ip6 := func(next byte, after ...byte) []byte {
		b := append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, next, 64}, make([]byte, 32)...)
		b = append(append(b, after...), make([]byte, 60)...)
		binary.BigEndian.PutUint16(b[18:], uint16(len(b)-54))
		return b
	}
	ip4 := func(proto byte) []byte {
		return append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 80, 0, 0, 0, 0, 64, proto}, make([]byte, 70)...)
	}
	for name, p := range map[string]struct {
		data []byte
		tcp  bool
	}{
		"TCP":                   {ip4(6), true},
		"UDP":                   {ip4(17), false},
		"TCP over IPv6":         {ip6(6), true},
		"UDP over IPv6":         {ip6(17), false},
		"BIG TCP":               {ip6(0, 6, 0, 0xc2, 4, 0, 3, 0, 0), true},
		"TCP after options":     {ip6(60, 6, 0, 1, 4, 0, 0, 0, 0), true},
		"TCP after routing":     {ip6(43, 6, 0, 0, 0, 0, 0, 0, 0), true},
		"TCP in a fragment":     {ip6(44, 6, 0, 0, 1, 0, 0, 0, 1), true},
		"multicast listeners":   {ip6(0, 58, 0, 5, 2, 0, 0, 1, 0), false},
		"UDP with IPv6 options": {ip6(0, 17, 0, 1, 4, 0, 0, 0, 0), false},
		"ARP":                   {append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 6}, make([]byte, 46)...), false},
	} {
		for _, f := range []ringFilters{rings, filters} {
			x := &pcapfilter.Packet{Data: p.data, Length: len(p.data)}
			if tcp, other := f[0].Run(x) > 0, f[1].Run(x) > 0; tcp != p.tcp || other == tcp {
				t.Errorf("%s: in the TCP ring: %t, in the other: %t", name, tcp, other)
			}
		}
	}
}
