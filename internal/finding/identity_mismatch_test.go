package finding

import "testing"

// TestIdentifies: names of certificates fit the server names that they should, and no others.
func TestIdentifies(t *testing.T) {
	for _, c := range []struct {
		name, want string
		fits       bool
	}{
		{"cart.shop.svc.cluster.local", "cart.shop.svc.cluster.local", true},
		{"*.example.com", "a.example.com", true},
		{"*.example.com", "a.b.example.com", false},
		{"*.example.com", "example.com", false},
		{"example.com", "notexample.com", false},
		{"cart.shop.svc.cluster.local", "db.shop.svc.cluster.local", false}, // a DNS name is exact
		{"spiffe://td/ns/shop/sa/cart", "db.shop.svc.cluster.local", true},
		{"spiffe://td/ns/shop", "db.shop.svc", true},
		{"spiffe://td/ns/shop2/sa/cart", "db.shop.svc.cluster.local", false},
		{"spiffe://td/ns/shop/sa/cart", "example.com", true},
		{"spiffe://td/workload", "db.shop.svc.cluster.local", true}, // has no namespace
		{"spiffe://td/ns/default/dc/dc1/svc/web", "web.default.dc1.internal.td.consul", true},
		{"spiffe://td/ns/other/dc/dc1/svc/web", "web.default.dc1.internal.td.consul", false},
		{"account.shop.cluster.local", "cart.shop.svc.cluster.local", true},
		{"account.other.cluster.local", "cart.shop.svc.cluster.local", false},
	} {
		if got := identifies(c.name, c.want); got != c.fits {
			t.Errorf("%s fits %s: %v", c.name, c.want, got)
		}
	}
}
