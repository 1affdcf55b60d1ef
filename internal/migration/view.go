package migration

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/order"
)

// link is a client and a server.
type link struct{ from, to Party }

// lane holds the counts of a link at one port, or of the link's HBONE.
type lane struct {
	by      map[string]*Counts // counts by direction: both ends report the same connections
	matched bool               // an edge of the before side was matched to it
}

func (l *lane) add(dir string, c *Counts) {
	if l.by == nil {
		l.by = map[string]*Counts{}
	}
	if l.by[dir] == nil {
		l.by[dir] = &Counts{}
	}
	l.by[dir].add(c)
}

func (l *lane) counts() (c Counts) {
	if l == nil {
		return c
	}
	kinds := Counts{}
	for _, x := range l.by {
		kinds.raiseTo(x)
	}
	for _, x := range l.by {
		y := *x
		y.setKind(&kinds)
		c.raiseTo(&y)
	}
	return c
}

// setKind sets the kind of mutual TLS from the counts of the other end's tap, if this end's tap does not know the
// kind.
func (c *Counts) setKind(known *Counts) {
	switch {
	case c.Sidecar > 0 || c.HBONE > 0 || known.Sidecar > 0 && known.HBONE > 0:
	case known.Sidecar > 0:
		c.Sidecar, c.MTLS = c.MTLS, 0
	case known.HBONE > 0:
		c.HBONE, c.MTLS = c.MTLS, 0
	}
}

// pair holds all observations of a link.
type pair struct {
	link
	ports  map[uint16]*lane
	tunnel *lane // HBONE, or nil
	addrs  []netip.Addr
}

// location is an address of a server as one client sees it.
type location struct {
	from Party
	addr netip.Addr
}

// view is the content of a Side. It replaces each address by the workload that owns it, if a tap of the same side names
// the owner.
type view struct {
	side          *Side
	ids           map[netip.Addr][]*tap // taps of workloads
	pairs         map[link]*pair
	alias         map[string][]string // the workloads that a service's connections reached, by service
	services      map[string][]string // the services through which a workload was reached, by workload
	locations     map[location][]*pair
	folded        map[Party]*Counts // connections on aggregate edges, by the tap's own end
	taps          map[Party][]*tap
	networks      map[string]bool // networks that represent public addresses in edges
	sources       map[Party]*watched
	peers         map[Party]*peers
	absent        map[Party][]string // results of whyUnseen
	noPointOfView bool               // there are captures without a local end
}

func newView(s *Side) *view {
	v := &view{
		side: s, ids: map[netip.Addr][]*tap{}, pairs: map[link]*pair{}, alias: map[string][]string{}, services: map[string][]string{},
		locations: map[location][]*pair{}, folded: map[Party]*Counts{}, taps: map[Party][]*tap{}, networks: map[string]bool{},
		sources: map[Party]*watched{}, peers: map[Party]*peers{}, absent: map[Party][]string{},
	}

	for _, t := range s.taps {
		v.identify(t)
	}

	v.sumUpTaps()
	for _, e := range s.entries {
		for _, p := range [...]Party{e.from, e.to} {
			if strings.IndexByte(p.Name, '/') > 0 && !strings.HasPrefix(p.Name, "spiffe:") {
				v.networks[p.Name] = true
			}
		}
	}

	for k, e := range s.entries {
		v.addEntry(k, e)
	}

	v.merge()
	for _, p := range v.pairs {
		v.peer(p)
		for _, a := range p.addrs {
			at := location{p.from, a}
			v.locations[at] = append(v.locations[at], p)
		}
	}
	return v
}

// peers describes the peers of a client.
type peers struct {
	nameless bool // a peer that has only an address is reached without HBONE
	hbone    bool // a peer that has only an address is reached by HBONE
	identity bool // a peer has a name that its mesh gave it
}

func (v *view) peer(p *pair) {
	x := v.peers[p.from]
	if x == nil {
		x = &peers{}
		v.peers[p.from] = x
	}
	x.nameless = x.nameless || !p.to.named() && len(p.ports) > 0
	x.hbone = x.hbone || !p.to.named() && p.tunnel != nil
	x.identity = x.identity || isIdentity(p.to.Name)
}

// identify adds a tap to the owners of its addresses.
func (v *view) identify(t *tap) {
	t.recordsMissing = t.missingRecords() > 0
	if t.name == "" {
		for _, a := range t.addrs {
			v.taps[Party{Addr: a}] = append(v.taps[Party{Addr: a}], t)
		}
		v.noPointOfView = v.noPointOfView || len(t.addrs) == 0
		return
	}
	own := Party{Name: t.name}
	v.taps[own] = append(v.taps[own], t)
	for _, a := range t.addrs {
		v.ids[a] = append(v.ids[a], t)
	}
}

// missingRecords returns a lower bound of the number of a tap's records that are missing.
func (t *tap) missingRecords() (n uint64) {
	for _, u := range t.runs {
		for _, q := range u.sequences {
			n += q.missing(u.hasStart)
			if q.incomplete {
				n++
			}
		}
	}
	return n
}

// resolve names an end of an edge that has only an address: by the workload that owns the address,
// or else by the network that represents it in edges. Otherwise it returns the end unchanged.
func (v *view) resolve(p Party, e *entry) Party {
	if p.named() {
		return p
	}
	if name := v.owner(p.Addr, e); name != "" {
		return Party{Name: name}
	}
	bits := 64
	if p.Addr.Is4() {
		bits = 24
	}
	if n, err := p.Addr.Prefix(bits); err == nil && v.networks[n.String()] {
		return Party{Name: n.String()}
	}
	return p
}

// addEntry adds an edge of a tap to its pair.
func (v *view) addEntry(k entryKey, e *entry) {
	counts := e.total()
	if k.folded {
		own := Party{Name: k.tap.name}
		if !own.named() && len(k.tap.addrs) > 0 {
			own = Party{Addr: k.tap.addrs[0]}
		}
		if v.folded[own] == nil {
			v.folded[own] = &Counts{}
		}
		v.folded[own].add(&counts)
		return
	}

	if !counts.seen() {
		return
	}

	l := link{v.resolve(e.from, e), v.resolve(e.to, e)}
	p := v.pairOf(l)
	for _, a := range e.addrs {
		if w := v.owner(a, e); w != "" && e.to.named() && w != l.to.Name && !e.isHBONE() {
			v.alias[l.to.Name] = appendUnique(v.alias[l.to.Name], w)
			v.services[w] = appendUnique(v.services[w], l.to.Name)
		}
		p.addAddr(a)
	}

	p.addAddr(e.to.Addr)
	if e.isHBONE() {
		if p.tunnel == nil {
			p.tunnel = &lane{}
		}
		p.tunnel.add(k.dir, &counts)
		return
	}

	if p.ports[k.port] == nil {
		p.ports[k.port] = &lane{}
	}

	p.ports[k.port].add(k.dir, &counts)
}

func (v *view) pairOf(l link) *pair {
	if v.pairs[l] == nil {
		v.pairs[l] = &pair{link: l, ports: map[uint16]*lane{}}
	}
	return v.pairs[l]
}

func (p *pair) addAddr(a netip.Addr) {
	if a.IsValid() && !slices.Contains(p.addrs, a) && len(p.addrs) < maxAddrs {
		p.addrs = append(p.addrs, a)
	}
}

func appendUnique(list []string, s string) []string {
	if slices.Contains(list, s) || len(list) >= maxAddrs {
		return list
	}
	return append(list, s)
}

// merge joins the counts of the two taps of a link. The server's tap has them under the server's workload, and the
// client's tap under the service through which the client reached that workload. If there are several such
// services, merge does not join the counts.
func (v *view) merge() {
	for l, p := range v.pairs {
		var of []*pair
		for _, s := range v.services[l.to.Name] {
			if x := v.pairs[link{l.from, Party{Name: s}}]; x != nil && x != p && l.to.named() {
				of = append(of, x)
			}
		}
		if len(of) != 1 {
			continue
		}
		for port, x := range p.ports {
			if of[0].ports[port] == nil {
				of[0].ports[port] = &lane{}
			}
			of[0].ports[port].join(x)
		}
		if p.tunnel != nil {
			if of[0].tunnel == nil {
				of[0].tunnel = &lane{}
			}
			of[0].tunnel.join(p.tunnel)
		}
		delete(v.pairs, l)
	}
}

func (l *lane) join(o *lane) {
	for dir, c := range o.by {
		l.add(dir, c)
	}
}

// sortedPairs returns the pairs in order.
func (v *view) sortedPairs() []*pair {
	list := make([]*pair, 0, len(v.pairs))
	for _, p := range v.pairs {
		list = append(list, p)
	}
	order.Stable(list, func(a, b *pair) int { return cmp.Or(compare(a.from, b.from), compare(a.to, b.to)) })
	return list
}

func compare(a, b Party) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), a.Addr.Compare(b.Addr))
}

func (p *pair) sortedPorts() []uint16 {
	list := make([]uint16, 0, len(p.ports))
	for port := range p.ports {
		list = append(list, port)
	}
	slices.Sort(list)
	return list
}
