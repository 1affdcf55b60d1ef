package live

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
)

// addresses holds the addresses at which the pod's network namespace receives packets. It follows the announcements of
// rtnetlink(7). If an address was announced before a packet reached the ring, the address is known before the packet
// is read. The pipeline's lock guards it.
type addresses struct {
	given   []netip.Addr // Config.PodIPs
	exact   map[netip.Addr]struct{}
	ranges  []netip.Prefix          // local routes to more than one address (AnyIP: ip route add local)
	all     map[netip.Addr]struct{} // broadcast addresses
	joined  map[netip.Addr]struct{} // multicast groups
	removed map[netip.Addr]int64    // removed addresses, each with the time at which the removal was noticed, ns since the epoch
	err     error                   // why the namespace's addresses could not be read

	events     events
	groupsRead time.Time // when joined was read
	readAt     time.Time // when all other lists were read
}

const (
	// maxAddresses bounds each of the lists of addresses and ranges.
	maxAddresses = 1 << 14

	// A local route with a shorter prefix does not add its range to the pod's addresses. A transparent proxy has a local
	// route to all addresses (ip route add local 0.0.0.0/0 table N), so that it receives all packets that are routed to
	// it.
	leastBits4, leastBits6 = 8, 16

	// The kernel does not announce that the pod joins a multicast group. So the groups are read again for a packet to an unknown
	// group, but at most once in joinEvery. Addresses are polled every pollEvery if the kernel does not announce their changes.
	joinEvery, pollEvery = 250 * time.Millisecond, 250 * time.Millisecond

	// removedFor is how long a removed address is remembered. It is longer than packets wait in a
	// ring.
	removedFor = 10 * time.Second
)

// localRoute is an entry of a routing table for packets that end in this namespace.
type localRoute struct {
	to        netip.Prefix
	broadcast bool
}

// has reports whether an address is the pod's, or was the pod's at the time at, in ns since the epoch. The second case matters
// for a packet that waited in a ring while its address was removed.
func (a *addresses) has(x netip.Addr, at int64) bool {
	x = x.Unmap().WithZone("")
	if x.IsLoopback() {
		return true
	}
	if _, ok := a.exact[x]; ok {
		return true
	}
	if until, ok := a.removed[x]; ok && at <= until {
		return true
	}
	return slices.ContainsFunc(a.ranges, func(p netip.Prefix) bool { return p.Contains(x) })
}

// receives reports whether datagrams to a broadcast or multicast address reach the pod. Datagrams
// to a multicast group reach it only if it has joined the group.
func (a *addresses) receives(x netip.Addr) bool {
	if !x.IsMulticast() {
		_, ok := a.all[x]
		return ok || x == netip.AddrFrom4([4]byte{255, 255, 255, 255})
	}

	_, ok := a.joined[x]
	if now := time.Now(); !ok && now.Sub(a.groupsRead) >= joinEvery {
		a.groupsRead = now
		a.joined = groups(contents("/proc/net/igmp"), contents("/proc/net/igmp6"))
		_, ok = a.joined[x]
	}
	return ok
}

// unknown reports whether no address of the pod is known. In this case no connection can be called
// the pod's.
func (a *addresses) unknown() bool { return a.err != nil && len(a.given) == 0 }

// problem returns an error for the operator if no address of the pod is known. Otherwise it returns
// nil.
func (a *addresses) problem() error {
	if !a.unknown() {
		return nil
	}
	return fmt.Errorf("the pod's addresses are not known: %w: set POD_IPS; until then connections have no direction and resumptions inherit nothing", a.err)
}

// update reads the addresses again if they may have changed since the last call. read reports whether it has read them. links
// reports whether network interfaces may have come or gone.
func (a *addresses) update() (read, links bool) {
	changed, links, ok := a.events.drain()
	if !ok && time.Since(a.readAt) >= pollEvery {
		changed, links = true, true
	}
	if changed {
		a.read()
	}
	return changed, links
}

// read reads the namespace's addresses. If that fails, the addresses that were read before remain.
func (a *addresses) read() {
	a.readAt = time.Now()
	routes, err := localRoutes()
	if a.err = err; err == nil || a.exact == nil {
		before := a.exact
		a.set(routes)
		a.noteRemoved(before, a.readAt.UnixNano())
	}
}

// noteRemoved records the addresses in before that the pod no longer has. now is in ns since the epoch.
func (a *addresses) noteRemoved(before map[netip.Addr]struct{}, now int64) {
	maps.DeleteFunc(a.removed, func(_ netip.Addr, at int64) bool { return now-at > int64(removedFor) })
	for x := range before {
		if _, ok := a.exact[x]; !ok && len(a.removed) < maxAddresses {
			if a.removed == nil {
				a.removed = map[netip.Addr]int64{}
			}
			a.removed[x] = now
		}
	}
}

func (a *addresses) set(routes []localRoute) {
	a.exact, a.all, a.ranges = map[netip.Addr]struct{}{}, map[netip.Addr]struct{}{}, nil
	for _, x := range a.given {
		a.exact[x] = struct{}{}
	}

	for _, r := range routes[:min(len(routes), maxAddresses)] {
		switch least := leastBits(r.to.Addr()); {
		case r.broadcast:
			a.all[r.to.Addr()] = struct{}{}
		case r.to.IsSingleIP():
			a.exact[r.to.Addr()] = struct{}{}
		case r.to.Bits() >= least:
			a.ranges = append(a.ranges, r.to)
		}
	}
}

func leastBits(x netip.Addr) int {
	if x.Is4() {
		return leastBits4
	}
	return leastBits6
}

// prefixes returns the pod's own addresses.
func (a *addresses) prefixes() []netip.Prefix {
	out := slices.Clone(a.ranges)
	for x := range maps.Keys(a.exact) {
		out = append(out, netip.PrefixFrom(x, x.BitLen()))
	}
	return out
}

// Addresses returns the pod's own addresses. If there is a pipeline, the caller holds the pipeline's lock.
func (c *Capture) Addresses() []netip.Prefix { return c.addresses.prefixes() }

// AddressProblem returns an error if no address of the pod is known. The caller holds the pipeline's lock.
func (c *Capture) AddressProblem() error { return c.addresses.problem() }

// AddressesUnknown reports whether no address of the pod is known. The caller holds the pipeline's lock.
func (c *Capture) AddressesUnknown() bool { return c.addresses.unknown() }

// Receives reports whether datagrams to a broadcast or multicast address reach the pod. It is for flow.Config.Group.
func (c *Capture) Receives(a netip.Addr) bool { return c.addresses.receives(a) }

// IsLocal reports whether an address was the pod's at a time, in ns since the epoch. It is for pipeline.Config.Local. It first
// reads announced changes of addresses. These changes are not read for each block, because on lo almost all packets have
// loopback addresses or belong to known connections.
func (c *Capture) IsLocal(a netip.Addr, at int64) bool {
	if c.due != nil && !a.Unmap().IsLoopback() {
		p := c.due
		c.due = nil
		c.updateAddresses(p)
	}
	return c.addresses.has(a, at)
}

// updateAddresses reads the changes that the kernel has announced. Afterwards the addresses are at least as new as the packets in
// the rings.
func (c *Capture) updateAddresses(p *pipeline.Locked) {
	read, links := c.addresses.update()
	if read {
		p.Judge.SetLocal(c.addresses.prefixes())
	}
	c.linksChanged = c.linksChanged || links
}

// followAddresses starts to follow the pod's addresses. If the kernel cannot announce changes, the addresses are polled.
func (c *Capture) followAddresses(p *pipeline.Locked) {
	if err := c.addresses.events.open(c.tickEarly); err != nil {
		c.log.Warn("changes of the pod's addresses are noticed late", "error", err)
	}
	c.readAddresses(p)
}

func (c *Capture) readAddresses(p *pipeline.Locked) {
	c.addresses.read()
	p.Judge.SetLocal(c.addresses.prefixes())
}
