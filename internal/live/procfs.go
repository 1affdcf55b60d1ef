package live

import (
	"encoding/binary"
	"encoding/hex"
	"io"
	"net/netip"
	"os"
	"strings"
)

// maxContents is the largest part of a file of /proc that is read, in bytes. The line of a route
// has some 130 bytes.
const maxContents = 1 << 20

// contents returns the first maxContents bytes of a file. It returns "" if the file cannot be read.
func contents(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	b, _ := io.ReadAll(io.LimitReader(f, maxContents)) // after an error the part that was read is used
	return string(b)
}

// resolvConf is the file that names the pod's DNS servers (resolv.conf(5)). The kubelet writes the file for each pod,
// as the pod's dnsPolicy determines.
const resolvConf = "/etc/resolv.conf"

// Resolvers returns the addresses of the pod's DNS servers.
func Resolvers() []netip.Addr { return resolvers(contents(resolvConf)) }

// resolvers returns the addresses of the nameserver lines of a resolv.conf.
func resolvers(text string) (out []netip.Addr) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil {
			out = append(out, a.Unmap().WithZone(""))
		}
	}
	return out
}

// groups returns the multicast groups that a namespace has joined. igmp is the text of /proc/net/igmp, in which addresses
// are hexadecimal numbers in the machine's byte order. igmp6 is the text of /proc/net/igmp6, in which addresses have 32
// hexadecimal digits.
func groups(igmp, igmp6 string) map[netip.Addr]struct{} {
	out := map[netip.Addr]struct{}{}
	for line := range strings.Lines(igmp) {
		var b [4]byte
		if f := strings.Fields(line); strings.HasPrefix(line, "\t") && len(f) > 0 && unhex(b[:], f[0]) {
			binary.NativeEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:]))
			out[netip.AddrFrom4(b)] = struct{}{}
		}
	}
	for line := range strings.Lines(igmp6) {
		var b [16]byte
		if f := strings.Fields(line); len(f) > 2 && unhex(b[:], f[2]) {
			out[netip.AddrFrom16(b)] = struct{}{}
		}
	}
	return out
}

// unhex decodes digits into b and reports whether they are exactly 2*len(b) hexadecimal digits.
func unhex(b []byte, digits string) bool {
	if len(digits) != 2*len(b) {
		return false
	}
	_, err := hex.Decode(b, []byte(digits))
	return err == nil
}
