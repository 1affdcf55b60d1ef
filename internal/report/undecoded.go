package report

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/order"
)

// undecodedWords maps names in Coverage.Undecoded to their usual spelling. In other names, underscores
// become spaces.
var undecodedWords = map[string]string{
	"arp": "ARP", "icmp": "ICMP", "ipv6_icmp": "ICMPv6", "igmp": "IGMP", "lldp": "LLDP", "llc": "LLC (spanning tree and others)", "eapol": "EAPOL",
	"pim": "PIM", "ospf": "OSPF", "vrrp": "VRRP", "eigrp": "EIGRP", "ptp": "PTP", "pppoe_discovery": "PPPoE discovery",
	"sctp": "SCTP", "dccp": "DCCP", "udplite": "UDP-Lite", "gre": "GRE", "esp": "ESP (IPsec)", "ah": "AH (IPsec)", "ip_in_ip": "IP in IP",
	"ipv6_in_ip": "IPv6 in IP", "l2tp": "L2TP", "mpls": "MPLS", "mpls_in_ip": "MPLS in IP", "pppoe": "PPPoE", "macsec": "MACsec", "pbb": "PBB",
	"fcoe": "FCoE", "roce": "RoCE", "ipcomp": "IPComp", "ppp_control": "PPP control", "not_ip": "not IP",
	"malformed": "malformed headers", "truncated": "headers truncated by the snap length", "fragments": "IP fragments of incomplete datagrams",
	"mobility_header": "IPv6 mobility headers", "hip": "HIP", "shim6": "Shim6", "nsh": "NSH", "experimental": "experimental IP protocols (253, 254)",
	"llc_snap": "IP or other protocols in LLC/SNAP",
}

// undecoded writes the kinds of packets that were not decoded, the most frequent first.
func (t *text) undecoded(c *finding.Coverage) {
	names, n := c.Hidden()
	if n > 0 {
		t.wrap("  ", fmt.Sprintf("%s not decoded, so their contents are unknown: %s", plural(n, "packet"), packetCounts(c, names)))
		for _, a := range c.Advice() {
			t.wrap("    ", a)
		}
	}
	if names, n = c.Control(); n > 0 {
		t.wrap("  ", fmt.Sprintf("%s of protocols that operate the network: %s", plural(n, "packet"), packetCounts(c, names)))
	}
}

func packetCounts(c *finding.Coverage, names []string) string {
	order.Stable(names, func(a, b string) int { return cmp.Compare(c.Undecoded[b], c.Undecoded[a]) })
	var parts []string
	for _, name := range names {
		word := undecodedWords[name]
		if word == "" {
			word = strings.ReplaceAll(clean(name), "_", " ")
		}
		parts = append(parts, fmt.Sprintf("%d %s", c.Undecoded[name], word))
	}
	return strings.Join(parts, ", ")
}
