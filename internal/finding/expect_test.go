package finding_test

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

func TestParseExpect(t *testing.T) {
	prefix := netip.MustParsePrefix
	for _, c := range []struct {
		in   string
		want []finding.Expectation
	}{
		{"", nil},
		{" , ", nil},
		{"10.0.0.0/8=mtls", []finding.Expectation{{Prefix: prefix("10.0.0.0/8"), Want: finding.ExpectMTLS}}},
		{"10.0.0.0/8:5432=tls", []finding.Expectation{{Prefix: prefix("10.0.0.0/8"), Port: 5432, Want: finding.ExpectTLS}}},
		{"10.1.2.3=any", []finding.Expectation{{Prefix: prefix("10.1.2.3/32"), Want: finding.ExpectAny}}},
		{"10.1.2.3:80=any", []finding.Expectation{{Prefix: prefix("10.1.2.3/32"), Port: 80, Want: finding.ExpectAny}}},
		{"fd00::/8=mtls", []finding.Expectation{{Prefix: prefix("fd00::/8"), Want: finding.ExpectMTLS}}},
		{"[fd00::/8]=mtls", []finding.Expectation{{Prefix: prefix("fd00::/8"), Want: finding.ExpectMTLS}}},
		{"[fd00::/8]:443=mtls", []finding.Expectation{{Prefix: prefix("fd00::/8"), Port: 443, Want: finding.ExpectMTLS}}},
		{"[fd00::1]:443=tls", []finding.Expectation{{Prefix: prefix("fd00::1/128"), Port: 443, Want: finding.ExpectTLS}}},
		{"::ffff:10.0.0.0/104=tls", []finding.Expectation{{Prefix: prefix("10.0.0.0/8"), Want: finding.ExpectTLS}}},
		{"10.0.0.0/8=mtls, 0.0.0.0/0=tls ,::/0=tls", []finding.Expectation{
			{Prefix: prefix("10.0.0.0/8"), Want: finding.ExpectMTLS}, {Prefix: prefix("0.0.0.0/0"), Want: finding.ExpectTLS}, {Prefix: prefix("::/0"), Want: finding.ExpectTLS},
		}},
	} {
		got, err := finding.ParseExpect(c.in)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: %v, %v; want %v", c.in, got, err, c.want)
		}
	}
}

// TestParseExpectErrors: an error names the item, its fault and the expected form.
func TestParseExpectErrors(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.0/8":           "there is no =",
		"10.0.0.0/8=":          `"" is not mtls, tls or any`,
		"10.0.0.0/8=MTLS":      `"MTLS" is not`,
		"10.0.0.0/33=tls":      `"10.0.0.0/33" is not a CIDR`,
		"pods=tls":             `"pods" is not a CIDR`,
		"=tls":                 `"" is not a CIDR`,
		"10.0.0.0/8:=tls":      "there is no port after the colon",
		"10.0.0.0/8:0=tls":     `port "0" is not from 1 to 65535`,
		"10.0.0.0/8:70000=tls": `port "70000" is not from 1 to 65535`,
		"10.0.0.0/8:http=tls":  `port "http"`,
		"[fd00::/8=tls":        "there is no closing bracket",
		"[fd00::/8]443=tls":    `"443" after the bracket is not a port`,
		"[fd00::/8]:=tls":      "is not a port",
		"10.1.2.3/8=tls":       "write 10.0.0.0/8 or 10.1.2.3/32",
		"fe80::1%eth0=tls":     "is not a CIDR",
	} {
		_, err := finding.ParseExpect("10.9.0.0/16=any," + in)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), finding.ExpectForm) || !strings.HasPrefix(err.Error(), `"`+in+`"`) {
			t.Errorf("%q: %v; want an error with the item, %q and the form", in, err, want)
		}
	}
}

// TestExpectation: the expectations with and without a declaration are those that schema/README.md
// describes.
func TestExpectation(t *testing.T) {
	node, api := netip.MustParseAddr("10.0.0.7"), netip.MustParseAddr("10.96.0.1")
	for _, c := range []struct {
		name   string
		mesh   string
		expect string
		peer   string
		class  string
		in     bool
		want   string
	}{
		{name: "private", peer: "10.2.2.2", want: "undeclared"},
		{name: "private in a mesh", mesh: "istio", peer: "10.2.2.2", want: "mtls"},
		{name: "private client in a mesh", mesh: "istio", peer: "10.2.2.2", in: true, want: "mtls"},
		{name: "private IPv6 in a mesh", mesh: "istio", peer: "fd00::9", want: "mtls"},
		{name: "IPv4 in IPv6", mesh: "istio", peer: "::ffff:10.2.2.2", want: "mtls"},
		{name: "shared address space in a mesh", mesh: "istio", peer: "100.64.3.3", want: "mtls"},
		{name: "Istio's own addresses", mesh: "istio", peer: "240.240.0.9", want: "mtls"},
		{name: "public", peer: "203.0.113.9", want: "tls"},
		{name: "public in a mesh", mesh: "istio", peer: "203.0.113.9", want: "tls"},
		{name: "public IPv6", mesh: "istio", peer: "2001:db8::9", want: "tls"},
		{name: "API server", mesh: "istio", peer: "10.96.0.1", class: "kubernetes_api", want: "undeclared"},
		{name: "node", mesh: "istio", peer: "10.0.0.7", class: "node", want: "undeclared"},
		{name: "link-local", mesh: "istio", peer: "169.254.20.10", want: "undeclared"},
		{name: "metadata", mesh: "istio", peer: "169.254.169.254", class: "cloud_metadata", want: "undeclared"},
		{name: "metadata that looks public", mesh: "istio", peer: "192.0.0.192", class: "cloud_metadata", want: "undeclared"},
		{name: "metadata that looks private", mesh: "istio", peer: "fd00:ec2::254", class: "cloud_metadata", want: "undeclared"},
		{name: "DNS", mesh: "istio", peer: "10.96.0.10", class: "dns", want: "undeclared"},
		{name: "probe", mesh: "istio", peer: "10.0.0.8", class: "probe", in: true, want: "undeclared"},
		{name: "declared", expect: "10.0.0.0/8=tls", peer: "10.2.2.2", want: "tls"},
		{name: "declared beats mesh", mesh: "istio", expect: "10.2.0.0/16=any", peer: "10.2.2.2", want: "any"},
		{name: "first match", expect: "10.2.0.0/16=any,10.0.0.0/8=mtls", peer: "10.2.2.2", want: "any"},
		{name: "no match", mesh: "istio", expect: "10.3.0.0/16=any", peer: "10.2.2.2", want: "mtls"},
		{name: "server port", expect: "0.0.0.0/0:80=any", peer: "10.2.2.2", want: "any"},
		{name: "other port", expect: "0.0.0.0/0:81=any", peer: "10.2.2.2", want: "undeclared"},
		{name: "the client is the peer of an ingress", expect: "10.1.1.2/32=mtls,10.2.2.2/32=any", peer: "10.2.2.2", in: true, want: "any"},
		{name: "declared for the API server", expect: "10.96.0.1:80=tls", peer: "10.96.0.1", class: "kubernetes_api", want: "tls"},
		{name: "declared IPv6", expect: "[fd00::/8]:80=mtls", peer: "fd00::9", want: "mtls"},
	} {
		t.Run(c.name, func(t *testing.T) {
			list, err := finding.ParseExpect(c.expect)
			if err != nil {
				t.Fatal(err)
			}
			r := newRig(t, finding.Config{Expect: list, Mesh: c.mesh, Nodes: []netip.Addr{node}, APIServer: api})
			j := plain(1, noon)
			j.PeerName, j.PeerNameBasis = "", ""
			j.Destination.Addr = netip.MustParseAddr(c.peer)
			if c.in {
				j.Direction, j.Source.Addr, j.Destination.Addr = verdict.DirectionIngress, j.Destination.Addr, j.Source.Addr
			}
			if c.class != "" {
				j.Class = c.class
			}
			r.e.Add(j)
			if got := r.of(finding.DatasetFlow)[0].text("meshtls.expectation"); got != c.want {
				t.Errorf("expectation %q, want %q", got, c.want)
			}
		})
	}
}

// TestExpectationInPod: traffic within the pod breaks no rule under any declared expectation.
func TestExpectationInPod(t *testing.T) {
	list, _ := finding.ParseExpect("0.0.0.0/0=mtls")
	r := newRig(t, finding.Config{Expect: list, Mesh: "osm"})
	j := plain(1, noon)
	j.Scope, j.Direction, j.Interface = verdict.ScopePod, verdict.DirectionInternal, "lo"
	r.e.Add(j)
	r.e.Flush(noon + minute)
	if n := len(r.of(finding.DatasetFinding)); n != 0 {
		t.Errorf("%d findings, want none", n)
	}
	if got := r.of(finding.DatasetFlow)[0].text("meshtls.expectation"); got != "any" {
		t.Errorf("expectation %q", got)
	}
}

// TestMeshSeen: once a mesh's mutual TLS is seen at this pod, connections with private peers are
// expected to be mutual TLS. The rules are then applied again at once to the live connections.
func TestMeshSeen(t *testing.T) {
	for name, id := range map[string]finding.Identity{"a pod": pod, "a capture": {}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, finding.Config{Identity: id})
			r.e.Add(living(plain(1, noon)))
			one := oneWay(2, noon+second)
			one.PeerName, one.Destination.Port = "billing", 8443
			r.e.Add(living(one))
			before := r.of(finding.DatasetFinding)
			if len(before) != 1 || before[0].number("event.severity") != 21 {
				t.Fatalf("before: %v", before)
			}
			r.forget()
			r.e.Add(mutual(3, noon+2*second))
			got := map[string]int64{}
			for _, d := range r.of(finding.DatasetFinding) {
				got[d.text("rule.id")+" "+d.text("meshtls.finding.state")] = d.number("event.severity")
			}
			want := map[string]int64{"plaintext-edge ongoing": 73, "tls-not-mutual open": 47}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("findings %v, want %v", got, want)
			}
			r.forget()
			r.e.Add(one)
			r.e.Add(plain(1, noon))
			if more := r.of(finding.DatasetFinding); len(more) != 0 {
				t.Errorf("connections were counted twice: %v", more)
			}
		})
	}
}

// TestMeshSeenElsewhere: in a capture of many pods, a mesh at one pod changes nothing for the others.
func TestMeshSeenElsewhere(t *testing.T) {
	r := newRig(t, finding.Config{})
	m := mutual(1, noon)
	m.Direction = ""
	r.e.Add(m)
	other := plain(2, noon+second)
	other.Direction, other.Source.Addr, other.Destination.Addr = "", netip.MustParseAddr("10.7.7.7"), netip.MustParseAddr("10.8.8.8")
	r.e.Add(other)
	same := plain(3, noon+2*second)
	same.Direction, same.Source.Addr = "", netip.MustParseAddr("10.7.7.7")
	r.e.Add(same)
	flows := r.of(finding.DatasetFlow)
	if a, b := flows[1].text("meshtls.expectation"), flows[2].text("meshtls.expectation"); a != "undeclared" || b != "mtls" {
		t.Errorf("expectations %q and %q, want undeclared and, at an end in the mesh, mtls", a, b)
	}
	// Connections that only claim to belong to a mesh change no expectation.
	r = newRig(t, finding.Config{})
	hint := oneWay(1, noon)
	hint.Mesh = "istio"
	r.e.Add(hint)
	r.e.Add(plain(2, noon+second))
	if got := r.of(finding.DatasetFlow)[1].text("meshtls.expectation"); got != "undeclared" {
		t.Errorf("expectation %q after a mere hint", got)
	}
}
