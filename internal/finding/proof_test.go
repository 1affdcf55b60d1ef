package finding_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// TestDowngradeIsOfOneParty: the downgrade of one server is not reported for another server on the same
// edge. The two servers share a public network, a name or the aggregate edge.
func TestDowngradeIsOfOneParty(t *testing.T) {
	at := func(j *verdict.Judged, direction, from, to, name, basis string) *verdict.Judged {
		j.Direction, j.Source.Addr, j.Destination.Addr, j.Destination.Port = direction, netip.MustParseAddr(from), netip.MustParseAddr(to), 8443
		j.PeerName, j.PeerNameBasis, j.Mesh = name, basis, ""
		return j
	}
	const id = "spiffe://td/ns/shop/sa/api"
	for _, c := range []struct {
		name, direction string
		from1, to1      string // client and server of the mutual connection
		from2, to2      string // client and server of the connection that is less
		peer, basis     string
		edges           int
		max             int // Config.MaxEdges
		want            bool
	}{
		{name: "two servers of a /24", direction: "egress", from1: "25.0.1.10", to1: "25.0.1.20", from2: "25.0.1.10", to2: "25.0.1.21", edges: 1},
		{name: "one server of a /24", direction: "egress", from1: "25.0.1.10", to1: "25.0.1.20", from2: "25.0.1.10", to2: "25.0.1.20", edges: 1, want: true},
		{name: "two servers of a /64", direction: "egress", from1: "2600::10", to1: "2600::20", from2: "2600::10", to2: "2600::22", edges: 1},
		{name: "one server of a /64", direction: "egress", from1: "2600::10", to1: "2600::20", from2: "2600::10", to2: "2600::20", edges: 1, want: true},
		{name: "two servers under a name", direction: "egress", from1: "10.1.1.2", to1: "10.9.0.66", from2: "10.1.1.2", to2: "10.9.0.67", peer: "payments", basis: "host_header", edges: 1},
		{name: "one server under a name", direction: "egress", from1: "10.1.1.2", to1: "10.9.0.66", from2: "10.1.1.2", to2: "10.9.0.66", peer: "payments", basis: "sni", edges: 1, want: true},
		{name: "two servers of one identity", direction: "egress", from1: "10.1.1.2", to1: "10.9.0.66", from2: "10.1.1.2", to2: "10.9.0.67", peer: id, basis: "spiffe", edges: 1, want: true},
		{name: "two clients of a /24", direction: "ingress", from1: "25.0.1.20", to1: "10.1.1.2", from2: "25.0.1.21", to2: "10.1.1.2", edges: 1},
		{name: "one client of it", direction: "ingress", from1: "25.0.1.20", to1: "10.1.1.2", from2: "25.0.1.20", to2: "10.1.1.2", edges: 1, want: true},
		{name: "two clients in a capture", from1: "25.0.1.20", to1: "25.0.2.2", from2: "25.0.1.21", to2: "25.0.2.2", edges: 1},
		{name: "one client in a capture", from1: "25.0.1.20", to1: "25.0.2.2", from2: "25.0.1.20", to2: "25.0.2.2", edges: 1, want: true},
		{name: "two servers without room", direction: "egress", from1: "10.1.1.2", to1: "10.9.0.66", from2: "10.1.1.2", to2: "10.9.0.67", max: 1, edges: 2},
		{name: "one server without room", direction: "egress", from1: "10.1.1.2", to1: "10.9.0.66", from2: "10.1.1.2", to2: "10.9.0.66", max: 1, edges: 2, want: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, finding.Config{MaxEdges: c.max})
			if c.max > 0 {
				r.e.Add(living(at(mutual(9, noon), "egress", "10.1.1.2", "10.8.8.8", "", "")))
			}
			r.e.Add(at(mutual(1, noon), c.direction, c.from1, c.to1, c.peer, c.basis))
			r.e.Add(at(oneWay(2, noon+10*second), c.direction, c.from2, c.to2, c.peer, c.basis))
			got := false
			for _, f := range r.findings() {
				got = got || strings.HasPrefix(f, "mtls-downgrade open")
			}
			if got != c.want || len(r.e.Summary().Edges) != c.edges {
				t.Errorf("downgrade %v, want %v; %d edges, want %d: %q", got, c.want, len(r.e.Summary().Edges), c.edges, r.findings())
			}
		})
	}
}

// TestPartiesAreBounded: an edge with more servers than it can remember causes no false downgrade. A
// downgrade of the latest server is still detected.
func TestPartiesAreBounded(t *testing.T) {
	r := newRig(t, finding.Config{})
	to := func(j *verdict.Judged, n int) *verdict.Judged {
		j.Destination.Addr = netip.MustParseAddr(fmt.Sprintf("25.0.1.%d", n))
		j.PeerName, j.PeerNameBasis = "", ""
		return j
	}
	for n := range 100 {
		r.e.Add(to(mutual(uint64(n+1), noon+int64(n)*second), n+1))
	}
	r.e.Add(to(oneWay(200, noon+200*second), 250))
	r.e.Add(to(oneWay(201, noon+201*second), 1))
	if got := r.findings(); len(got) != 0 {
		t.Errorf("findings %q", got)
	}
	r.e.Add(to(oneWay(202, noon+202*second), 99))
	if got := r.findings(); len(got) != 1 || !strings.HasPrefix(got[0], "mtls-downgrade open") {
		t.Errorf("findings %q", got)
	}
}

// TestClusterRanges: declared ranges of public addresses count as private. They have exact edges and the
// mesh's expectation. The pod's own address is never aggregated.
func TestClusterRanges(t *testing.T) {
	one := func(cfg finding.Config) doc {
		r := newRig(t, cfg)
		j := oneWay(1, noon)
		j.Source.Addr, j.Destination.Addr, j.PeerName, j.PeerNameBasis = netip.MustParseAddr("25.0.1.10"), netip.MustParseAddr("25.0.1.21"), "", ""
		r.e.Add(j)
		return r.of(finding.DatasetPosture)[0]
	}
	d := one(finding.Config{Mesh: "istio"})
	if key, x := d.text("meshtls.edge.key"), d.text("meshtls.expectation"); key != "egress 25.0.1.10 > 25.0.1.0/24:443" || x != "tls" {
		t.Errorf("not declared: %s, %s", key, x)
	}
	d = one(finding.Config{Mesh: "istio", Cluster: []netip.Prefix{netip.MustParsePrefix("25.0.0.0/16")}})
	if key, x := d.text("meshtls.edge.key"), d.text("meshtls.expectation"); key != "egress 25.0.1.10 > 25.0.1.21:443" || x != "mtls" {
		t.Errorf("declared: %s, %s", key, x)
	}
}
