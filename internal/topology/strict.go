package topology

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"
)

// States of a Readiness.
const (
	Ready       = "ready"           // every client that was seen speaks the mesh's mutual TLS, and enough was seen
	CutOff      = "cut_off"         // a client that was seen would be cut off
	NotEnough   = "not_enough_seen" // no client is known to be cut off, but there may be some
	Excluded    = "excluded"        // annotations exclude the port from the mesh, so that STRICT has no effect on it
	NotEnrolled = "not_enrolled"    // the workload is not in a mesh, so that STRICT has no effect on it
)

// StrictOptions set how much must have been seen before a port is called ready.
type StrictOptions struct {
	MinConnections uint64        // connections in mutual TLS of each client
	MinTime        time.Duration // how long taps in all pods of the server have watched at the same time
}

// Readiness reports whether a port of a workload can refuse everything but mutual TLS.
type Readiness struct {
	Workload Workload `json:"workload"`
	Mesh     string   `json:"mesh,omitempty"`
	Port     uint16   `json:"port"`     // 0: no port is declared, and none was seen
	Declared bool     `json:"declared"` // a container declares it
	State    string   `json:"state"`
	Clients  []Client `json:"clients,omitempty"` // those that would be cut off first
	Missing  []string `json:"missing,omitempty"` // why not enough was seen, a sentence each
	Exempt   []string `json:"exempt,omitempty"`  // traffic to which STRICT does not apply, a sentence each

	Connections uint64    `json:"connections"` // in mutual TLS
	Since       time.Time `json:"since,omitzero"`
	Until       time.Time `json:"until,omitzero"`
	Watched     string    `json:"watched,omitempty"` // between Since and Until, such as "2h0m0s": taps in all of its pods that reported watched
	Older       uint64    `json:"older"`             // connections older than the taps of the workload, to or from any port
}

// Client is a client of a port.
type Client struct {
	From        Workload  `json:"from"`
	Verdict     string    `json:"verdict"` // the weakest
	CutOff      bool      `json:"cut_off"`
	Connections uint64    `json:"connections"` // all
	Weak        uint64    `json:"weak"`        // those that would be refused
	Last        time.Time `json:"last,omitzero"`
	Why         string    `json:"why,omitempty"` // why it would be cut off
}

// proxyPorts are ports of the mesh's own proxy, which answers there without mutual TLS whatever is required of the workload.
// Istio: istio.io/docs/ops/deployment/application-requirements, "Ports used by Istio". Linkerd: 4190 and 4191 are its admin server's.
var proxyPorts = map[string][]uint16{"istio": {15020, 15021, 15090}, "istio_ambient": {15020, 15021}, "linkerd": {4190, 4191}}

// hbonePort is the port of HBONE.
const hbonePort = 15008

// Strict returns the readiness of the workloads of the inventory's namespace, by workload and port. It needs the inventory.
func (g *Graph) Strict(o StrictOptions) []Readiness {
	var out []Readiness
	edges, taps := g.Edges(), g.tapsByWorkload()
	for _, s := range g.servers() {
		ports := s.ports
		var to []*Edge
		for i := range edges {
			e := &edges[i]
			if e.Scope != "wire" || keyOfWorkload(&e.To) != keyOfWorkload(&s.workload) {
				continue
			}
			to = append(to, e)
			if !e.Folded && !slices.Contains(ports, e.Port) && !slices.Contains(proxyPorts[s.mesh], e.Port) && !s.isHBONE(e) {
				ports = append(ports, e.Port)
			}
		}
		slices.Sort(ports)
		if len(ports) == 0 {
			ports = []uint16{0}
		}
		limits := g.limits(s, taps[keyOfWorkload(&s.workload)], o)
		for _, port := range ports {
			out = append(out, s.judge(g, port, to, limits, o))
		}
	}
	return out
}

// server is a workload with its pods.
type server struct {
	workload Workload
	mesh     string
	mixed    bool // not all pods are in one mesh
	pods     []*Pod
	ports    []uint16
	skip     []uint16 // ports that all pods exclude
	partly   []uint16 // ports that some pods exclude
}

// servers returns the workloads of the inventory's namespace, sorted.
func (g *Graph) servers() []*server {
	found := map[string]*server{}
	var out []*server
	for i := range g.inventory.Pods {
		p := &g.inventory.Pods[i]
		if !g.concerns(&p.Workload) {
			continue
		}
		k := keyOfWorkload(&p.Workload)
		s := found[k]
		if s == nil {
			s = &server{workload: p.Workload, mesh: p.Mesh}
			found[k], out = s, append(out, s)
		}
		s.mixed = s.mixed || p.Mesh != s.mesh
		s.pods = append(s.pods, p)
		for _, port := range p.Ports {
			s.ports, _ = insertSorted(s.ports, port, maxPorts, cmp.Compare)
		}
	}
	for _, s := range out {
		for _, p := range s.pods {
			for _, port := range p.Skip {
				if slices.ContainsFunc(s.pods, func(o *Pod) bool { return !slices.Contains(o.Skip, port) }) {
					s.partly = append(s.partly, port)
				} else {
					s.skip = append(s.skip, port)
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b *server) int { return compareWorkloads(&a.workload, &b.workload) })
	return out
}

// maxPorts bounds the ports of a workload.
const maxPorts = 256

// limits is what limits the evidence about all ports of a workload.
type limits struct {
	missing      []string
	since, until time.Time     // for which taps in all of its pods watched
	watched      time.Duration // between them
	older        uint64
}

// limits returns what may hide a client of a workload.
func (g *Graph) limits(s *server, taps []*tap, o StrictOptions) limits {
	l := limits{}
	say := func(format string, args ...any) { l.missing = append(l.missing, fmt.Sprintf(format, args...)) }
	if s.mixed {
		say("Not all of its pods are in the same mesh.")
	}
	tapped := 0
	for _, p := range s.pods {
		if p.HostNetwork {
			say("The pod %s uses the network of its node, so its traffic cannot be told from the node's.", p.Name)
			continue
		}
		i := slices.IndexFunc(taps, func(t *tap) bool { return g.index.podOf(t) == p })
		if i < 0 {
			continue
		}
		tapped++
		from, to := taps[i].longest()
		if tapped == 1 || from > unix(l.since) {
			l.since = utc(from)
		}
		if tapped == 1 || to < unix(l.until) {
			l.until = utc(to)
		}
		if why := g.unread[p]; why != "" {
			say("%s", why)
		}
	}
	l.watched = max(0, l.until.Sub(l.since))
	if tapped < len(s.pods) {
		say("%s, so some of its clients may not have been seen.", reported(tapped, len(s.pods)))
	}
	if tapped > 0 && l.watched < o.MinTime {
		say("%s watched for %s, less than %s (--min-time).", choose(uint64(tapped), "It was", "All of its pods together were"), l.watched.Round(time.Second), o.MinTime) //nolint:gosec // few
	}
	for _, t := range taps {
		for _, u := range t.runs {
			l.older += u.capture.Older
			switch {
			case u.wasBlind():
				say("The tap in %s did not capture on all interfaces for a part of the time, which may hide clients.", t.name())
			case u.lossy():
				say("The tap in %s lost packets, connections or records (%s), which may hide clients.", t.name(), plural(u.capture.Dropped, "packet"))
			}
			if u.hidesOpen() {
				say("No posture of the tap in %s was read, so clients with connections that are open may be missing.", t.name())
			}
			if u.untested {
				say("The tap in %s failed its self-test.", t.name())
			}
			if u.filter != "" {
				say("The tap in %s examined only packets that a filter accepts.", t.name())
			}
		}
	}
	if n := folded(taps); n > 0 {
		say("%s", choose(n, "1 connection without an edge of its own may be from another client.", fmt.Sprintf("%d connections without edges of their own may be from other clients.", n)))
	}
	switch {
	case g.unrecognized+g.overBounds+g.foreign > 0:
		say("Not all records could be used.")
	case g.partial && len(g.unread) == 0:
		say("Not all of the input could be read.")
	}
	if g.contradicted > 0 {
		say("Some records contradict each other.")
	}
	slices.Sort(l.missing)
	l.missing = slices.Compact(l.missing)
	return l
}

// reported returns the start of a sentence about a workload: how many of its pods have a tap that reported. n is less than all.
func reported(n, all int) string {
	switch {
	case all == 1:
		return "No tap reported from its only pod"
	case n == 0:
		return fmt.Sprintf("No tap reported from any of its %s", plural(uint64(all), "pod"))
	}
	return fmt.Sprintf("Taps reported from only %d of its %s", n, plural(uint64(all), "pod"))
}

// folded returns the number of connections that taps counted without an edge of their own, apart from probes and DNS. The edges of the result may have fewer, because some
// of these connections may have a record of their own.
func folded(taps []*tap) (sum uint64) {
	for _, t := range taps {
		for k, e := range t.entries {
			if k.folded != "" && k.scope == "wire" && k.class != "probe" && k.class != "dns" {
				n := e.total()
				sum += n.total()
			}
		}
	}
	return sum
}

// longest returns the time of the run of a tap that watched for the longest time.
func (t *tap) longest() (from, to int64) {
	for _, id := range slices.Sorted(maps.Keys(t.runs)) {
		if a, b := t.runs[id].watched(); from == 0 || b-a > to-from {
			from, to = a, b
		}
	}
	return from, to
}

// judge returns the readiness of a port.
func (s *server) judge(g *Graph, port uint16, to []*Edge, l limits, o StrictOptions) Readiness {
	r := Readiness{Workload: s.workload, Mesh: s.mesh, Port: port, Declared: slices.Contains(s.ports, port), Since: l.since, Until: l.until, Older: l.older, Missing: slices.Clone(l.missing)}
	if l.watched > 0 {
		r.Watched = l.watched.Round(time.Second).String()
	}
	seen := false
	for _, e := range to {
		if e.Class == "probe" && (e.Folded && !s.probesDirectly(to, port) || !e.Folded && e.Port == port) && s.exemptProbe(e) {
			r.Exempt = append(r.Exempt, fmt.Sprintf("The mesh does not apply its mutual TLS to %s of the kubelet's probes.", plural(sum(e), "connection")))
			continue
		}
		if e.Folded || e.Port != port && !s.isHBONE(e) {
			continue
		}
		seen = true
		r.addClient(s, e, o)
	}
	if slices.Contains(s.partly, port) {
		r.Missing = append(r.Missing, "Annotations exclude the port from the mesh in some of its pods, and not in all.")
	}
	if s.probesDirectly(to, port) {
		r.Missing = append(r.Missing, "The kubelet probes this port, and Istio's injector has not rewritten the probe to a port of its proxy: STRICT may fail it.")
	}
	r.addServices(g, s, port)
	slices.SortFunc(r.Clients, func(a, b Client) int {
		return cmp.Or(cmp.Compare(b2i(!a.CutOff), b2i(!b.CutOff)), compareWorkloads(&a.From, &b.From))
	})
	if !seen {
		r.Missing = append(r.Missing, "No client was seen at this port.")
	}
	switch {
	case s.mesh == "" && !s.mixed:
		r.State = NotEnrolled
	case slices.Contains(s.skip, port):
		r.State = Excluded
	case slices.ContainsFunc(r.Clients, func(c Client) bool { return c.CutOff }):
		r.State = CutOff
	case len(r.Missing) > 0:
		r.State = NotEnough
	default:
		r.State = Ready
	}
	return r
}

// probesDirectly reports whether the kubelet probes a port of an Istio workload itself, by the pods' specifications, and probes were seen that have no port in the
// records.
func (s *server) probesDirectly(to []*Edge, port uint16) bool {
	return s.mesh == "istio" && !slices.Contains(proxyPorts[s.mesh], port) &&
		slices.ContainsFunc(s.pods, func(p *Pod) bool { return slices.Contains(p.Probes, port) }) &&
		slices.ContainsFunc(to, func(e *Edge) bool { return e.Class == "probe" && e.Folded })
}

// addServices adds what clients sent to a service of several workloads, of which this one may have received it. Only what may be refused is added.
func (r *Readiness) addServices(g *Graph, s *server, port uint16) {
	for i := range g.inventory.Services {
		x := &g.inventory.Services[i]
		if len(x.Workloads) < 2 && !x.Others || !slices.ContainsFunc(x.Workloads, func(w Workload) bool { return keyOfWorkload(&w) == keyOfWorkload(&s.workload) }) {
			continue
		}
		to := keyOfWorkload(&Workload{Namespace: x.Namespace, Kind: "Service", Name: x.Name})
		for _, e := range g.Edges() {
			if n := &e.Connections; e.Scope == "wire" && keyOfWorkload(&e.To) == to && e.Port == port && n.Plaintext+n.Encrypted+n.TLS+n.Unknown > 0 {
				r.Missing = append(r.Missing, fmt.Sprintf("%s of %s to the service %s that %s not mutual TLS, or could not be judged, may have come to it.",
					plural(n.Plaintext+n.Encrypted+n.TLS+n.Unknown, "connection"), e.From.String(), x.Name, choose(n.Plaintext+n.Encrypted+n.TLS+n.Unknown, "is", "are")))
			}
		}
	}
}

func sum(e *Edge) uint64 {
	n := countsOf(&e.Connections)
	return n.total()
}

// isHBONE reports whether an edge is the tunnel of an ambient mesh, which carries the clients of all ports and hides which port they use.
func (s *server) isHBONE(e *Edge) bool {
	return e.Port == hbonePort && (s.mesh == "istio_ambient" || s.mesh == "cilium")
}

// exemptProbe reports whether the mesh lets probes pass. Ambient and Linkerd recognize them. Istio's injector rewrites them to a port of
// its proxy: a probe that comes to the workload's own port was not rewritten, and would be refused.
func (s *server) exemptProbe(e *Edge) bool {
	return s.mesh != "istio" || e.Folded
}

// addClient adds the client of an edge.
func (r *Readiness) addClient(s *server, e *Edge, o StrictOptions) {
	n := &e.Connections
	c := Client{From: e.From, Verdict: e.Verdict, Connections: sum(e), Last: e.Last}
	refused := func(count uint64, last time.Time, why string) {
		if count > 0 {
			c.CutOff, c.Weak = true, c.Weak+count
			if last.After(c.Last) || c.Why == "" {
				c.Last = last
			}
			c.Why = cmp.Or(c.Why, why)
		}
	}
	missing := func(count uint64, what string) {
		if count > 0 {
			r.Missing = append(r.Missing, fmt.Sprintf("%s from %s %s.", plural(count, "connection"), e.From.String(), what))
		}
	}
	refused(n.Plaintext, e.LastOf.Plaintext, "plaintext")
	if e.Class == "probe" && n.Plaintext > 0 {
		c.Why = "the kubelet's probes, which Istio has not rewritten to its own port"
	}
	refused(n.Encrypted, e.LastOf.Encrypted, "encrypted, but not by TLS")
	refused(e.NotMutual, e.LastOf.TLS, "TLS without a client certificate")
	missing(n.TLS-min(n.TLS, e.NotMutual), "used TLS that may or may not be mutual")
	missing(n.Unknown, "could not be judged")
	if e.Disagreement != "" && !c.CutOff {
		r.Missing = append(r.Missing, e.Disagreement)
	}
	if n.MTLS > 0 && !slices.ContainsFunc(e.Ends, func(x End) bool { return x.Side == sideServer && x.Connections.MTLS > 0 }) {
		missing(n.MTLS, "used mutual TLS by the records of the client's tap only")
	}
	switch {
	case n.MTLS > 0 && !s.isOf(e.Mesh):
		missing(n.MTLS, "used mutual TLS that does not look like the mesh's own (STRICT accepts only certificates of the mesh)")
	case !c.CutOff && n.MTLS < o.MinConnections:
		r.Missing = append(r.Missing, fmt.Sprintf("%s had %s in mutual TLS, fewer than %d (--min-connections).", e.From.String(), plural(n.MTLS, "connection"), o.MinConnections))
	}
	r.Connections += n.MTLS
	r.Clients = append(r.Clients, c)
}

// isOf reports whether mutual TLS that looks like that of a mesh is that of the server's mesh. Cilium's ztunnel looks like Istio's.
func (s *server) isOf(mesh string) bool {
	return mesh != "" && (mesh == s.mesh || s.mesh == "cilium" && mesh == "istio_ambient")
}

// Selector returns labels that select all pods of a workload in the inventory and no other pod of its namespace. ok reports whether there are such labels.
func (g *Graph) Selector(w *Workload) (labels map[string]string, ok bool) {
	var pods, others []*Pod
	for i := range g.inventory.Pods {
		p := &g.inventory.Pods[i]
		switch {
		case keyOfWorkload(&p.Workload) == keyOfWorkload(w):
			pods = append(pods, p)
		case p.Namespace == w.Namespace:
			others = append(others, p)
		}
	}
	if len(pods) == 0 {
		return nil, false
	}
	common := map[string]string{}
	for k, v := range pods[0].Labels {
		if !slices.Contains(ownLabels, k) && !slices.ContainsFunc(pods, func(p *Pod) bool { return p.Labels[k] != v }) {
			common[k] = v
		}
	}
	for _, keys := range selectors {
		labels = map[string]string{}
		for _, k := range keys {
			if v, found := common[k]; found {
				labels[k] = v
			}
		}
		if len(keys) == 0 {
			labels = common
		}
		if len(labels) > 0 && (len(keys) == 0 || len(labels) == len(keys)) && !slices.ContainsFunc(others, func(p *Pod) bool { return selects(labels, p) }) {
			return labels, true
		}
	}
	return nil, false
}

func selects(labels map[string]string, p *Pod) bool {
	for k, v := range labels {
		if got, ok := p.Labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// selectors are the sets of labels that are tried in order; the empty set means all labels that the pods have in common.
var selectors = [][]string{{"app"}, {"app.kubernetes.io/name"}, {"app.kubernetes.io/name", "app.kubernetes.io/instance"}, {"k8s-app"}, {}}

// ownLabels are labels that controllers and injectors set, which differ between the pods of a workload or change with its next version.
var ownLabels = []string{
	"pod-template-hash", "controller-revision-hash", "pod-template-generation", "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index",
	"controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "batch.kubernetes.io/job-completion-index",
	"security.istio.io/tlsMode", "service.istio.io/canonical-name", "service.istio.io/canonical-revision",
	"linkerd.io/control-plane-ns", "linkerd.io/proxy-deployment", "linkerd.io/workload-ns",
}

// Unenrolled returns the workloads that were seen as clients or servers in the namespace and are in no mesh, although other workloads are in an ambient mesh. The result is
// sorted; ambient reports whether there is an ambient mesh.
func (g *Graph) Unenrolled() (list []Workload, ambient bool) {
	enrolled := map[string]bool{}
	for i := range g.inventory.Pods {
		p := &g.inventory.Pods[i]
		ambient = ambient || (p.Mesh == "istio_ambient" || p.Mesh == "cilium") && g.concerns(&p.Workload)
		enrolled[keyOfWorkload(&p.Workload)] = p.Mesh != ""
	}
	if !ambient {
		return nil, false
	}
	add := func(w *Workload) {
		if in, known := enrolled[keyOfWorkload(w)]; known && !in {
			list = append(list, *w)
		}
	}
	for _, s := range g.servers() {
		add(&s.workload)
	}
	for i := range g.Edges() {
		add(&g.Edges()[i].From)
	}
	slices.SortFunc(list, func(a, b Workload) int { return compareWorkloads(&a, &b) })
	return slices.CompactFunc(list, func(a, b Workload) bool { return keyOfWorkload(&a) == keyOfWorkload(&b) }), true
}
