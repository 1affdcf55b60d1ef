package live

import (
	"encoding/binary"
	"fmt"
	"testing"
)

// TestGateways: default gateways are read from the files of a pod behind a bridge, as Linux 6.1
// writes them.
func TestGateways(t *testing.T) {
	var b [4]byte
	copy(b[:], []byte{10, 96, 0, 1})
	gateway := fmt.Sprintf("%08X", binary.NativeEndian.Uint32(b[:]))
	four := "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n" +
		"eth0\t00000000\t" + gateway + "\t0003\t0\t0\t0\t00000000\t0\t0\t0\n" +
		"eth0\t0000600A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n" +
		"eth0\t0000610A\t0100600B\t0003\t0\t0\t0\t0000FFFF\t0\t0\t0\n" + // a gateway of one network only
		"tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n" // a default route without a gateway
	six := "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000010009600000000000000000001 00000400 00000001 00000000 00000003     eth0\n" +
		"fd000010009600000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n" +
		"00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n"
	for _, c := range []struct{ name, four, six, want string }{
		{"none", "", "", "[]"},
		{"both", four, six, "[10.96.0.1 fd00:10:96::1]"},
		{"truncated", four[:len(four)/3], six[:100], "[]"},
		{"not routes", "a b c d e f g h i j\n\n", "x 00 x x zz x x x 3 x\n", "[]"},
		{"a next hop of too many digits", "", "0 00 0 0 " + six[:64] + " 0 0 0 00000003 eth0\n", "[]"},
	} {
		if got := fmt.Sprint(append(gateways4(c.four), gateways6(c.six)...)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
