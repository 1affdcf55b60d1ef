package main

import (
	"net/netip"
	"strings"
)

// resolvConf names the pod's DNS servers: the kubelet writes it for each pod, by the pod's
// dnsPolicy (resolv.conf(5)).
const resolvConf = "/etc/resolv.conf"

// resolvers returns the addresses of the nameserver lines of a resolv.conf.
func resolvers(text string) (out []netip.Addr) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil {
			out = append(out, a.Unmap().WithZone(""))
		}
	}
	return out
}
