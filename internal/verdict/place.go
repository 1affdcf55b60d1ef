package verdict

import (
	"net/netip"
	"slices"
)

// Values of meshtls.scope and network.direction.
const (
	ScopeWire = "wire"
	ScopePod  = "pod"

	DirectionIngress  = "ingress"
	DirectionEgress   = "egress"
	DirectionInternal = "internal"
)

// place says where a connection runs: its network.direction and meshtls.scope. What is
// captured on lo stays in the pod, whatever its addresses (a REDIRECT shows others).
func (j *Judge) place(o *Judged) (direction, scope string) {
	from, to := j.Local(o.Source.Addr), j.Local(o.Destination.Addr)
	switch {
	case o.Interface == "lo" || o.Interface == "lo0" || from && to:
		return DirectionInternal, ScopePod
	case from:
		return DirectionEgress, ScopeWire
	case to:
		return DirectionIngress, ScopeWire
	}
	return "", ScopeWire
}

// Local tells whether an address is the pod's own, by Config.Local, or loopback.
func (j *Judge) Local(a netip.Addr) bool {
	return a.IsLoopback() || slices.ContainsFunc(j.cfg.Local, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
}
