package pcapfilter_test

import (
	"fmt"
	"net/netip"

	"github.com/google/gopacket/layers"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// A program is compiled for one link type. Run returns how many bytes of a packet to keep, 0 for none.
func ExampleCompile() {
	program, err := pcapfilter.Compile("tcp port 443", pcapfilter.Config{Link: wire.LinkEthernet})
	if err != nil {
		fmt.Println(err)
		return
	}

	client := netip.MustParseAddrPort("10.0.0.1:40000")
	for _, server := range []string{"10.0.0.2:443", "10.0.0.2:80"} {
		frame := capturetest.TCPFrame(client, netip.MustParseAddrPort(server), layers.TCP{SYN: true}, nil)
		kept := program.Run(&pcapfilter.Packet{Data: frame, Length: len(frame)})
		fmt.Println(server, kept > 0)
	}

	// Output:
	// 10.0.0.2:443 true
	// 10.0.0.2:80 false
}
