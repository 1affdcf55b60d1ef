package topology

import "testing"

// TestWithNames: names follow a sentence as a sentence, and other text in parentheses.
func TestWithNames(t *testing.T) {
	for _, test := range []struct {
		text  string
		n     int
		names string
		want  string
	}{
		{"It is not known.", 1, "shop/cart", "It is not known. Workload: shop/cart."},
		{"It is not known.", 2, "shop/cart, shop/pay", "It is not known. Workloads: shop/cart, shop/pay."},
		{"Only packets that a filter accepts were examined: tcp", 1, "shop/cart", "Only packets that a filter accepts were examined: tcp (shop/cart)"},
	} {
		if got := WithNames(test.text, test.n, test.names); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}
