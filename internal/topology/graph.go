package topology

import (
	"encoding/hex"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// Bounds of a Graph. With all of them reached it uses about 400 MB; a cluster of 300 pods with 2,000 edges takes about 10 MB.
const (
	maxTaps    = 1 << 12 // further taps share one
	maxRuns    = 32      // of one tap; further runs share one
	maxEntries = 1 << 15 // further edges are counted together, for each run of a tap
	maxReserve = 1 << 14 // entries beyond maxEntries, for edges with plaintext
	maxFurther = 1 << 13 // entries beyond these, for edges that are counted together; then one for each tap, scope and class
	maxIDs     = 1 << 20 // records that are recognized when they are repeated
	maxFinds   = 1 << 14 // findings
	maxNotes   = 64
	maxLocal   = 16 // addresses of a tapped pod
)

// Graph joins records. Create it with New. It is not safe for concurrent use.
type Graph struct {
	inventory Inventory
	index     index
	taps      map[string]*tap
	ids       map[hash]uint8 // the weakest rank of the records with an event.id
	entries   int
	findings  map[findingKey]*latestFinding
	joined    *joined // nil: records were added since
	notes     []string
	partial   bool     // not all of the input could be read
	clusters  []string // names, sorted

	records, foreign uint64 // foreign: records of another schema
	overBounds       uint64 // records whose edge, tap or finding exceeded a bound
	unrecognized     uint64 // records that may be repeated: there were too many to recognize that
	silent           uint64 // flows without payload
	contradicted     uint64 // records with the event.id of another one, and a weaker verdict
	others           uint64 // records of other datasets
	otherNames       []string
}

// tap is one tapped pod, or one capture.
type tap struct {
	key                 string
	uid, pod, namespace string
	kind, workload      string // as the tap's records have them
	addrs               []netip.Addr
	capture             bool // a capture file
	further             bool // it stands for all taps beyond the bound
	runs                map[string]*run
	entries             map[entryKey]*entry
}

// New returns a graph without records. It retains inv, which must not change.
func New(inv Inventory) *Graph {
	return &Graph{inventory: inv, index: newIndex(&inv), taps: map[string]*tap{}, ids: map[hash]uint8{}, findings: map[findingKey]*latestFinding{}}
}

// Note adds a sentence to Unknown, for example about a source that could not be read. At most 64 are kept.
func (g *Graph) Note(sentence string) {
	g.joined = nil
	if len(g.notes) < maxNotes {
		g.notes = append(g.notes, clean(sentence, maxLine))
	}
}

// Incomplete adds a sentence about a source of which not all could be read. Answer says that there is such a source.
func (g *Graph) Incomplete(sentence string) {
	g.partial = true
	g.Note(sentence)
}

// Foreign returns the number of records of another schema, which were not read.
func (g *Graph) Foreign() uint64 { return g.foreign }

// Add adds a record. Records may come in any order, and more than once. Add does not retain r. It ignores records of another schema than
// record.SchemaVersion, which Unknown reports.
func (g *Graph) Add(r *record.Record) {
	if r.Meshtls.Schema != record.SchemaVersion {
		g.foreign++
		g.joined = nil
		return
	}
	if g.repeated(r) {
		return
	}
	g.joined = nil
	g.records++
	if c := r.Orchestrator.Cluster.Name; c != "" {
		g.clusters, _ = insertSorted(g.clusters, clean(c, maxText), maxAddresses, compareText)
	}
	t := g.tapOf(r)
	u := t.runOf(r.Meshtls.Run)
	u.add(r)
	switch r.Event.Dataset {
	case record.DatasetFlow, record.DatasetPosture, record.DatasetFinding:
		if r.Event.Dataset == record.DatasetFinding {
			g.addFinding(t, r)
		}
		g.addToEntry(t, r)
	case record.DatasetTap:
	default:
		g.others++
		g.otherNames, _ = insertSorted(g.otherNames, clean(r.Event.Dataset, maxText), maxAddresses, compareText)
	}
}

// repeated reports whether a record was added before. One with the same event.id and a weaker verdict is another one.
func (g *Graph) repeated(r *record.Record) bool {
	id, ok := parseHash(r.Event.ID)
	if !ok || hex.EncodeToString(id[:]) != r.Event.ID {
		h := fnv.New128a()
		h.Write([]byte(r.Event.ID + "\x00" + r.Event.Dataset + "\x00" + r.Meshtls.Run))
		id = hash(h.Sum(nil))
	}
	n := countsOf(r.Meshtls.Edge.Connections)
	rank := uint8(max(n.worst(), rankOf(r.Meshtls.Verdict))) //nolint:gosec // few
	if was, seen := g.ids[id]; seen {
		if rank <= was {
			return true
		}
		g.contradicted++
		g.ids[id] = rank
		return false
	}
	if len(g.ids) >= maxIDs {
		g.unrecognized++
		return false
	}
	g.ids[id] = rank
	return false
}

// tapOf returns the tap of a record.
func (g *Graph) tapOf(r *record.Record) *tap {
	k := &r.Kubernetes
	uid, pod, namespace := clean(k.Pod.UID, maxText), clean(k.Pod.Name, maxText), clean(k.Namespace, maxText)
	if namespace == "" {
		namespace = clean(r.Orchestrator.Namespace, maxText)
	}
	key, capture := "uid:"+uid, false
	switch {
	case uid != "":
	case pod != "":
		key = "pod:" + namespace + "/" + pod
	case r.Service.Name != "":
		key = "workload:" + namespace + "/" + clean(r.Service.Name, maxText)
	default:
		key, capture = "run:"+clean(r.Meshtls.Run, maxText), true
	}
	t := g.taps[key]
	if t == nil {
		further := len(g.taps) > maxTaps
		if further {
			g.overBounds++
			key, uid, pod, namespace, capture = "further", "", "", "", false
		}
		if t = g.taps[key]; t == nil {
			t = &tap{key: key, uid: uid, pod: pod, namespace: namespace, capture: capture, further: further, runs: map[string]*run{}, entries: map[entryKey]*entry{}}
			if !further {
				t.kind, t.workload = workloadOf(r)
			}
			g.taps[key] = t
		}
	}
	if !t.further {
		for _, a := range k.Pod.IP {
			if a = bare(a); a.IsValid() {
				t.addrs, _ = insertSorted(t.addrs, a, maxLocal, netip.Addr.Compare)
			}
		}
	}
	return t
}

// workloadOf returns the kind and the name of the tapped workload; empty if they are not known.
func workloadOf(r *record.Record) (kind, name string) {
	k := &r.Kubernetes
	for _, of := range []struct{ kind, name string }{
		{"Deployment", k.Deployment.Name}, {"StatefulSet", k.StatefulSet.Name}, {"DaemonSet", k.DaemonSet.Name},
		{"CronJob", k.CronJob.Name}, {"Job", k.Job.Name}, {"ReplicaSet", k.ReplicaSet.Name}, {"", r.Service.Name},
	} {
		if of.name != "" {
			return of.kind, clean(of.name, maxText)
		}
	}
	return "", ""
}

func (t *tap) runOf(id string) *run {
	id = clean(id, maxText)
	shared := t.further || t.runs[id] == nil && len(t.runs) >= maxRuns
	if shared {
		id = "further"
	}
	if t.runs[id] == nil {
		t.runs[id] = &run{}
	}
	t.runs[id].shared = t.runs[id].shared || shared
	return t.runs[id]
}

// identified reports whether the tap's pod or workload is known.
func (t *tap) identified() bool { return t.uid != "" || t.pod != "" || t.workload != "" }

// addToEntry adds a record to its edge.
func (g *Graph) addToEntry(t *tap, r *record.Record) {
	m := &r.Meshtls
	if r.Event.Dataset == record.DatasetFlow && m.Verdict == "" {
		g.silent++
		return
	}
	if m.Scope == "" && m.Edge.Key == "" {
		return // a finding about the tap
	}
	k := keyOf(t, r)
	if r.Event.Dataset == record.DatasetFlow {
		k.addr = peerAddr(r, k.direction)
	}
	e := t.entries[k]
	if e == nil && k.addr.IsValid() && g.full(&k, m) { // a flow belongs to the posture of its edge, rather than to further edges
		base := k
		base.addr = netip.Addr{}
		if e = t.entries[base]; e != nil {
			k = base
		}
	}
	if e == nil && g.full(&k, m) {
		g.overBounds++
		k = entryKey{run: k.run, scope: k.scope, class: k.class, folded: "further", further: true}
		if g.entries >= maxEntries+maxReserve+maxFurther {
			k.run = ""
			if k.class != "workload" {
				k.class = "other"
			}
		}
		e = t.entries[k]
	}
	if e == nil {
		e = &entry{sums: k.further || t.further}
		t.entries[k] = e
		g.entries++
	}
	if k.folded == "" {
		e.addEnds(r, k.direction)
	}
	e.add(r)
}

// full reports whether there is no room for the entry of another edge, to which a record belongs. Edges with plaintext have a reserve, so that they
// keep their names.
func (g *Graph) full(k *entryKey, m *record.Meshtls) bool {
	switch {
	case k.folded != "":
		return g.entries >= maxEntries+maxReserve+maxFurther
	case m.Verdict == "plaintext" || m.Edge.Connections != nil && m.Edge.Connections.Plaintext > 0:
		return g.entries >= maxEntries+maxReserve
	}
	return g.entries >= maxEntries
}

// peerAddr returns the address of the peer of a flow's or a finding's connection.
func peerAddr(r *record.Record, direction string) netip.Addr {
	if direction == "ingress" {
		return bare(r.Source.IP)
	}
	return bare(r.Destination.IP)
}

// keyOf returns the key of a record's edge, without an address. A flow gets the same key as the posture that counts it.
func keyOf(t *tap, r *record.Record) entryKey {
	m := &r.Meshtls
	k := entryKey{run: clean(m.Run, maxText), direction: r.Network.Direction, scope: "wire", class: clean(m.Class, maxText)}
	if m.Scope == "pod" {
		k.scope = "pod"
	}
	if m.Edge.Folded {
		return entryKey{run: k.run, scope: k.scope, class: k.class, folded: clean(m.Edge.Key, maxText)}
	}
	from, to := m.Edge.From, m.Edge.To
	k.port = m.Edge.Port
	if m.Edge.Key == "" { // a flow
		from, to = addrText(r.Source.IP), addrText(r.Destination.IP)
		k.port = r.Destination.Port
	}
	name := peerName(m)
	switch k.direction {
	case "ingress":
		k.local, k.peer = to, from
	case "egress":
		k.local, k.peer = from, to
	default:
		k.direction, k.local, k.peer = "", from, to
	}
	if name != "" {
		k.peer = name
	}
	if t.identified() && k.direction != "" {
		k.local = ""
	}
	k.local, k.peer = clean(k.local, maxText), clean(k.peer, maxText)
	return k
}

// peerName returns the peer's name, as edges of taps have it; empty if its address identifies it.
func peerName(m *record.Meshtls) string {
	name := strings.TrimSuffix(m.Peer.Name, ".")
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil || strings.HasPrefix(name, "spiffe://") {
		if err == nil {
			return ""
		}
		return name
	}
	return strings.ToLower(name)
}

// addEnds adds the addresses of the peer, and where its name comes from.
func (e *entry) addEnds(r *record.Record, direction string) {
	m := &r.Meshtls
	if m.Peer.Name != "" && m.Peer.NameBasis != "spiffe" {
		e.claimed = true
	}
	if r.Event.Dataset != record.DatasetPosture {
		e.addPeer(peerAddr(r, direction))
		return
	}
	for _, a := range r.Related.IP[:min(maxPeers, len(r.Related.IP))] {
		e.addPeer(a)
	}
	e.manyPeers = e.manyPeers || m.Edge.PeerAddresses > 0
}

func addrText(a netip.Addr) string {
	if a = bare(a); a.IsValid() {
		return a.String()
	}
	return ""
}

// sortedTaps returns the taps by key.
func (g *Graph) sortedTaps() []*tap {
	out := make([]*tap, 0, len(g.taps))
	for _, t := range g.taps {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b *tap) int { return strings.Compare(a.key, b.key) })
	return out
}
