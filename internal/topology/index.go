package topology

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// index finds the owners of addresses in an inventory, and those that taps have reported.
type index struct {
	pods     map[netip.Addr][]*Pod // without those that use their node's addresses
	services map[netip.Addr]*Service
	nodes    map[netip.Addr]*Node
	byUID    map[string]*Pod
	byName   map[string]*Pod     // by namespace/name
	owners   map[string]Workload // by namespace/name of the workload; the zero Workload if there are several
	complete bool
}

func newIndex(inv *Inventory) index {
	x := index{
		pods: map[netip.Addr][]*Pod{}, services: map[netip.Addr]*Service{}, nodes: map[netip.Addr]*Node{}, byUID: map[string]*Pod{}, byName: map[string]*Pod{},
		owners: map[string]Workload{}, complete: inv.Complete,
	}
	for i := range inv.Pods {
		p := &inv.Pods[i]
		if p.UID != "" {
			x.byUID[p.UID] = p
		}
		x.byName[p.Namespace+"/"+p.Name] = p
		if w, seen := x.owners[p.Workload.String()]; !seen {
			x.owners[p.Workload.String()] = p.Workload
		} else if w.Kind != p.Workload.Kind {
			x.owners[p.Workload.String()] = Workload{}
		}
		if p.HostNetwork {
			continue
		}
		for _, a := range p.Addresses {
			x.pods[bare(a)] = append(x.pods[bare(a)], p)
		}
	}
	for i := range inv.Services {
		for _, a := range inv.Services[i].Addresses {
			x.services[bare(a)] = &inv.Services[i]
		}
	}
	for i := range inv.Nodes {
		for _, a := range inv.Nodes[i].Addresses {
			x.nodes[bare(a)] = &inv.Nodes[i]
		}
	}
	return x
}

// podOf returns the pod of a tap in the inventory, or nil.
func (x *index) podOf(t *tap) *Pod {
	if p := x.byUID[t.uid]; t.uid != "" && p != nil {
		return p
	}
	if p := x.byName[t.namespace+"/"+t.pod]; t.pod != "" && p != nil && (t.uid == "" || p.UID == "") {
		return p
	}
	return nil
}

// workloadOf returns the tapped workload.
func (x *index) workloadOf(t *tap) Workload {
	if p := x.podOf(t); p != nil {
		return p.Workload
	}
	switch {
	case t.workload != "":
		w := Workload{Namespace: t.namespace, Kind: t.kind, Name: t.workload}
		if o := x.owners[w.String()]; w.Kind == "" && o.Name != "" {
			return o
		}
		return w
	case t.pod != "":
		return Workload{Namespace: t.namespace, Kind: "Pod", Name: t.pod}
	case t.uid != "":
		return Workload{Namespace: t.namespace, Kind: "Pod", Name: t.uid}
	}
	return Workload{}
}

// resolver finds the ends of edges. It adds what the taps know about their pods to the index.
type resolver struct {
	*index
	learned   map[netip.Addr][]learned
	ambiguous map[string]bool // addresses with several owners
	young     map[string]bool // addresses of pods that started after the traffic, or during it
}

// learned is a tapped pod that has an address, and the time for which its tap reported.
type learned struct {
	workload    Workload
	first, last int64
}

func (g *Graph) newResolver() *resolver {
	r := &resolver{index: &g.index, learned: map[netip.Addr][]learned{}, ambiguous: map[string]bool{}, young: map[string]bool{}}
	for _, t := range g.sortedTaps() {
		if !t.identified() {
			continue
		}
		first, last := t.time()
		w, p := g.index.workloadOf(t), g.index.podOf(t)
		for _, a := range t.addrs {
			if !g.index.mayHave(p, a, first) {
				continue // the record's words against those of the API server
			}
			r.learned[a] = append(r.learned[a], learned{w, first, last})
		}
	}
	return r
}

// mayHave reports whether a tapped pod may have an address of its own that its records claim from the time since on. p is nil for a pod that is not in the inventory,
// which may have had an address before the pod that has it now.
func (x *index) mayHave(p *Pod, a netip.Addr, since int64) bool {
	switch {
	case x.nodes[a] != nil || x.services[a] != nil:
		return false // of the node: the pod cannot be told from others there
	case p == nil:
		return !slices.ContainsFunc(x.pods[a], func(o *Pod) bool { at := unix(o.Started); return at != 0 && at <= since })
	}
	return !p.HostNetwork && slices.ContainsFunc(p.Addresses, func(o netip.Addr) bool { return bare(o) == a })
}

// time returns the time for which a tap reported, in ns since the epoch.
func (t *tap) time() (first, last int64) {
	for _, u := range t.runs {
		if u.first != 0 && (first == 0 || u.first < first) {
			first = u.first
		}
		last = max(last, u.last)
	}
	return first, last
}

// owner is the owner of an address.
type owner struct {
	workload Workload
	service  *Service // the address is a service's
}

// ownerOf returns the owner of an address at the time of an edge, and whether there is one. An address with several owners at that time has none.
func (r *resolver) ownerOf(a netip.Addr, first, last int64) (owner, bool) {
	var owners []Workload
	add := func(w Workload) {
		if !slices.ContainsFunc(owners, func(o Workload) bool { return keyOfWorkload(&o) == keyOfWorkload(&w) }) {
			owners = append(owners, w)
		}
	}
	for _, l := range r.learned[a] {
		if l.first <= last && l.last >= first {
			add(l.workload)
		}
	}
	for _, p := range r.pods[a] {
		switch started := unix(p.Started); {
		case started > last:
			r.young[a.String()] = true
		default:
			if started > first {
				r.young[a.String()] = true
			}
			add(p.Workload)
		}
	}
	switch {
	case len(owners) == 1:
		return owner{workload: owners[0]}, true
	case len(owners) > 1:
		r.ambiguous[a.String()] = true
		return owner{}, false
	}
	if s := r.services[a]; s != nil {
		if len(s.Workloads) == 1 && !s.Others {
			return owner{s.Workloads[0], s}, true
		}
		return owner{Workload{Namespace: s.Namespace, Kind: "Service", Name: s.Name}, s}, true
	}
	if n := r.nodes[a]; n != nil {
		return owner{workload: Workload{Kind: "Node", Name: n.Name}}, true
	}
	return owner{}, false
}

func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

// claim is what records say about one end of an edge.
type claim struct {
	text        string       // its name or address, or that of its network
	addrs       []netip.Addr // sorted
	more        bool         // it has further addresses
	claimed     bool         // only the client's words give the name
	first, last int64        // the time of the edge
}

// end returns the workload of an end, and the port at which it receives what is sent to port. one reports whether all of the end's addresses
// belong to one workload.
func (r *resolver) end(c *claim, port uint16) (w Workload, at uint16, one bool) {
	addrs := c.addrs
	a, err := netip.ParseAddr(c.text)
	if err == nil {
		addrs = []netip.Addr{bare(a)}
	}
	var found *owner
	for _, a := range addrs {
		o, ok := r.ownerOf(a, c.first, c.last)
		if !ok || found != nil && keyOfWorkload(&found.workload) != keyOfWorkload(&o.workload) {
			found = nil
			break
		}
		found = &o
	}
	if found != nil && !c.more {
		if s := found.service; s != nil && s.Ports[port] != 0 {
			port = s.Ports[port]
		}
		return found.workload, port, true
	}
	w = Workload{Name: c.text, Addresses: addrs[:min(8, len(addrs)):min(8, len(addrs))]}
	_, network := netip.ParsePrefix(c.text)
	w.Claimed = err != nil && network != nil && c.text != "" && (c.claimed || !strings.HasPrefix(c.text, "spiffe://"))
	w.Outside = r.complete && len(addrs) > 0 && !slices.ContainsFunc(addrs, r.inside)
	return w, port, len(addrs) < 2 && !c.more
}

// inside reports whether an address is, or was, one of the cluster's.
func (r *resolver) inside(a netip.Addr) bool {
	return len(r.pods[a]) > 0 || len(r.learned[a]) > 0 || r.services[a] != nil || r.nodes[a] != nil || r.ambiguous[a.String()]
}

// keyOfWorkload returns a text that identifies a workload.
func keyOfWorkload(w *Workload) string {
	return w.Namespace + "\x00" + w.Kind + "\x00" + w.Name
}

// known reports whether a workload owns pods, by the inventory or by the identity of a tap.
func (w *Workload) known() bool {
	return w.Kind != "Service" && w.Kind != "Node" && (w.Kind != "" || w.Namespace != "")
}

func compareText(a, b string) int { return strings.Compare(a, b) }

// compareWorkloads orders by namespace, name and kind; ends without a namespace come last.
func compareWorkloads(a, b *Workload) int {
	return cmp.Or(cmp.Compare(b2i(a.Namespace == ""), b2i(b.Namespace == "")), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name), strings.Compare(a.Kind, b.Kind))
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
