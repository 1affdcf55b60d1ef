package main

import (
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

func TestFromLoopback(t *testing.T) {
	for _, test := range []struct {
		name string
		link flow.LinkType
		data string
		want bool
	}{
		{"lo", flow.LinkEthernet, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08\x00", true},
		{"ethernet", flow.LinkEthernet, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x08\x00", false},
		{"cut off", flow.LinkEthernet, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08", false},
		{"no link header", flow.LinkRaw, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08\x00", false},
		{"cooked, lo", flow.LinkLinuxSLL, "\x00\x00\x03\x04\x00\x06\x00\x00\x00\x00\x00\x00\x00\x00\x08\x00", true},
		{"cooked, ethernet", flow.LinkLinuxSLL, "\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00\x00\x00\x08\x00", false},
		{"cooked, cut off", flow.LinkLinuxSLL, "\x00\x00\x03\x04", false},
		{"cooked 2, lo", flow.LinkLinuxSLL2, "\x08\x00\x00\x00\x00\x00\x00\x01\x03\x04\x00\x06\x00\x00\x00\x00\x00\x00\x00\x00", true},
		{"cooked 2, ethernet", flow.LinkLinuxSLL2, "\x08\x00\x00\x00\x00\x00\x00\x02\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00\x00\x00", false},
		{"cooked 2, cut off", flow.LinkLinuxSLL2, "\x08\x00\x00\x00\x00\x00\x00\x01\x03\x04", false},
	} {
		if got := fromLoopback(&flow.Packet{Link: test.link, Data: []byte(test.data)}); got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}
