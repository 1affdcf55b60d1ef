package main

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// addresses are those at which the pod's network namespace receives packets. It follows
// them by rtnetlink(7): what was announced before a packet reached the ring is known
// before the packet is looked at. It is guarded by the pipeline's lock.
type addresses struct {
	given   []netip.Addr // POD_IPS: always the pod's
	exact   map[netip.Addr]struct{}
	ranges  []netip.Prefix          // longer than an address, as AnyIP routes them (ip route add local)
	all     map[netip.Addr]struct{} // broadcast addresses
	joined  map[netip.Addr]struct{} // multicast groups
	taken   map[netip.Addr]int64    // addresses that were taken away, and when that was noticed, ns since the epoch
	problem error                   // why the namespace's addresses could not be read

	events     events
	groupsRead time.Time // when joined was read
	renewed    time.Time // when all else was
}

const (
	// maxOwn bounds the addresses and ranges of the namespace that are known.
	maxOwn = 1 << 14
	// A local route to more addresses than these prefixes hold is no address of the pod: a
	// transparent proxy takes whatever it is sent by one to all addresses (ip route add
	// local 0.0.0.0/0 table N).
	leastBits4, leastBits6 = 8, 16
	// A packet to a multicast group that is not known reads the groups again, at most every joinEvery: joining a
	// group is not announced. Addresses are polled every pollEvery where the kernel does not announce changes.
	joinEvery, pollEvery = 250 * time.Millisecond, 250 * time.Millisecond
	// takenFor is how long an address is remembered that was taken away: longer than packets
	// wait in a ring.
	takenFor = 10 * time.Second
)

// localRoute is an entry of a routing table for packets that end in this namespace.
type localRoute struct {
	to        netip.Prefix
	broadcast bool
}

// has reports whether an address is the pod's own, or was at a time, in ns since the
// epoch: packets that wait in a ring are looked at after their address was taken away.
func (a *addresses) has(x netip.Addr, at int64) bool {
	x = x.Unmap().WithZone("")
	if x.IsLoopback() {
		return true
	}
	if _, ok := a.exact[x]; ok {
		return true
	}
	if until, ok := a.taken[x]; ok && at <= until {
		return true
	}
	return slices.ContainsFunc(a.ranges, func(p netip.Prefix) bool { return p.Contains(x) })
}

// receives reports whether datagrams to a broadcast address, or to a multicast group that
// the pod has joined, reach the pod.
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

// unknown reports whether no address of the pod is known, so that it cannot be said which
// conversations are the pod's.
func (a *addresses) unknown() bool { return a.problem != nil && len(a.given) == 0 }

// fault returns what the operator is told where unknown, nil otherwise.
func (a *addresses) fault() error {
	if !a.unknown() {
		return nil
	}
	return fmt.Errorf("the pod's addresses are not known: %w: set POD_IPS; until then connections have no direction and resumptions inherit nothing", a.problem)
}

// renew reads the addresses again if they may have changed since the last call, and
// reports whether it did. links reports whether network interfaces came or went.
func (a *addresses) renew() (read, links bool) {
	changed, links, ok := a.events.drain()
	if !ok && time.Since(a.renewed) >= pollEvery {
		changed, links = true, true
	}
	if changed {
		a.read()
	}
	return changed, links
}

// read reads the namespace's addresses. If they cannot be read those from before stay.
func (a *addresses) read() {
	a.renewed = time.Now()
	routes, err := localRoutes()
	if a.problem = err; err == nil || a.exact == nil {
		before := a.exact
		a.set(routes)
		a.take(before, a.renewed.UnixNano())
	}
}

// take notes which of the addresses from before are no longer there.
func (a *addresses) take(before map[netip.Addr]struct{}, now int64) {
	maps.DeleteFunc(a.taken, func(_ netip.Addr, at int64) bool { return now-at > int64(takenFor) })
	for x := range before {
		if _, ok := a.exact[x]; !ok && len(a.taken) < maxOwn {
			if a.taken == nil {
				a.taken = map[netip.Addr]int64{}
			}
			a.taken[x] = now
		}
	}
}

func (a *addresses) set(routes []localRoute) {
	a.exact, a.all, a.ranges = map[netip.Addr]struct{}{}, map[netip.Addr]struct{}{}, nil
	for _, x := range a.given {
		a.exact[x] = struct{}{}
	}
	for _, r := range routes[:min(len(routes), maxOwn)] {
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

// groups reads the multicast groups that a namespace has joined from /proc/net/igmp, which
// shows addresses as numbers of the machine's byte order in hexadecimal digits, and
// /proc/net/igmp6, which shows 32 digits.
func groups(igmp, igmp6 string) map[netip.Addr]struct{} {
	out := map[netip.Addr]struct{}{}
	for line := range strings.Lines(igmp) {
		var b [4]byte
		if f := strings.Fields(line); strings.HasPrefix(line, "\t") && len(f) > 0 && unhex(b[:], f[0]) {
			binary.NativeEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:]))
			out[netip.AddrFrom4(b)] = struct{}{}
		}
	}
	for line := range strings.Lines(igmp6) {
		var b [16]byte
		if f := strings.Fields(line); len(f) > 2 && unhex(b[:], f[2]) {
			out[netip.AddrFrom16(b)] = struct{}{}
		}
	}
	return out
}

// unhex decodes exactly as many hexadecimal digits as b has room for.
func unhex(b []byte, digits string) bool {
	if len(digits) != 2*len(b) {
		return false
	}
	_, err := hex.Decode(b, []byte(digits))
	return err == nil
}
