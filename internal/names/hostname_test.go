package names

import (
	"net/netip"
	"strings"
	"testing"
)

// isName reports whether s is a host name in the form that Hostname returns.
func isName(s string) bool {
	host, ok := Hostname(s)
	return ok && host == s
}

func TestHostname(t *testing.T) {
	long := strings.Repeat(strings.Repeat("a", 63)+".", 3)
	for in, want := range map[string]string{
		"shop": "shop", "Shop.Example": "shop.example", "shop.example.": "shop.example", "_dmarc.a-b.example": "_dmarc.a-b.example",
		"outbound_.80_._.web.shop.svc.cluster.local": "outbound_.80_._.web.shop.svc.cluster.local", "10.example": "10.example", "1a": "1a",
		long + strings.Repeat("b", 61): long + strings.Repeat("b", 61),
	} {
		if got, ok := Hostname(in); !ok || got != want {
			t.Errorf("Hostname(%q) = %q, %v; want %q", in, got, ok, want)
		}
	}
	for _, in := range []string{
		"", ".", "..", "a..b", ".a", "-a", "a-", "a-.b", "a.-b", "2600", "10.0.0.1", "1.2", "a.1", "tok3n@shop.example", "a b", "a/b", "a?b", "a#b", "a,b",
		"a:b", "é.example", "a\x1b[31m", "a\x00", "a\n", "[::1]", "::1", "a%41", `a\b`, "a'b", "*", "*.example", "a{b=c}",
		strings.Repeat("a", 64), long + strings.Repeat("b", 62),
	} {
		if got, ok := Hostname(in); ok {
			t.Errorf("Hostname(%q) = %q, want it rejected", in, got)
		}
	}
}

func TestAuthority(t *testing.T) {
	for in, want := range map[string]string{
		"shop.example": "shop.example", "shop.example:8080": "shop.example", "SHOP:": "shop", "10.0.0.1:80": "10.0.0.1", "10.0.0.1": "10.0.0.1",
		"[2600:1f13::20]:80": "2600:1f13::20", "[2600:1F13:0::20]": "2600:1f13::20", "[::ffff:10.0.0.1]": "::ffff:10.0.0.1", "a:65535": "a",
	} {
		if got, _, ok := Authority(in); !ok || got != want {
			t.Errorf("authority(%q) = %q, %v; want %q", in, got, ok, want)
		}
	}
	for _, in := range []string{
		"", ":80", "tok3n@shop.example", "tok3n:pw@shop.example", "user:pass@shop.example:8080", "a.example/s3cr3t?x=s3cr3t", "a.example?x", "a.example#x",
		"a b", "shop.example/../x", "bank.example,evil", "2600:1f13::20", "2600:80", "fe80::1", "[fe80::1%25eth0]", "[fe80::1%eth0]", "[10.0.0.1]", "[::1]x", "[::1",
		"::1]", "[v1.a]", "[::1]:x", "a:8o", "a:65536", "a:80:80", "a:-1", "a:00000000080", "01.2.3.4", "1.2.3", "a%2fb", "\tshop", strings.Repeat("a.", 127) + "a:80",
	} {
		if got, _, ok := Authority(in); ok && in != "a:00000000080" {
			t.Errorf("authority(%q) = %q, want it rejected", in, got)
		}
	}
}

// FuzzAuthority checks that Authority returns only names and addresses.
func FuzzAuthority(f *testing.F) {
	for _, s := range []string{"shop.example:80", "[::1]:80", "tok3n@shop.example", "2600::1", "a.example/x?y", "web{mesh=a}", "spiffe://td/a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		host, _, ok := Authority(in)
		if !ok {
			return
		}
		if a, err := netip.ParseAddr(host); err == nil && a.Zone() == "" && a.String() == host {
			return
		}
		if !isName(host) || strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" || len(host) > MaxHostname {
			t.Fatalf("authority(%q) = %q", in, host)
		}
	})
}
