package topology

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

// view is a part of an edge as one run of a tap reports it, with its ends.
type view struct {
	tap        *tap
	key        entryKey
	parts      []*entry
	side       string
	from, to   Workload
	port       uint16
	total      counts
	hashes     []hash
	manyHashes bool // there may be further ones
	single     bool // the peer is one address, or one workload
}

// edgeOfRun has the entries of an edge of one run: one of its postures and findings, and those of its flows by the peer's address.
type edgeOfRun struct {
	key    entryKey
	posted *entry // nil: there are flows only
	flows  []entryKey
}

// views returns the views of all taps, in a stable order.
func (g *Graph) views(r *resolver) []*view {
	var out []*view
	for _, t := range g.sortedTaps() {
		out = append(out, g.viewsOf(r, t)...)
	}
	return slices.DeleteFunc(out, func(v *view) bool { return v.total.total() == 0 }) // all are retracted, or are in other views
}

// viewsOf returns the views of a tap. A posture and the flows that it counts are one view, if all of them belong to one workload. Otherwise each
// address has a view with its flows, and what the posture counts beyond them has one too.
func (g *Graph) viewsOf(r *resolver, t *tap) []*view {
	w := g.index.workloadOf(t)
	unposted := map[entryKey]*counts{} // flows without a posture, which an aggregate edge may count, by run, scope and class
	var out, folded []*view
	for _, x := range edgesOf(t) {
		if x.key.folded != "" {
			folded = append(folded, &view{tap: t, key: x.key, parts: []*entry{x.posted}, total: x.posted.total()})
			continue
		}
		whole := &view{tap: t, key: x.key}
		var flows counts
		var single []*view
		for _, k := range x.flows {
			v := &view{tap: t, key: k, parts: []*entry{t.entries[k]}, total: t.entries[k].total()}
			v.setEnds(r, w)
			flows.add(&v.total)
			single = append(single, v)
			whole.parts = append(whole.parts, v.parts...)
		}
		if x.posted == nil {
			of := entryKey{run: x.key.run, scope: x.key.scope, class: x.key.class}
			if unposted[of] == nil {
				unposted[of] = &counts{}
			}
			unposted[of].add(&flows)
			out = append(out, single...)
			continue
		}
		whole.parts = append(whole.parts, x.posted)
		whole.total = x.posted.total()
		whole.setEnds(r, w)
		if whole.single {
			whole.total.raise(&flows)
			out = append(out, whole)
			continue
		}
		whole.parts = []*entry{x.posted}
		whole.total.subtract(&flows)
		out = append(append(out, single...), whole)
	}
	for _, v := range folded {
		if n := unposted[entryKey{run: v.key.run, scope: v.key.scope, class: v.key.class}]; n != nil {
			n[rankPlaintext] = 0 // rather too high than missing
			v.total.subtract(n)
		}
		v.setEnds(r, w)
		out = append(out, v)
	}
	for _, v := range out {
		for _, p := range v.parts {
			v.manyHashes = v.manyHashes || p.manyHashes
			for _, h := range p.allHashes() {
				v.hashes, _ = insertSorted(v.hashes, h, maxHashes*len(v.parts)+maxRules, compareHashes)
			}
		}
	}
	return out
}

// edgesOf returns the edges of the runs of a tap, in a stable order. Flows to a public address belong to the posture of its network.
func edgesOf(t *tap) []*edgeOfRun {
	keys := make([]entryKey, 0, len(t.entries))
	for k := range t.entries {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b entryKey) int { return compareKeys(&a, &b) })
	found := map[entryKey]*edgeOfRun{}
	networks := map[entryKey][]netip.Prefix{} // by the key without the peer
	var out []*edgeOfRun
	at := func(k entryKey) *edgeOfRun {
		if found[k] == nil {
			found[k] = &edgeOfRun{key: k}
			out = append(out, found[k])
		}
		return found[k]
	}
	for _, k := range keys {
		if k.addr.IsValid() {
			continue
		}
		at(k).posted = t.entries[k]
		if p, err := netip.ParsePrefix(k.peer); err == nil {
			k.peer = ""
			networks[k] = append(networks[k], p)
		}
	}
	for _, k := range keys {
		if !k.addr.IsValid() {
			continue
		}
		base := k
		base.addr = netip.Addr{}
		if a, err := netip.ParseAddr(k.peer); err == nil && found[base] == nil {
			nameless := base
			nameless.peer = ""
			if i := slices.IndexFunc(networks[nameless], func(p netip.Prefix) bool { return p.Contains(a) }); i >= 0 {
				base.peer = networks[nameless][i].String()
			}
		}
		x := at(base)
		x.flows = append(x.flows, k)
	}
	return out
}

func compareKeys(a, b *entryKey) int {
	return cmp.Or(strings.Compare(a.run, b.run), strings.Compare(a.direction, b.direction), strings.Compare(a.local, b.local), strings.Compare(a.peer, b.peer),
		cmp.Compare(a.port, b.port), strings.Compare(a.scope, b.scope), strings.Compare(a.class, b.class), strings.Compare(a.folded, b.folded), cmp.Compare(b2i(a.further), b2i(b.further)), a.addr.Compare(b.addr))
}

// times returns the time of the view's connections, in ns since the epoch.
func (v *view) times() (start, end int64) {
	for _, p := range v.parts {
		a, b := p.times()
		if a != 0 && (start == 0 || a < start) {
			start = a
		}
		end = max(end, b)
	}
	return start, end
}

// setEnds resolves the ends of a view. w is the tapped workload.
func (v *view) setEnds(r *resolver, w Workload) {
	k := &v.key
	peer := claim{text: k.peer}
	for _, p := range v.parts {
		for _, a := range p.peers {
			full := false
			peer.addrs, full = insertSorted(peer.addrs, a, maxPeers, netip.Addr.Compare)
			peer.more = peer.more || full
		}
		peer.more, peer.claimed = peer.more || p.manyPeers, peer.claimed || p.claimed
	}
	peer.first, peer.last = v.times()
	v.port = k.port
	local := func() Workload {
		if k.local == "" && v.tap.identified() {
			return w
		}
		end, port, _ := r.end(&claim{text: k.local, first: peer.first, last: peer.last}, v.port)
		if k.direction == "ingress" {
			v.port = port
		}
		return end
	}
	switch {
	case k.folded != "":
		v.from, v.to = several, w
		if !v.tap.identified() {
			v.to = several
		}
		if k.scope == "pod" {
			v.from = v.to
		}
	case k.direction == "ingress":
		v.side = sideServer
		v.to = local()
		v.from, _, v.single = r.end(&peer, 0)
	case k.scope == "pod" && v.tap.identified():
		v.from, v.to, v.single = w, w, true
	case k.direction == "" && v.tap.identified():
		v.setOwnEnd(r, w, &peer)
	default:
		if k.direction == "egress" {
			v.side = sideClient
		}
		v.from = local()
		v.to, v.port, v.single = r.end(&peer, k.port)
	}
}

// setOwnEnd sets the ends of a view whose direction is not known, of a tap in a pod. An end with an address of the pod is the tapped workload. A tap cannot speak for other
// pods, so if neither end has one, the ends stay addresses.
func (v *view) setOwnEnd(r *resolver, w Workload, peer *claim) {
	own := v.tap.addrs
	if p := r.podOf(v.tap); p != nil {
		own = p.Addresses
	}
	isOwn := func(text string) bool {
		a, err := netip.ParseAddr(text)
		return err == nil && slices.ContainsFunc(own, func(o netip.Addr) bool { return bare(o) == bare(a) })
	}
	switch {
	case isOwn(v.key.local):
		v.side, v.from = sideClient, w
		v.to, v.port, v.single = r.end(peer, v.key.port)
	case isOwn(v.key.peer):
		v.side, v.to = sideServer, w
		v.from, _, v.single = r.end(&claim{text: v.key.local, first: peer.first, last: peer.last}, 0)
	default:
		v.from, v.to = unresolved(v.key.local), unresolved(v.key.peer)
	}
}

// unresolved returns an end that is only a text from a record.
func unresolved(text string) Workload {
	w := Workload{Name: text}
	if a, err := netip.ParseAddr(text); err == nil {
		w.Addresses = []netip.Addr{bare(a)}
	} else if _, err := netip.ParsePrefix(text); err != nil && text != "" {
		w.Claimed = true
	}
	return w
}
