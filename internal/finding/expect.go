package finding

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// Expect is the expectation for a connection, meshtls.expectation.
type Expect string

// The expectations.
const (
	ExpectMTLS       Expect = "mtls"       // mutual TLS
	ExpectTLS        Expect = "tls"        // TLS at least
	ExpectAny        Expect = "any"        // no rule applies
	ExpectUndeclared Expect = "undeclared" // no expectation is declared: plaintext is reported with low severity
)

// words returns an expectation as a clause of a sentence.
func (x Expect) words() string {
	switch x {
	case ExpectMTLS:
		return "mutual TLS is expected"
	case ExpectTLS:
		return "TLS is expected"
	case ExpectAny:
		return "anything is accepted"
	default:
		return "no expectation is declared"
	}
}

// strictness returns the position of an expectation in the order from lax to strict.
func (x Expect) strictness() int {
	return slices.Index([]Expect{ExpectAny, ExpectUndeclared, ExpectTLS, ExpectMTLS}, x)
}

func stricter(a, b Expect) Expect {
	if b.strictness() > a.strictness() {
		return b
	}
	return a
}

// Expectation is a declared expectation for connections to peers in Prefix at server port Port.
type Expectation struct {
	Prefix netip.Prefix
	Port   uint16 // 0: any port
	Want   Expect
}

// ExpectForm describes one item of the list that ParseExpect reads.
const ExpectForm = "CIDR[:PORT]=mtls|tls|any, an IPv6 CIDR in brackets when a port follows"

// ParseExpect reads a list of expectations separated by commas, each in the form `CIDR[:PORT]=mtls|tls|any`, such as
// "10.0.0.0/8=mtls,[fd00::/8]:5432=tls". It ignores blanks around items, and empty items. A single address stands
// for the prefix that contains only that address. The error names the first invalid item and the expected form.
func ParseExpect(s string) ([]Expectation, error) {
	var list []Expectation
	for item := range strings.SplitSeq(s, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		x, err := parseExpectation(item)
		if err != nil {
			return nil, fmt.Errorf("%q: %w; expected %s", item, err, ExpectForm)
		}
		list = append(list, x)
	}
	return list, nil
}

func parseExpectation(item string) (Expectation, error) {
	var x Expectation
	place, want, found := strings.Cut(item, "=")
	if !found {
		return x, fmt.Errorf("there is no =")
	}

	x.Want = Expect(strings.TrimSpace(want))
	switch x.Want {
	case ExpectMTLS, ExpectTLS, ExpectAny:
	default:
		return x, fmt.Errorf("%q is not mtls, tls or any", string(x.Want))
	}

	cidr, port, err := splitPort(strings.TrimSpace(place))
	if err != nil {
		return x, err
	}

	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return x, fmt.Errorf("port %q is not from 1 to 65535", port)
		}
		x.Port = uint16(n)
	}

	x.Prefix, err = parsePrefix(cidr)
	return x, err
}

// splitPort splits CIDR[:PORT]. If there are brackets, they enclose the CIDR. An IPv6 CIDR without
// brackets has no port.
func splitPort(s string) (cidr, port string, err error) {
	if rest, ok := strings.CutPrefix(s, "["); ok {
		cidr, rest, ok = strings.Cut(rest, "]")
		if !ok {
			return "", "", fmt.Errorf("there is no closing bracket")
		}
		if rest == "" {
			return cidr, "", nil
		}
		port, ok = strings.CutPrefix(rest, ":")
		if !ok || port == "" {
			return "", "", fmt.Errorf("%q after the bracket is not a port", rest)
		}
		return cidr, port, nil
	}

	if strings.Count(s, ":") != 1 {
		return s, "", nil
	}

	cidr, port, _ = strings.Cut(s, ":")
	if port == "" {
		return "", "", fmt.Errorf("there is no port after the colon")
	}
	return cidr, port, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q is not a CIDR", s)
	}
	if m := p.Masked(); m != p {
		return p, fmt.Errorf("%s has bits set beyond its prefix length: write %s or %s", p, m, netip.PrefixFrom(p.Addr(), p.Addr().BitLen()))
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(a.Unmap(), p.Bits()-96), nil
	}
	return p, nil
}

// maxMeshAddrs is the largest number of stored addresses at which a mesh was seen; further addresses
// are ignored. Only a capture of many pods has so many.
const maxMeshAddrs = 4096

// policy determines the expectation for each connection.
type policy struct {
	declared   []Expectation
	mesh       string // declared for the pod
	cluster    []netip.Prefix
	nodes      []netip.Addr
	api        netip.Addr
	meshAddrs  map[netip.Addr]struct{} // addresses that took part in a mesh's mutual TLS
	ambient    string                  // the ambient mesh in which the pod is declared to be enrolled
	sidecar    bool                    // the pod has a mesh's proxy of its own
	hboneAddrs map[netip.Addr]struct{} // addresses of the tapped side that spoke HBONE
	onePod     bool                    // all local addresses belong to one pod
}

func newPolicy(cfg *Config) policy {
	return policy{
		declared: cfg.Expect, mesh: cfg.Mesh, cluster: cfg.Cluster, nodes: cfg.Nodes, api: cfg.APIServer, meshAddrs: map[netip.Addr]struct{}{},
		ambient: cfg.Identity.Ambient, sidecar: cfg.Identity.LocalProxy != "", hboneAddrs: map[netip.Addr]struct{}{},
		onePod: cfg.Identity.Pod != "" || cfg.Identity.UID != "",
	}
}

// expectationOf returns the expectation for a connection. Traffic within the pod has no expectation,
// even if one is declared.
func (p *policy) expectationOf(j *verdict.Judged) Expect {
	if j.Scope == verdict.ScopePod {
		return ExpectAny
	}

	peer := peerAddr(j)
	for _, x := range p.declared {
		if (x.Port == 0 || x.Port == j.Destination.Port) && x.Prefix.Contains(peer) {
			return x.Want
		}
	}

	switch {
	case j.Class == "dns" || j.Class == "probe" || j.Class == "metrics":
		return ExpectUndeclared
	case p.isPublic(peer):
		return ExpectTLS
	case !isWorkload(peer) && !within(p.cluster, peer) || peer == p.api.Unmap() || slices.Contains(p.nodes, peer):
		return ExpectUndeclared
	case p.mesh != "" || p.ambient != "" || p.inMesh(j):
		if j.TLS != nil && slices.Contains(oneWay, j.Claimed) {
			return ExpectTLS
		}
		return ExpectMTLS
	}
	return ExpectUndeclared
}

// oneWay lists the classes whose clients send no certificate by design. A TLS connection that claims such
// a class is not expected to be mutual, unless an expectation is declared.
var oneWay = []string{"mesh_control", "kubernetes_api", "dns"}

// learnMesh records that the tapped end of j is in a mesh, and reports whether this was unknown
// before. If the direction is unknown, it records both ends, because each sent a certificate.
func (p *policy) learnMesh(j *verdict.Judged) bool {
	if j.Mesh == "" || j.Verdict != verdict.MTLS || j.Scope == verdict.ScopePod || j.Foreign {
		return false
	}
	p.enroll(j)
	before := len(p.meshAddrs)
	ends, n := p.tapped(j)
	for _, a := range ends[:n] {
		if len(p.meshAddrs) < maxMeshAddrs {
			p.meshAddrs[a] = struct{}{}
		}
	}
	return len(p.meshAddrs) > before
}

func (p *policy) inMesh(j *verdict.Judged) bool {
	ends, n := p.tapped(j)
	for _, a := range ends[:n] {
		if _, ok := p.meshAddrs[a]; ok {
			return true
		}
	}
	return false
}

// tapped returns the keys for the tapped end: its address, or the zero address if all local addresses
// belong to one pod. If the direction is unknown, it returns the addresses of both ends.
func (p *policy) tapped(j *verdict.Judged) (ends [2]netip.Addr, n int) {
	src, dst := j.Source.Addr.Unmap(), j.Destination.Addr.Unmap()
	switch {
	case j.Direction != "" && p.onePod:
		return ends, 1
	case j.Direction == verdict.DirectionEgress:
		return [2]netip.Addr{src}, 1
	case j.Direction == verdict.DirectionIngress:
		return [2]netip.Addr{dst}, 1
	}
	return [2]netip.Addr{src, dst}, 2
}

// peerAddr returns the address of the remote end, or of the server if the direction is unknown.
func peerAddr(j *verdict.Judged) netip.Addr {
	if j.Direction == verdict.DirectionIngress {
		return j.Source.Addr.Unmap().WithZone("")
	}
	return j.Destination.Addr.Unmap().WithZone("")
}

// shared lists ranges that are neither private (RFC 1918) nor on the internet. They are the shared
// address space that some clouds give pods (RFC 6598), and class E, which Istio uses for services
// without an address.
var shared = []netip.Prefix{netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("240.0.0.0/4")}

// isPublic reports whether a is an address on the internet. Addresses in the declared ranges of the
// cluster are not public.
func (p *policy) isPublic(a netip.Addr) bool {
	return a.IsValid() && a.IsGlobalUnicast() && !isPrivate(a) && !slices.Contains(metadataAddrs, a) && !within(p.cluster, a)
}

func within(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

func isPrivate(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() ||
		within(shared, a)
}

// isWorkload reports whether a workload can have the address a.
func isWorkload(a netip.Addr) bool {
	return a.IsValid() && !a.IsLoopback() && !a.IsLinkLocalUnicast() && !a.IsMulticast() && !a.IsUnspecified() &&
		a != broadcast && !slices.Contains(metadataAddrs, a)
}

var broadcast = netip.MustParseAddr("255.255.255.255")

// metadataAddrs lists instance metadata services that are not link-local: AWS over IPv6 (IMDS and EKS),
// Alibaba, Oracle.
var metadataAddrs = []netip.Addr{
	netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("fd00:ec2::23"),
	netip.MustParseAddr("100.100.100.200"), netip.MustParseAddr("192.0.0.192"),
}
