package verdict_test

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/dissect"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

const second = int64(1e9)

// lookup plays a client's DNS question for a name at a time, and the answer.
func lookup(j *verdict.Judge, client, name string, ttl uint32, at int64, addr string) {
	query, response := capturetest.DNS(7, name, ttl, nil, netip.MustParseAddr(addr))
	s := dissect.New()
	c := &flow.Conn{ID: 1, Transport: 17, Orig: flow.Endpoint{Addr: netip.MustParseAddr(client), Port: 5000}, Resp: flow.Endpoint{Addr: netip.MustParseAddr("10.96.0.10"), Port: 53}}
	s.Datagram(dissect.Originator, query)
	s.Datagram(dissect.Responder, response)
	j.Learn(c, s, at)
}

// reached judges a Redis connection to 10.0.0.2, which shows no name itself.
func reached(j *verdict.Judge, client string, at int64, s *dissect.Session) verdict.Judged {
	c := conn(1, client)
	c.First, c.Last = at, at+1e6
	feed(s, []capturetest.Chunk{{Data: []byte("*1\r\n$4\r\nPING\r\n")}, {FromServer: true, Data: []byte("+PONG\r\n")}})
	return j.Judge(c, s, "eth0", true)
}

func TestNamesFromDNS(t *testing.T) {
	pod := verdict.Config{Local: []netip.Prefix{netip.MustParsePrefix("10.1.1.2/32"), netip.MustParsePrefix("fd00::2/128")}}
	type answer struct {
		client, name string
		ttl          uint32
		at           int64
	}
	for _, c := range []struct {
		name    string
		cfg     verdict.Config
		answers []answer
		client  string
		at      int64 // seconds
		want    string
	}{
		{"the pod's own", pod, []answer{{"10.1.1.2", "cart.shop", 30, 100}}, "10.1.1.2", 101, "cart.shop"},
		{"asked from another of its addresses", pod, []answer{{"fd00::2", "cart.shop", 30, 100}}, "10.1.1.2", 101, "cart.shop"},
		{"asked over lo", pod, []answer{{"127.0.0.1", "cart.shop", 30, 100}}, "10.1.1.2", 101, "cart.shop"},
		{"answered afterwards", pod, []answer{{"10.1.1.2", "cart.shop", 30, 102}}, "10.1.1.2", 101, ""},
		{"another's", pod, []answer{{"10.1.1.3", "evil.example", 30, 100}}, "10.1.1.2", 101, ""},
		{"the latest counts", pod, []answer{{"10.1.1.2", "web.shop", 30, 99}, {"10.1.1.2", "cart.shop", 30, 100}}, "10.1.1.2", 101, "cart.shop"},
		{"answered again, afterwards", pod, []answer{{"10.1.1.2", "cart.shop", 30, 100}, {"10.1.1.2", "cart.shop", 30, 102}}, "10.1.1.2", 101, "cart.shop"},
		{"for ten minutes at least", pod, []answer{{"10.1.1.2", "cart.shop", 0, 100}}, "10.1.1.2", 700, "cart.shop"},
		{"and no longer", pod, []answer{{"10.1.1.2", "cart.shop", 0, 100}}, "10.1.1.2", 701, ""},
		{"for as long as it says", pod, []answer{{"10.1.1.2", "cart.shop", 3600, 100}}, "10.1.1.2", 3700, "cart.shop"},
		{"for a day at most", pod, []answer{{"10.1.1.2", "cart.shop", 1 << 30, 100}}, "10.1.1.2", 100 + 86401, ""},
		{"a capture: who asked", verdict.Config{}, []answer{{"10.1.1.3", "cart.shop", 30, 100}}, "10.1.1.3", 101, "cart.shop"},
		{"a capture: another one", verdict.Config{}, []answer{{"10.1.1.3", "cart.shop", 30, 100}}, "10.1.1.4", 101, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := verdict.New(c.cfg)
			without := reached(verdict.New(c.cfg), c.client, c.at*second, dissect.New())
			for _, a := range c.answers {
				lookup(j, a.client, a.name, a.ttl, a.at*second, "10.0.0.2")
			}
			got := reached(j, c.client, c.at*second, dissect.New())
			if basis := map[bool]string{true: "dns"}[c.want != ""]; got.PeerName != c.want || got.PeerNameBasis != basis {
				t.Errorf("%q by %q, want %q", got.PeerName, got.PeerNameBasis, c.want)
			}
			if got.Verdict != without.Verdict || got.Class != without.Class || got.Mesh != without.Mesh || got.Verdict != verdict.Plaintext {
				t.Errorf("%s %s %s, without a name %s %s %s", got.Verdict, got.Class, got.Mesh, without.Verdict, without.Class, without.Mesh)
			}
		})
	}
}

// TestNamesOfTheConnectionComeFirst checks that names in the connection itself take precedence over DNS.
func TestNamesOfTheConnectionComeFirst(t *testing.T) {
	j := verdict.New(verdict.Config{})
	lookup(j, "10.0.0.1", "alias.example", 30, second, "10.0.0.2")
	got := judged(j, conn(2, "10.0.0.1"), talk(t, tls.VersionTLS13, capturetest.Presented).Chunks)
	if got.PeerNameBasis != "sni" || got.PeerName != got.TLS.ServerName {
		t.Errorf("%q by %q", got.PeerName, got.PeerNameBasis)
	}
	got = judged(j, conn(3, "10.0.0.1"), []capturetest.Chunk{{Data: []byte("GET / HTTP/1.1\r\nHost: cart.shop\r\n\r\n")}})
	if got.PeerNameBasis != "host_header" || got.PeerName != "cart.shop" {
		t.Errorf("%q by %q", got.PeerName, got.PeerNameBasis)
	}
}

// TestNotNames checks that invalid names do not name a peer, and that a reason reports them.
func TestNotNames(t *testing.T) {
	for _, host := range []string{"tok3n@shop.example", "tok3n:pw@shop.example:80", "a.example/s3cr3t?x=s3cr3t", "2600:1f13:aaa:1::20", "a b", "bank.example,evil", "[fe80::1%25eth0]"} {
		j := verdict.New(verdict.Config{})
		lookup(j, "10.0.0.1", "cart.shop", 30, second, "10.0.0.2")
		got := judged(j, conn(3, "10.0.0.1"), []capturetest.Chunk{{Data: []byte("GET / HTTP/1.1\r\nHost: " + host + "\r\n\r\n")}})
		if got.PeerName != "cart.shop" || got.PeerNameBasis != "dns" || got.HTTP.Host != "" || !slices.Contains(got.Reasons, "host_not_a_name") {
			t.Errorf("%q: %q by %q, host %q, %v", host, got.PeerName, got.PeerNameBasis, got.HTTP.Host, got.Reasons)
		}
	}
	got := judged(verdict.New(verdict.Config{}), conn(3, "10.0.0.1"), []capturetest.Chunk{{Data: []byte("GET / HTTP/1.1\r\nHost: [2600:1f13:aaa:1::20]:80\r\n\r\n")}})
	if got.PeerName != "2600:1f13:aaa:1::20" || slices.Contains(got.Reasons, "host_not_a_name") {
		t.Errorf("an address: %q, %v", got.PeerName, got.Reasons)
	}
}

// TestNamesStay checks that a connection keeps its first name, and so its edge.
func TestNamesStay(t *testing.T) {
	j := verdict.New(verdict.Config{})
	lookup(j, "10.0.0.1", "cart.shop", 30, second, "10.0.0.2")
	s := dissect.New()
	first := reached(j, "10.0.0.1", 2*second, s)
	lookup(j, "10.0.0.1", "web.shop", 30, second, "10.0.0.2")
	if again := reached(j, "10.0.0.1", 2*second, s); first.PeerName != "cart.shop" || again.PeerName != first.PeerName {
		t.Errorf("%q, and later %q", first.PeerName, again.PeerName)
	}
}

// TestNamesAreBounded checks that the table is bounded, and that the oldest names are removed first.
func TestNamesAreBounded(t *testing.T) {
	j := verdict.New(verdict.Config{})
	lookup(j, "10.0.0.1", "old.shop", 30, second, "10.0.0.2")
	for i := range 5000 {
		if i == 3000 {
			lookup(j, "10.0.0.9", "late.shop", 30, second, "10.0.0.2")
		}
		lookup(j, "10.0.0.1", "x.example", 30, second, fmt.Sprintf("10.9.%d.%d", i>>8, i&255))
	}
	if got := reached(j, "10.0.0.1", 2*second, dissect.New()); got.PeerName != "" {
		t.Errorf("%q is still known", got.PeerName)
	}
	if got := reached(j, "10.0.0.9", 2*second, dissect.New()); got.PeerName != "late.shop" {
		t.Errorf("%q, want the one that came late", got.PeerName)
	}
}
