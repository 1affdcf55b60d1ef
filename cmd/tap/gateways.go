package main

import (
	"encoding/binary"
	"encoding/hex"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Where Linux shows the routes of a network namespace (proc_pid_net(5)).
const (
	routes4 = "/proc/net/route"
	routes6 = "/proc/net/ipv6_route"
)

// maxRoutes bounds what is read of such a file, in bytes. A line has some 130.
const maxRoutes = 1 << 20

// rtfGateway says that a route goes by way of its gateway (RTF_GATEWAY, linux/route.h).
const rtfGateway = 0x2

// gateways returns the default gateways of the network namespace that the process is in;
// none where they cannot be known.
func gateways() []netip.Addr {
	return slices.Concat(gateways4(contents(routes4)), gateways6(contents(routes6)))
}

func contents(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, maxRoutes)) // a part of it is better than nothing
	return string(b)
}

// gateways4 reads lines of interface, destination, gateway, flags, three counts and mask:
// addresses are numbers of the machine's byte order in hexadecimal digits.
func gateways4(text string) (out []netip.Addr) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" || !byGateway(f[3]) {
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

// gateways6 reads lines of destination and its length, source and its length, next hop,
// three counts, flags and interface: addresses are 32 hexadecimal digits.
func gateways6(text string) (out []netip.Addr) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 10 || f[1] != "00" || !byGateway(f[8]) {
			continue
		}
		var b [16]byte
		if n, err := hex.Decode(b[:], []byte(f[4])); len(f[4]) == 32 && n == len(b) && err == nil {
			out = append(out, netip.AddrFrom16(b))
		}
	}
	return out
}

func byGateway(flags string) bool {
	n, err := strconv.ParseUint(flags, 16, 32)
	return err == nil && n&rtfGateway != 0
}
