package verdict

import (
	"net/netip"
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// Values of meshtls.scope and network.direction.
const (
	ScopeWire = "wire"
	ScopePod  = "pod"

	DirectionIngress  = "ingress"
	DirectionEgress   = "egress"
	DirectionInternal = "internal"
)

// locate returns the network.direction and meshtls.scope of a connection. A connection captured on lo stays in the
// pod, whatever its addresses are, because a REDIRECT shows other addresses. The local addresses of a live tap
// belong to one pod; those of a capture file may belong to several. So in a capture file, only a connection
// between loopback addresses, or of an address with itself, stays within one pod.
func (j *Judge) locate(o *Judged, c *flow.Conn) (direction, scope string) {
	from, to := j.localEnds(c)
	switch {
	case o.Interface == "lo" || o.Interface == "lo0" || from && to && (c.Located || onePod(c)):
		return DirectionInternal, ScopePod
	case from:
		return DirectionEgress, ScopeWire
	case to:
		return DirectionIngress, ScopeWire
	}
	return "", ScopeWire
}

// onePod reports whether a connection's addresses suffice to show that it stays within a pod.
func onePod(c *flow.Conn) bool {
	return c.Orig.Addr == c.Resp.Addr || c.Orig.Addr.IsLoopback() || c.Resp.Addr.IsLoopback()
}

// localEnds reports which ends of a connection are the pod's own. If the flow table decided this when the
// connection began, the table's decision counts, because the pod's addresses may change.
func (j *Judge) localEnds(c *flow.Conn) (orig, resp bool) {
	if c.Located {
		return c.OrigLocal, c.RespLocal
	}
	return j.Local(c.Orig.Addr), j.Local(c.Resp.Addr)
}

// foreign reports whether neither end of a connection is the pod's own, although the pod's addresses are known.
// Nothing is learned from such a connection, because anybody who can send packets to the interface can forge it.
func (j *Judge) foreign(c *flow.Conn) bool {
	orig, resp := j.localEnds(c)
	return (c.Located || len(j.cfg.Local) > 0) && !orig && !resp
}

// Local reports whether an address is the pod's own, by Config.Local, or loopback.
func (j *Judge) Local(a netip.Addr) bool {
	return a.IsLoopback() || slices.ContainsFunc(j.cfg.Local, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
}
