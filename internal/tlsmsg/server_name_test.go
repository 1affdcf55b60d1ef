package tlsmsg

import "testing"

func TestServerName(t *testing.T) {
	for in, want := range map[string]string{
		"shop.example": "shop.example", "SHOP": "shop", "backend_demo_svc_3001{mesh=default}": "backend_demo_svc_3001{mesh=default}",
		"web{kuma.io/zone=east,mesh=default}": "web{kuma.io/zone=east,mesh=default}",
	} {
		if got, ok := serverName(in); !ok || got != want {
			t.Errorf("serverName(%q) = %q, %v; want %q", in, got, ok, want)
		}
	}
	for _, in := range []string{"10.0.0.1", "2600::1", "[::1]", "a b", "a@b", "web{}", "web{x=y}", "web{mesh=a b}", "web{mesh=a}x", "a b{mesh=a}", "{mesh=a}", `a\x00`} {
		if got, ok := serverName(in); ok {
			t.Errorf("serverName(%q) = %q, want it rejected", in, got)
		}
	}
}
