package migration

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// Side holds the records of one side, before or after the change. Create it with NewSide. It is not safe
// for concurrent use.
type Side struct {
	taps    map[tapKey]*tap
	entries map[entryKey]*entry
	inputs  map[string]*run // the times of captures
	pages   int             // pages of all taps' sequence numbers

	watch    Watch
	skipped  uint64
	partial  bool     // Incomplete was called
	clusters []string // names of the records' clusters, at most maxClusters
}

// maxClusters bounds the clusters that are distinguished.
const maxClusters = 16

// Clusters returns the names of the clusters in the records. Workloads of the same name in two clusters
// are not distinguished.
func (s *Side) Clusters() []string { return s.clusters }

// NewSide returns an empty Side.
func NewSide() *Side {
	return &Side{taps: map[tapKey]*tap{}, entries: map[entryKey]*entry{}, inputs: map[string]*run{}}
}

// Captured sets the start and the end of a capture, in ns since the epoch. The connections of the capture
// are passed to Add as records of the same input. lossy reports whether some of the capture's packets were
// not examined.
func (s *Side) Captured(input string, start, end int64, lossy bool) {
	u := s.inputOf(input)
	u.lossy = u.lossy || lossy
	s.watch.Edges = true
	s.watch.Captures++
	widen(&u.start, &u.end, start, end)
	widen(&s.watch.Start, &s.watch.End, start, end)
}

// Incomplete notes that a part of the input could not be read. Unseen edges are then not called gone or new.
func (s *Side) Incomplete() { s.partial = true }

// tapKey identifies a tap by its pod, or by the input and the local address if the pod is unknown.
type tapKey struct {
	uid   string
	input string
	local netip.Addr
}

// tap is one tapped pod, or one local address of a capture.
type tap struct {
	name           string // workload, empty if unknown
	namespace      string
	addrs          []netip.Addr
	runs           map[string]*run
	input          *run // set for a capture
	filters        []string
	flows          bool // the input has its flows
	lossy          bool // packets, connections or interfaces were missed
	recordsMissing bool // records are missing
}

// run is one run of a tap.
type run struct {
	start, end int64
	hasStart   bool                 // the input has the run's first record
	hasStop    bool                 // the input has the run's last record
	lossy      bool                 // set for a capture with losses
	sequences  map[string]*sequence // sequence numbers by dataset
}

// entryKey identifies an edge of one tap. Ends are names, addresses or networks.
type entryKey struct {
	tap      *tap
	from, to string
	port     uint16
	dir      string
	folded   bool
}

// entry is one edge of one tap.
type entry struct {
	from, to      Party        // ends as recorded, with addresses not resolved
	hbone         bool         // a record shows that the edge is HBONE
	notHBONE      bool         // a record shows that the edge is not HBONE
	addrs         []netip.Addr // addresses of the server
	earliestEnd   int64        // the earliest end of its records, in ns; 0: unknown
	latestStart   int64        // the latest start of its records
	flows         Counts       // counts of its flows
	posture       Counts       // the largest count of any window
	window        record.Time  // window of the counts in the field open
	open          Counts       // counts of the latest posture
	findingCounts map[string]Counts
}

// Add adds one record. input names the source of the line. The error says why the line is not a record.
func (s *Side) Add(line []byte, input string) error {
	r, err := parse(line)
	if err != nil {
		return err
	}

	s.watch.Records++
	if c := r.Orchestrator.Cluster.Name; c != "" && !slices.Contains(s.clusters, c) && len(s.clusters) < maxClusters {
		s.clusters = append(s.clusters, bounded(c))
	}

	t, fresh := s.tapOf(r, input)
	if t == nil {
		s.watch.OverBounds++
		return nil
	}

	u := t.runOf(r.Meshtls.Run)
	if fresh || u == nil {
		u = t.newRun(r.Meshtls.Run)
	}

	if r.Meshtls.Run != "" && r.Event.Sequence > 0 && s.isRepeated(u, r) {
		s.watch.Repeats++
		return nil
	}

	t.flows = t.flows || r.Event.Dataset == flows
	s.addCoverage(t, u, r)
	switch r.Event.Dataset {
	case postures, flows:
		s.watch.Edges = true
		s.addEdge(t, r)
	case findings:
		s.addEdge(t, r)
	}
	return nil
}

// tapOf returns the tap of a record, and whether the tap is new. It returns nil if there are
// maxTaps other taps already.
func (s *Side) tapOf(r *record.Record, input string) (t *tap, fresh bool) {
	k := tapKey{uid: bounded(r.Kubernetes.Pod.UID)}
	if k.uid == "" {
		k = tapKey{input: input, uid: workload(r), local: localEnd(r)}
	}

	if t := s.taps[k]; t != nil {
		return t, false
	}

	if len(s.taps) >= maxTaps {
		return nil, false
	}

	t = &tap{name: workload(r), namespace: bounded(r.Kubernetes.Namespace), runs: map[string]*run{}}
	if bounded(r.Kubernetes.Pod.UID) == "" {
		t.input = s.inputOf(input)
	}

	for _, a := range r.Kubernetes.Pod.IP {
		if a = bare(a); a.IsValid() && len(t.addrs) < maxAddrs {
			t.addrs = append(t.addrs, a)
		}
	}

	if k.local.IsValid() {
		t.addrs = append(t.addrs, k.local)
	}

	s.taps[k] = t
	return t, true
}

// inputOf returns the times of the input with a name.
func (s *Side) inputOf(name string) *run {
	if s.inputs[name] == nil {
		s.inputs[name] = &run{}
	}
	return s.inputs[name]
}

// localEnd returns the local address of a record without an identity, by the record's direction.
func localEnd(r *record.Record) netip.Addr {
	from, to := bare(r.Source.IP), bare(r.Destination.IP)
	if !from.IsValid() {
		from, to = address(r.Meshtls.Edge.From), address(r.Meshtls.Edge.To)
	}
	switch r.Network.Direction {
	case "egress", "internal":
		return from
	case "ingress":
		return to
	}
	return netip.Addr{}
}

func (t *tap) runOf(id string) *run { return t.runs[id] }

// maxRuns bounds the runs of one tap that are distinguished.
const maxRuns = 64

func (t *tap) newRun(id string) *run {
	if len(t.runs) >= maxRuns || len(id) > maxName {
		id = ""
		if u := t.runs[id]; u != nil {
			return u
		}
	}
	u := &run{sequences: map[string]*sequence{}}
	t.runs[strings.Clone(id)] = u
	return u
}

// addCoverage records the times at which a tap was running, and its losses.
func (s *Side) addCoverage(t *tap, u *run, r *record.Record) {
	from, to := stamp(r.Event.Start), stamp(r.Event.End)
	if r.Event.Dataset == ofTap || from == 0 || to < from { // records of the tap cover the whole run, not one window
		from, to = stamp(r.Timestamp), stamp(r.Timestamp)
	}

	widen(&u.start, &u.end, from, to)
	widen(&s.watch.Start, &s.watch.End, from, to)
	if t.input != nil {
		widen(&t.input.start, &t.input.end, from, to)
	}

	if r.Event.Dataset == ofTap {
		u.hasStart = u.hasStart || r.Event.Action == "started"
		u.hasStop = u.hasStop || r.Event.Action == "stopped"
	}

	if r.Event.Dataset == postures || r.Event.Dataset == ofTap {
		s.watch.Dropped = max(s.watch.Dropped, r.Meshtls.Coverage.Dropped)
		t.lossy = t.lossy || lossy(&r.Meshtls) || r.Event.Action == "degraded"
		filter := r.Meshtls.Coverage.Filter
		if !slices.Contains(t.filters, filter) && len(t.filters) < maxFilters && len(filter) <= maxLine {
			t.filters = append(t.filters, strings.Clone(filter))
		}
	}

	t.lossy = t.lossy || r.Rule.ID == "tap-blind"
}

// lossy reports whether a tap missed packets, connections, edges or interfaces.
func lossy(m *record.Meshtls) bool {
	c, t := m.Coverage, m.Tap
	return c.Dropped+c.Evicted+c.CutShort > 0 || len(c.Undecoded) > 0 || len(c.UncapturedInterfaces) > 0 ||
		t.EdgesGone+t.EdgesFolded > 0 || t.Blind != nil && *t.Blind
}

func widen(start, end *int64, from, to int64) {
	if from == 0 {
		return
	}
	if *start == 0 || from < *start {
		*start = from
	}
	*end = max(*end, to)
}

// addEdge adds a record to its edge. Traffic within the pod, and traffic that is not between workloads,
// has no edge.
func (s *Side) addEdge(t *tap, r *record.Record) {
	m := &r.Meshtls
	if m.Scope != "wire" || m.Class != "workload" || r.Network.Direction == "internal" {
		if m.Scope == "pod" || r.Network.Direction == "internal" {
			s.watch.Within++
		}
		return
	}

	k := entryKey{tap: t, dir: r.Network.Direction}
	e := entry{}
	s.setEnds(t, r, &k, &e)
	if !k.folded && (k.from == "" || k.to == "") {
		return
	}

	g := s.entries[k]
	if g == nil {
		if len(s.entries) >= maxEdges {
			s.watch.OverBounds++
			return
		}
		g = &e
		s.entries[k] = g
	}

	if a := bare(r.Destination.IP); a.IsValid() && !slices.Contains(g.addrs, a) && len(g.addrs) < maxAddrs {
		g.addrs = append(g.addrs, a)
	}

	g.recognizeHBONE(r, k.port)
	g.addTimes(r)
	g.add(r)
}

// setEnds sets the ends of a record's edge in k and e.
func (s *Side) setEnds(t *tap, r *record.Record, k *entryKey, e *entry) {
	m := &r.Meshtls
	if k.folded = m.Edge.Folded; k.folded {
		return
	}

	port := r.Destination.Port
	e.from, e.to = Party{Addr: bare(r.Source.IP)}, Party{Addr: bare(r.Destination.IP)}
	if x := &m.Edge; x.Key != "" || x.From != "" || x.To != "" {
		e.from, e.to, port = party(x.From, ""), party(x.To, ""), x.Port
	}

	local, peer := Party{Name: t.name}, Party{Name: peerName(m, t.namespace)}
	switch r.Network.Direction {
	case "egress":
		if local.named() {
			e.from = local
		}
		if peer.named() {
			e.to = peer
		}
	case "ingress":
		if local.named() {
			e.to = local
		}
		if peer.named() {
			e.from = peer
		}
	default:
		if peer.named() {
			e.to = peer
		}
	}

	k.from, k.to, k.port = e.from.String(), e.to.String(), port
}

// party parses one end of an edge. text is an address or a name, which may be the name of a network.
func party(text, namespace string) Party {
	if a := address(text); a.IsValid() {
		return Party{Addr: a}
	}
	return Party{Name: service(text, namespace)}
}

// peerName returns the peer's name, empty if only its address is known.
func peerName(m *record.Meshtls, namespace string) string {
	if m.Peer.Name == "" || address(m.Peer.Name).IsValid() {
		return ""
	}
	return service(m.Peer.Name, namespace)
}
