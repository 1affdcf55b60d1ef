package live

import (
	"net/netip"
	"slices"
	"testing"
)

// TestResolvers: only lines with a valid nameserver count.
func TestResolvers(t *testing.T) {
	text := "search shop.svc.cluster.local\nnameserver 10.96.0.10\n# nameserver 10.0.0.1\nnameserver\nnameserver x\nnameserver fe80::1%eth0\noptions ndots:5\nnameserver ::ffff:10.0.0.2"
	want := []netip.Addr{netip.MustParseAddr("10.96.0.10"), netip.MustParseAddr("fe80::1"), netip.MustParseAddr("10.0.0.2")}
	if got := resolvers(text); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := resolvers(""); got != nil {
		t.Errorf("%v in an empty file", got)
	}
}
