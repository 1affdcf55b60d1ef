package tlsmsg

import (
	"strings"
	"testing"
)

func TestSPIFFE(t *testing.T) {
	for in, want := range map[string]bool{
		"spiffe://cluster.local/ns/shop/sa/web": true, "spiffe://mesh/web_shop_svc_80": true, "spiffe://td": true, "spiffe://a-b_c.1/X.y-z_0": true,
		"spiffe://11111111-2222-3333-4444-555555555555.consul/ns/default/dc/dc1/svc/web": true,
		"": false, "spiffe://": false, "spiffe:///a": false, "spiffe://td/": false, "spiffe://td//a": false, "spiffe://td/a/": false, "spiffe://td/./a": false,
		"spiffe://td/../a": false, "spiffe://TD/a": false, "spiffe://u:p@td/a": false, "spiffe://td:80/a": false, "spiffe://td/a?x=y": false, "spiffe://td/a#x": false,
		"spiffe://td/a%20b": false, "spiffe://td/a b": false, "https://td/a": false, "SPIFFE://td/a": false, "spiffe://é/a": false,
		"spiffe://" + strings.Repeat("a", 256) + "/b": false, "spiffe://td/" + strings.Repeat("a", 2048): false, "spiffe://td/" + strings.Repeat("a", 2000): true,
	} {
		if got := isSPIFFE(in); got != want {
			t.Errorf("isSPIFFE(%q) = %v", in, got)
		}
	}
}
