package pcapfile

import (
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// TestFromLoopback: link headers of lo are distinguished from those of other devices. Some headers
// are truncated.
func TestFromLoopback(t *testing.T) {
	for _, test := range []struct {
		name string
		link wire.LinkType
		data string
		want bool
	}{
		{"lo", wire.LinkEthernet, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08\x00", true},
		{"ethernet", wire.LinkEthernet, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x08\x00", false},
		{"cut off", wire.LinkEthernet, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08", false},
		{"no link header", wire.LinkRaw, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08\x00", false},
		{"cooked, lo", wire.LinkSLL, "\x00\x00\x03\x04\x00\x06\x00\x00\x00\x00\x00\x00\x00\x00\x08\x00", true},
		{"cooked, ethernet", wire.LinkSLL, "\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00\x00\x00\x08\x00", false},
		{"cooked, cut off", wire.LinkSLL, "\x00\x00\x03\x04", false},
		{"cooked 2, lo", wire.LinkSLL2, "\x08\x00\x00\x00\x00\x00\x00\x01\x03\x04\x00\x06\x00\x00\x00\x00\x00\x00\x00\x00", true},
		{"cooked 2, ethernet", wire.LinkSLL2, "\x08\x00\x00\x00\x00\x00\x00\x02\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00\x00\x00", false},
		{"cooked 2, cut off", wire.LinkSLL2, "\x08\x00\x00\x00\x00\x00\x00\x01\x03\x04", false},
	} {
		if got := fromLoopback(&flow.Packet{Link: test.link, Data: []byte(test.data)}); got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}
