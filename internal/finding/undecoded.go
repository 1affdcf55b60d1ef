package finding

import (
	"maps"
	"slices"
)

// control holds the names in Coverage.Undecoded of protocols that operate the network and carry no
// connections of workloads.
var control = map[string]bool{
	"arp": true, "icmp": true, "ipv6_icmp": true, "igmp": true, "lldp": true, "llc": true, "eapol": true, "loopback_test": true,
	"pim": true, "ospf": true, "vrrp": true, "eigrp": true, "ptp": true, "pppoe_discovery": true, "wake_on_lan": true,
}

// Hidden returns the sorted names in c.Undecoded of packets that may have carried connections, and the
// number of such packets. Records make no statement about these packets.
func (c *Coverage) Hidden() (names []string, packets uint64) {
	for _, name := range slices.Sorted(maps.Keys(c.Undecoded)) {
		if n := c.Undecoded[name]; n > 0 && !control[name] {
			names = append(names, name)
			packets += n
		}
	}
	return names, packets
}

// Control is like Hidden, for packets of protocols that operate the network and carry no connections.
func (c *Coverage) Control() (names []string, packets uint64) {
	for _, name := range slices.Sorted(maps.Keys(c.Undecoded)) {
		if n := c.Undecoded[name]; n > 0 && control[name] {
			names = append(names, name)
			packets += n
		}
	}
	return names, packets
}

// undecodedGrowth returns the growth of the counters of undecoded packets.
func undecodedGrowth(now, before map[string]uint64) map[string]uint64 {
	if len(now) == 0 {
		return nil
	}
	grown := map[string]uint64{}
	for name, n := range now {
		if n = growth(n, before[name]); n > 0 {
			grown[name] = n
		}
	}
	return grown
}

// undecoded returns the value of meshtls.coverage.undecoded.
func (c *Coverage) undecoded() map[string]uint64 {
	names, _ := c.Hidden()
	out := make(map[string]uint64, len(names))
	for _, name := range names {
		out[name] = c.Undecoded[name]
	}
	return out
}
