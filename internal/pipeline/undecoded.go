package pipeline

import (
	"fmt"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// protocolNames holds the names in coverage of IP protocol numbers
// (https://www.iana.org/assignments/protocol-numbers).
var protocolNames = map[uint16]string{
	1: "icmp", 2: "igmp", 4: "ip_in_ip", 33: "dccp", 41: "ipv6_in_ip", 47: "gre", 50: "esp", 51: "ah", 58: "ipv6_icmp", 88: "eigrp", 89: "ospf",
	103: "pim", 108: "ipcomp", 112: "vrrp", 115: "l2tp", 132: "sctp", 135: "mobility_header", 136: "udplite",
	137: "mpls_in_ip", 139: "hip", 140: "shim6", 253: "experimental", 254: "experimental",
}

// etherNames holds the names in coverage of EtherTypes
// (https://www.iana.org/assignments/ieee-802-numbers).
var etherNames = map[uint16]string{
	0x0806: "arp", 0x0842: "wake_on_lan", 0x880b: "ppp_control", 0x8847: "mpls", 0x8848: "mpls", 0x8863: "pppoe_discovery", 0x8864: "pppoe",
	0x888e: "eapol", 0x88cc: "lldp", 0x88e5: "macsec", 0x88e7: "pbb", 0x88f7: "ptp", 0x8906: "fcoe", 0x894f: "nsh", 0x8915: "roce", 0x9000: "loopback_test",
}

// undecodedNames returns the number of undecoded packets under the names used in coverage.
func undecodedNames(list []flow.Undecoded) map[string]uint64 {
	if len(list) == 0 {
		return nil
	}
	out := map[string]uint64{}
	for _, u := range list {
		out[undecodedName(u.Reason, u.Other)] += u.Packets
	}
	return out
}

func undecodedName(r flow.Reason, what uint16) string {
	switch {
	case r == flow.UnknownLink:
		return fmt.Sprintf("link_type_%d", what)
	case r == flow.OtherTransport && protocolNames[what] != "":
		return protocolNames[what]
	case r == flow.OtherTransport:
		return fmt.Sprintf("ip_protocol_%d", what)
	case r == flow.OtherNetwork && what == 0:
		return "not_ip"
	case r == flow.OtherNetwork && what == flow.SNAP:
		return "llc_snap"
	case r == flow.LaterFragment:
		return "fragments"
	case r == flow.OtherNetwork && what < wire.LeastEtherType:
		return "llc"
	case r == flow.OtherNetwork && etherNames[what] != "":
		return etherNames[what]
	case r == flow.OtherNetwork:
		return fmt.Sprintf("ethertype_%04x", what)
	}
	return r.String() // truncated or malformed
}
