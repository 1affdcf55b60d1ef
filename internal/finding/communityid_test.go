package finding

import (
	"net/netip"
	"testing"
)

// TestCommunityID compares identifiers with the output of the specification's own implementations
// (corelight/community-id-spec, pycommunityid).
func TestCommunityID(t *testing.T) {
	for _, c := range []struct {
		protocol uint8
		a, b     string
		want     string
	}{
		{6, "128.232.110.120:34855", "66.35.250.204:80", "1:LQU9qZlK+B5F3KDmev6m5PMibrg="},
		{17, "192.168.1.52:54585", "8.8.8.8:53", "1:d/FP5EW3wiY1vCndhwleRRKHowQ="},
		{6, "[2001:470:e5bf:dead:4957:2174:e82c:4887]:63943", "[2607:f8b0:400c:c03::1a]:25", "1:/qFaeAR+gFe1KYjMzVDsMv+wgU4="},
	} {
		a, b := netip.MustParseAddrPort(c.a), netip.MustParseAddrPort(c.b)
		for _, ends := range [][2]netip.AddrPort{{a, b}, {b, a}, {mapped(a), b}, {b, mapped(a)}} {
			if got := string(appendCommunityID(nil, c.protocol, ends[0], ends[1])); got != c.want {
				t.Errorf("%s > %s: %s, want %s", ends[0], ends[1], got, c.want)
			}
		}
	}
	one := netip.MustParseAddr("10.0.0.1")
	x, y := netip.AddrPortFrom(one, 1), netip.AddrPortFrom(one, 2)
	if a, b := appendCommunityID(nil, 6, x, y), appendCommunityID(nil, 6, y, x); string(a) != string(b) {
		t.Errorf("ports of one address: %s and %s", a, b)
	}
	for _, odd := range []netip.AddrPort{{}, netip.MustParseAddrPort("[::1]:1")} {
		if got := appendCommunityID(nil, 6, x, odd); len(got) != 0 {
			t.Errorf("%s > %s: %s, want nothing", x, odd, got)
		}
	}
}

// mapped returns the IPv4-mapped IPv6 form of an IPv4 address.
func mapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port())
}
