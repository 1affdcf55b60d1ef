package topology

import (
	"cmp"
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
	ids       map[hash]uint64   // by a hash of the tap and the event.id: a hash of the first record
	variants  map[variant]bool  // further records with the event.id of another one
	encoded   []byte            // buffer
	refused   map[string]uint64 // records in the log of a pod that are about another pod, by the log's pod
	unread    map[*Pod]string   // pods with a tap of which not all records could be read, and why
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
	contradicted     uint64 // records with the event.id of another one, and other contents
	found            uint64 // findings, also those that were retracted
	lostFindings     uint64 // records of findings that exceeded the bound
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
	return &Graph{
		inventory: inv, index: newIndex(&inv), taps: map[string]*tap{}, ids: map[hash]uint64{}, variants: map[variant]bool{},
		refused: map[string]uint64{}, unread: map[*Pod]string{}, findings: map[findingKey]*latestFinding{},
	}
}

// variant is a record with the event.id of another one.
type variant struct {
	id       hash
	contents uint64
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

// IncompleteLog adds a sentence about the log of a pod's tap of which not all could be read.
func (g *Graph) IncompleteLog(s *Source, sentence string) {
	if p := g.index.byUID[s.UID]; p != nil && s.UID != "" {
		g.unread[p] = sentence
	}
	if g.concerns(&Workload{Namespace: s.Namespace}) {
		g.partial = true
	}
	g.Note(sentence)
}

// Source is the pod from whose tap a record was read, by the API server.
type Source struct{ Namespace, Pod, UID string }

// AddFrom is Add for a record in the log of a pod's tap. A pod can write what it likes into its log, so a record can only be about that pod: those that claim to be
// about another one are counted and not used.
func (g *Graph) AddFrom(s *Source, r *record.Record) {
	k := &r.Kubernetes
	namespace := cmp.Or(k.Namespace, r.Orchestrator.Namespace)
	if k.Pod.UID != "" && k.Pod.UID != s.UID || k.Pod.Name != "" && k.Pod.Name != s.Pod || namespace != "" && namespace != s.Namespace {
		name := s.Namespace + "/" + s.Pod
		if len(g.refused) < maxTaps || g.refused[name] > 0 {
			g.refused[name]++
		}
		g.joined = nil
		return
	}
	own := *r
	own.Kubernetes.Namespace, own.Kubernetes.Pod.Name, own.Kubernetes.Pod.UID = s.Namespace, s.Pod, s.UID
	g.Add(&own)
}

// Foreign returns the number of records of another schema, which were not read.
func (g *Graph) Foreign() uint64 { return g.foreign }

// Add adds a record, and believes its identity. Records may come in any order, and more than once. Add does not retain r. It ignores records of another schema than
// record.SchemaVersion, which Unknown reports.
func (g *Graph) Add(r *record.Record) {
	if r.Meshtls.Schema != record.SchemaVersion {
		g.foreign++
		g.joined = nil
		return
	}
	t, key := g.tapOf(r)
	repeated, contradicts := g.repeated(key, t.capture, r)
	if repeated {
		return
	}
	if t.further {
		g.overBounds++
	}
	g.joined = nil
	g.records++
	if c := r.Orchestrator.Cluster.Name; c != "" {
		g.clusters, _ = insertSorted(g.clusters, clean(c, maxText), maxAddresses, compareText)
	}
	u := t.runOf(r.Meshtls.Run)
	u.add(r, contradicts)
	switch r.Event.Dataset {
	case record.DatasetFlow, record.DatasetPosture, record.DatasetFinding:
		if r.Event.Dataset == record.DatasetFinding {
			g.found++
			g.addFinding(t, r)
		}
		g.addToEntry(t, r)
	case record.DatasetTap:
	default:
		g.others++
		g.otherNames, _ = insertSorted(g.otherNames, clean(r.Event.Dataset, maxText), maxAddresses, compareText)
	}
}

// repeated reports whether a record of a tap was added before, and whether it contradicts one that was: it has the same event.id and other contents. Such records
// all count, whatever their order is. Records of other taps are others, so that no tap can hide those of another one.
func (g *Graph) repeated(key string, capture bool, r *record.Record) (yes, contradicts bool) {
	if capture {
		key = "" // the same capture may be read under two names
	}
	h := fnv.New128a()
	h.Write([]byte(key + "\x00" + r.Event.ID + "\x00" + r.Event.Dataset))
	if len(r.Event.ID) < 2*len(hash{}) { // not the tap's
		h.Write([]byte("\x00" + r.Meshtls.Run))
	}
	id := hash(h.Sum(nil))
	g.encoded = g.encode(r, capture)
	sum := fnv.New64a()
	sum.Write(g.encoded)
	contents := sum.Sum64()
	switch was, seen := g.ids[id]; {
	case seen && was == contents || seen && g.variants[variant{id, contents}]:
		return true, false
	case len(g.ids)+len(g.variants) >= maxIDs:
		g.unrecognized++
		return false, seen
	case seen:
		g.contradicted++
		g.variants[variant{id, contents}] = true
		return false, true
	}
	g.ids[id] = contents
	return false, false
}

// encode returns the contents of a record, without the name of the capture that it comes from.
func (g *Graph) encode(r *record.Record, capture bool) []byte {
	if run := r.Meshtls.Run; capture && run != "" {
		r.Meshtls.Run = ""
		defer func() { r.Meshtls.Run = run }()
	}
	return r.AppendJSON(g.encoded[:0])
}

// tapOf returns the tap of a record, and the key of the tap that the record names, which differs beyond the bound.
func (g *Graph) tapOf(r *record.Record) (t *tap, named string) {
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
	named = key
	t = g.taps[key]
	if t == nil {
		further := len(g.taps) > maxTaps
		if further {
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
	return t, named
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
