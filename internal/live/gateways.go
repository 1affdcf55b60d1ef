package live

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Files in which Linux lists the routes of a network namespace (proc_pid_net(5)).
const (
	routes4 = "/proc/net/route"
	routes6 = "/proc/net/ipv6_route"
)

// rtfGateway is the flag of a route whose next hop is a gateway (RTF_GATEWAY, linux/route.h).
const rtfGateway = 0x2

// gateways returns the default gateways of the process's network namespace. Gateways that cannot be
// read are left out.
func gateways() []netip.Addr {
	return slices.Concat(gateways4(contents(routes4)), gateways6(contents(routes6)))
}

// gateways4 returns the default gateways in the text of routes4. A line has interface, destination, gateway, flags, three counts
// and mask. Addresses are hexadecimal numbers in the machine's byte order.
func gateways4(text string) (out []netip.Addr) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" || !hasGateway(f[3]) {
			continue
		}
		n, err := strconv.ParseUint(f[2], 16, 32)
		if err != nil {
			continue
		}
		var b [4]byte
		binary.NativeEndian.PutUint32(b[:], uint32(n))
		out = append(out, netip.AddrFrom4(b))
	}
	return out
}

// gateways6 returns the default gateways in the text of routes6. A line has destination and its prefix length, source and its
// prefix length, next hop, three counts, flags and interface. Addresses are 32 hexadecimal digits.
func gateways6(text string) (out []netip.Addr) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 10 || f[1] != "00" || !hasGateway(f[8]) {
			continue
		}
		var b [16]byte
		if unhex(b[:], f[4]) {
			out = append(out, netip.AddrFrom16(b))
		}
	}
	return out
}

func hasGateway(flags string) bool {
	n, err := strconv.ParseUint(flags, 16, 32)
	return err == nil && n&rtfGateway != 0
}
