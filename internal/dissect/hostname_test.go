package dissect

import (
	"net/netip"
	"strings"
	"testing"
)

// isName reports whether s is a Hostname as it stands.
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
			t.Errorf("Hostname(%q) = %q, want none", in, got)
		}
	}
}

func TestAuthority(t *testing.T) {
	for in, want := range map[string]string{
		"shop.example": "shop.example", "shop.example:8080": "shop.example", "SHOP:": "shop", "10.0.0.1:80": "10.0.0.1", "10.0.0.1": "10.0.0.1",
		"[2600:1f13::20]:80": "2600:1f13::20", "[2600:1F13:0::20]": "2600:1f13::20", "[::ffff:10.0.0.1]": "::ffff:10.0.0.1", "a:65535": "a",
	} {
		if got, _, ok := authority(in); !ok || got != want {
			t.Errorf("authority(%q) = %q, %v; want %q", in, got, ok, want)
		}
	}
	for _, in := range []string{
		"", ":80", "tok3n@shop.example", "tok3n:pw@shop.example", "user:pass@shop.example:8080", "a.example/s3cr3t?x=s3cr3t", "a.example?x", "a.example#x",
		"a b", "shop.example/../x", "bank.example,evil", "2600:1f13::20", "2600:80", "fe80::1", "[fe80::1%25eth0]", "[fe80::1%eth0]", "[10.0.0.1]", "[::1]x", "[::1",
		"::1]", "[v1.a]", "[::1]:x", "a:8o", "a:65536", "a:80:80", "a:-1", "a:00000000080", "01.2.3.4", "1.2.3", "a%2fb", "\tshop", strings.Repeat("a.", 127) + "a:80",
	} {
		if got, _, ok := authority(in); ok && in != "a:00000000080" {
			t.Errorf("authority(%q) = %q, want none", in, got)
		}
	}
}

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
			t.Errorf("serverName(%q) = %q, want none", in, got)
		}
	}
}

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

// FuzzAuthority holds that what is published as a host is a name or an address.
func FuzzAuthority(f *testing.F) {
	for _, s := range []string{"shop.example:80", "[::1]:80", "tok3n@shop.example", "2600::1", "a.example/x?y", "web{mesh=a}", "spiffe://td/a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		host, _, ok := authority(in)
		if !ok {
			return
		}
		if a, err := netip.ParseAddr(host); err == nil && a.Zone() == "" && a.String() == host {
			return
		}
		if !isName(host) || strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" || len(host) > maxDomain {
			t.Fatalf("authority(%q) = %q", in, host)
		}
	})
}

// TestHost holds that nothing but a host leaves a request as its host, and no host as a path.
func TestHost(t *testing.T) {
	const bad = ""
	for _, c := range []struct{ request, host, path string }{
		{"GET /a?x=1 HTTP/1.1\r\nHost: Shop.example:80\r\n\r\n", "shop.example", "/a"},
		{"GET / HTTP/1.1\r\nHost: tok3n@shop.example\r\n\r\n", bad, "/"},
		{"GET / HTTP/1.1\r\nHost: a.example/s3cr3t?x=s3cr3t\r\n\r\n", bad, "/"},
		{"GET / HTTP/1.1\r\nHost: 2600:1f13::20\r\n\r\n", bad, "/"},
		{"GET / HTTP/1.1\r\nHost: [2600:1f13::20]:80\r\n\r\n", "2600:1f13::20", "/"},
		{"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", bad, "/"},
		{"GET / HTTP/1.1\r\nHost: a\r\nHost: A\r\n\r\n", "a", "/"},
		{"GET / HTTP/1.1\r\nHost: " + strings.Repeat("a.", 200) + "\r\n\r\n", bad, "/"},
		{"GET / HTTP/1.1\r\nHost: " + strings.Repeat("a.", 120) + strings.Repeat(" ", 100) + "x\r\n\r\n", bad, "/"},
		{"GET / HTTP/1.1\r\nHost: a\x1b[31m\r\n\r\n", bad, "/"},
		{"GET http://u:abspass@abs.example/p HTTP/1.1\r\nHost: abs.example\r\n\r\n", bad, "/p"},
		{"GET http://abs.example:80/p?q HTTP/1.1\r\nHost: tok3n@x\r\n\r\n", "abs.example", "/p"},
		{"GET http://abs.example?q HTTP/1.1\r\n\r\n", "abs.example", ""},
		{"CONNECT db.shop:5432 HTTP/1.1\r\nHost: x\r\n\r\n", "db.shop", ""},
		{"CONNECT tok3n@db.shop:5432 HTTP/1.1\r\n\r\n", bad, ""},
		{"CONNECT db.shop HTTP/1.1\r\n\r\n", bad, ""},
		{"CONNECT s3cr3t/path HTTP/1.1\r\n\r\n", bad, ""},
	} {
		s := New()
		s.Data(Originator, 0, []byte(c.request), 0, 0)
		s.Data(Responder, 0, []byte("HTTP/1.1 200 OK\r\nHost: evil.example\r\nContent-Length: 0\r\n\r\n"), int64(len(c.request)), 0)
		h := s.HTTP()
		if h == nil || h.Host != c.host || h.Path != c.path || h.Misnamed != (c.host == bad) {
			t.Errorf("%.60q: got %+v", c.request, h)
		}
	}
	s := New()
	s.Data(Originator, 0, []byte("GET /x s3cr3t HTTP/1.1\r\nHost: a\r\n\r\n"), 0, 0)
	if h := s.HTTP(); h == nil || h.Version != "" {
		t.Errorf("version: got %+v", h)
	}
}
