package finding_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// TestEdgeKey: the key consists of direction, local workload, peer and server port.
func TestEdgeKey(t *testing.T) {
	for _, c := range []struct {
		name       string
		id         finding.Identity
		direction  string
		from, to   string
		peer, how  string
		scope      string
		class      string
		unfold     bool
		want       string
		wantFolded bool
	}{
		{name: "egress to an address", direction: "egress", from: "10.1.1.2", to: "10.2.2.2", want: "egress 10.1.1.2 > 10.2.2.2:80"},
		{name: "egress of a workload", id: pod, direction: "egress", from: "10.1.1.2", to: "10.2.2.2", want: "egress front/web > 10.2.2.2:80"},
		{name: "egress of a bare pod", id: finding.Identity{Pod: "p", Namespace: "n"}, direction: "egress", from: "10.1.1.2", to: "10.2.2.2", want: "egress n/p > 10.2.2.2:80"},
		{name: "egress to a name", id: pod, direction: "egress", from: "10.1.1.2", to: "10.2.2.2", peer: "API.Shop.", how: "host_header", want: "egress front/web > api.shop:80"},
		{name: "egress to SPIFFE", id: pod, direction: "egress", from: "10.1.1.2", to: "10.2.2.2", peer: "spiffe://td/ns/a/sa/b", how: "spiffe", want: "egress front/web > spiffe://td/ns/a/sa/b:80"},
		{name: "ingress", id: pod, direction: "ingress", from: "10.1.1.2", to: "10.2.2.2", want: "ingress 10.1.1.2 > front/web:80"},
		{name: "ingress from SPIFFE", id: pod, direction: "ingress", from: "10.1.1.2", to: "10.2.2.2", peer: "spiffe://td/ns/a/sa/b", how: "spiffe", want: "ingress spiffe://td/ns/a/sa/b > front/web:80"},
		{name: "direction unknown", from: "10.1.1.2", to: "10.2.2.2", want: "unknown 10.1.1.2 > 10.2.2.2:80"},
		{name: "direction unknown, named", from: "10.1.1.2", to: "10.2.2.2", peer: "api", how: "sni", want: "unknown 10.1.1.2 > api:80"},
		{name: "IPv6", direction: "egress", from: "fd00::1", to: "fd00::2", want: "egress fd00::1 > [fd00::2]:80"},
		{name: "link-local", direction: "egress", from: "fe80::1%eth0", to: "fe80::2%eth0", want: "egress fe80::1 > [fe80::2]:80"},
		{name: "IPv4 in IPv6", direction: "egress", from: "::ffff:10.1.1.2", to: "::ffff:10.2.2.2", want: "egress 10.1.1.2 > 10.2.2.2:80"},
		{name: "public folds", direction: "egress", from: "10.1.1.2", to: "203.0.113.77", want: "egress 10.1.1.2 > 203.0.113.0/24:80"},
		{name: "public IPv6 folds", direction: "egress", from: "fd00::1", to: "2001:db8:1:2:3::4", want: "egress fd00::1 > [2001:db8:1:2::/64]:80"},
		{name: "public with a name", direction: "egress", from: "10.1.1.2", to: "203.0.113.77", peer: "example.com", how: "sni", want: "egress 10.1.1.2 > example.com:80"},
		{name: "public client", id: pod, direction: "ingress", from: "203.0.113.77", to: "10.2.2.2", want: "ingress 203.0.113.0/24 > front/web:80"},
		{name: "shared address space", direction: "egress", from: "10.1.1.2", to: "100.64.7.7", want: "egress 10.1.1.2 > 100.64.7.7:80"},
		{name: "a name that is an address", direction: "egress", from: "10.1.1.2", to: "10.2.2.2", peer: "192.0.2.1", how: "host_header", want: "egress 10.1.1.2 > 10.2.2.2:80"},
		{name: "a name that is an IPv6 address", direction: "egress", from: "10.1.1.2", to: "10.2.2.2", peer: "[fd00::1]", how: "host_header", want: "egress 10.1.1.2 > 10.2.2.2:80"},
		{name: "a hostile name", direction: "egress", from: "10.1.1.2", to: "10.2.2.2", peer: "a > b\x1b[1m\n\xff", how: "host_header", want: "egress 10.1.1.2 > a?>?b?[1m??:80"},
		{name: "a long name", direction: "egress", from: "10.1.1.2", to: "10.2.2.2", peer: strings.Repeat("a", 5000), how: "sni", want: "egress 10.1.1.2 > " + strings.Repeat("a", 220) + "~c526c6222044dab5674de9c4ac7f4566" + ":80"},
		{name: "within the pod", scope: "pod", direction: "internal", from: "127.0.0.1", to: "127.0.0.1", want: "internal pod", wantFolded: true},
		{name: "DNS", class: "dns", direction: "egress", from: "10.1.1.2", to: "10.96.0.10", want: "dns", wantFolded: true},
		{name: "probe", class: "probe", direction: "ingress", from: "10.0.0.7", to: "10.1.1.2", want: "probe", wantFolded: true},
		{name: "within the pod, apart", unfold: true, scope: "pod", direction: "internal", from: "127.0.0.1", to: "127.0.0.1", want: "internal 127.0.0.1 > 127.0.0.1:80"},
		{name: "DNS, apart", unfold: true, class: "dns", direction: "egress", from: "10.1.1.2", to: "10.96.0.10", want: "egress 10.1.1.2 > 10.96.0.10:80"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, finding.Config{Identity: c.id, Unfold: c.unfold})
			j := talk(1, noon, verdict.Plaintext, "http", 80)
			j.Direction, j.PeerName, j.PeerNameBasis = c.direction, c.peer, c.how
			j.Source.Addr, j.Destination.Addr = netip.MustParseAddr(c.from), netip.MustParseAddr(c.to)
			if c.scope != "" {
				j.Scope = c.scope
			}
			if c.class != "" {
				j.Class = c.class
			}
			r.e.Add(j)
			r.e.Flush(noon + minute)
			for _, d := range r.of(finding.DatasetPosture) {
				if got := d.text("meshtls.edge.key"); got != c.want {
					t.Errorf("edge %q, want %q", got, c.want)
				}
				if folded, _ := d.at("meshtls.edge.folded").(bool); folded != c.wantFolded {
					t.Errorf("folded is %t", folded)
				}
			}
			keys := map[string]bool{}
			for _, x := range r.records {
				keys[x.Key] = true
			}
			if want := map[string]bool{"read|" + c.want: true}; !reflect.DeepEqual(keys, want) {
				t.Errorf("keys %v, want %v", keys, want)
			}
		})
	}
}

// TestIdentitiesAreKeptApart: two identities have two edges, even if the identities are long or differ
// only in case.
func TestIdentitiesAreKeptApart(t *testing.T) {
	r := newRig(t, finding.Config{Posture: true})
	long := "spiffe://td/" + strings.Repeat("a", 300)
	for i, id := range []string{long + "1", long + "2", "spiffe://td/a", "spiffe://td/A"} {
		j := mutual(uint64(i+1), noon)
		j.PeerName, j.PeerNameBasis = id, "spiffe"
		r.e.Add(j)
	}
	keys := map[string]bool{}
	for _, d := range r.of(finding.DatasetPosture) {
		keys[d.text("meshtls.edge.key")] = true
	}
	if len(keys) != 4 {
		t.Errorf("%d edges: %v", len(keys), keys)
	}
}

// TestEdgesAreBounded: beyond the bound, edges fold into an aggregate edge. The record marks it as an
// aggregate, and plaintext on it is still found. An edge that was silent for a window is evicted.
func TestEdgesAreBounded(t *testing.T) {
	r := newRig(t, finding.Config{MaxEdges: 10})
	connect := func(n uint64, start int64) {
		j := plain(n, start)
		j.PeerName = fmt.Sprintf("peer-%03d", n)
		r.e.Add(j)
	}
	for n := range uint64(30) {
		connect(n, noon+int64(n)*second)
	}
	r.e.Tick(noon + 10*minute)
	var keys []string
	var folded doc
	for _, d := range r.of(finding.DatasetPosture) {
		if d.text("event.action") == "snapshot" {
			keys = append(keys, d.text("meshtls.edge.key"))
			if d.at("meshtls.edge.folded") == true {
				folded = d
			}
		}
	}
	if len(keys) != 11 || !slices.Contains(keys, "other") || folded.number("meshtls.edge.connections.plaintext") != 20 {
		t.Fatalf("edges %v, folded %v", keys, folded)
	}
	var opened []string
	for _, d := range r.of(finding.DatasetFinding) {
		if d.text("meshtls.finding.state") == "open" {
			opened = append(opened, d.text("meshtls.edge.key"))
		}
	}
	if len(opened) != 11 || !slices.Contains(opened, "other") {
		t.Errorf("findings opened on %v", opened)
	}

	// Two windows later the old edges are evicted, and the edge in use remains.
	r.forget()
	connect(3, noon+11*minute)
	r.e.Tick(noon + 20*minute)
	connect(3, noon+21*minute)
	for n := uint64(100); n < 108; n++ {
		connect(n, noon+22*minute)
	}
	s := r.e.Summary()
	var names []string
	var connections uint64
	for _, e := range s.Edges {
		names = append(names, e.Key)
		connections += e.Seen[0].Connections
	}
	if !slices.ContainsFunc(names, func(k string) bool { return strings.Contains(k, "peer-003") }) {
		t.Errorf("the edge in use was evicted: %v", names)
	}
	if !slices.ContainsFunc(names, func(k string) bool { return strings.Contains(k, "peer-107") }) || s.EdgesGone == 0 {
		t.Errorf("new edges are missing: %v, %d evicted", names, s.EdgesGone)
	}
	if total := connections + s.Gone[0].Connections; total != 40 {
		t.Errorf("%d connections accounted for, want 40", total)
	}
}

// TestOverflowKeepsScopes: an aggregate edge never counts traffic within the pod as traffic on the wire.
// This is so whether Config.Unfold is set or not.
func TestOverflowKeepsScopes(t *testing.T) {
	for _, unfold := range []bool{false, true} {
		r := newRig(t, finding.Config{MaxEdges: 1, Unfold: unfold})
		r.e.Add(mutual(1, noon))
		r.e.Add(oneWay(2, noon)) // the same edge
		for id := range uint64(3) {
			j := plain(10+id, noon)
			j.Scope, j.Direction, j.PeerName = verdict.ScopePod, verdict.DirectionInternal, fmt.Sprint("local-", id)
			r.e.Add(j)
		}
		far := mutual(20, noon)
		far.PeerName = "far"
		r.e.Add(far)
		for _, e := range r.e.Summary().Edges {
			if e.Scope == "wire" && e.Verdict == "plaintext" {
				t.Errorf("unfold %t: edge %s on the wire is plaintext", unfold, e.Key)
			}
		}
		if n := len(r.of(finding.DatasetFinding)); n != 1 { // the downgrade on the first edge
			t.Errorf("unfold %t: %d findings: %q", unfold, n, r.findings())
		}
	}
}

// TestLiveEdgeStays: an edge with a live connection is never evicted.
func TestLiveEdgeStays(t *testing.T) {
	r := newRig(t, finding.Config{MaxEdges: 1})
	r.e.Add(living(mutual(1, noon)))
	r.e.Tick(noon + 100*minute)
	r.e.Add(plain(2, noon+101*minute))
	r.e.Add(mutual(1, noon))
	var keys []string
	for _, e := range r.e.Summary().Edges {
		keys = append(keys, e.Key)
	}
	if len(keys) != 2 || !slices.Contains(keys, "other") {
		t.Errorf("edges %v", keys)
	}
}

// TestMoved: a connection whose judgement changes counts only once: on its latest edge, with its latest
// verdict.
func TestMoved(t *testing.T) {
	r := newRig(t, finding.Config{})
	first := living(talk(1, noon, verdict.Plaintext, "smtp", 25))
	r.e.Add(first)
	later := tlsTalk(1, noon, verdict.TLS, verdict.AuthNotRequested)
	later.Destination.Port = 25
	r.e.Add(later)
	r.e.Flush(noon + minute)
	s := r.e.Summary()
	if len(s.Edges) != 1 || len(s.Edges[0].Seen) != 1 || s.Edges[0].Seen[0].Verdict != "tls" || s.Edges[0].Seen[0].Connections != 1 || s.Edges[0].Seen[0].Bytes != 1100 {
		t.Errorf("edges %+v", s.Edges)
	}
	var states []string
	for _, d := range r.of(finding.DatasetFinding) {
		states = append(states, d.text("meshtls.finding.state")+": "+d.text("message"))
	}
	if len(states) != 2 || !strings.Contains(states[1], "is retracted") {
		t.Errorf("findings %q, want two, the second one a retraction", states)
	}
}
