package topology

import (
	"bytes"
	"cmp"

	"net/netip"
	"slices"
	"strings"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// Bounds of an entry, which takes at most about 8 KB and usually 1 KB.
const (
	maxPeers     = 16 // addresses
	maxHashes    = 64
	maxIntervals = 16
	maxReasons   = 16
	maxRules     = 24
	maxMeshes    = 4
)

// hash is meshtls.tls.session_hash or meshtls.flow_hash.
type hash [16]byte

func compareHashes(a, b hash) int { return bytes.Compare(a[:], b[:]) }

// entryKey identifies an edge as one run of a tap reports it.
type entryKey struct {
	run, direction, scope, class string
	local                        string     // address of the tapped end; empty if the tap has an identity
	peer                         string     // the other end: a name, an address or a network
	port                         uint16     // of the server
	folded                       string     // key of an aggregate edge
	further                      bool       // an aggregate of the Graph, not of the tap
	addr                         netip.Addr // of the peer, for flows: an edge may have several servers under a name that its client claims
}

// entry is an edge as one run of a tap reports it: by its postures and findings, or by its flows to one address.
type entry struct {
	flows, posture counts
	intervals      []interval // sorted by start
	findings       map[string]*counted
	details        [ranks]*detail // of flows
	basis          [ranks]int     // of flows: the weakest of bases; 0: not known
	last           [ranks]int64   // of flows and postures: the latest time that a verdict may have been seen
	first, end     int64          // ns since the epoch
	points         timeline       // of flows and of postures that report a change
	profile        *profile       // of the latest posture
	peers          []netip.Addr   // sorted
	manyPeers      bool           // the peer has further addresses
	hashes         []hash         // the smallest, sorted
	manyHashes     bool           // there may be further ones
	claimed        bool           // only the client's words give the peer's name
	expectation    int            // index in expectations
	accepted       int            // 0: not known, 1: plaintext was not accepted, 2: it was accepted
	meshes         []string       // of mutual TLS, sorted; "" for one that looks like no mesh's
	notMutual      uint64         // of TLS: flows whose client was shown to present no certificate
	sums           bool           // records of several edges or taps: no record replaces another one
	found          counts         // of findings that are not in the field findings: the largest number
}

// interval has the counts of the latest posture with a start.
type interval struct {
	start, end int64
	sequence   uint64
	counts     counts
}

// detail describes the latest connection with a verdict.
type detail struct {
	at                        int64
	id                        string // event.id, which decides between connections of one time
	protocol, version, cipher string
	reasons                   []string
}

// profile has the properties of connections in a posture.
type profile struct {
	end                          int64
	sequence                     uint64
	protocols, versions, ciphers []string
}

// bases has the values of meshtls.tls.client_auth_basis, the weakest first. Index 0 means that none is known.
var bases = []string{"", "none", "inherited", "inferred", "observed"}

// expectations has the values of meshtls.expectation, the strictest last.
var expectations = []string{"", "any", "undeclared", "tls", "mtls"}

// widen extends the time of the entry.
func (e *entry) widen(from, to int64) {
	if from != 0 && (e.first == 0 || from < e.first) {
		e.first = from
	}
	e.end = max(e.end, to)
}

// add adds a record of the edge.
func (e *entry) add(r *record.Record) {
	m := &r.Meshtls
	start, end := stamp(r.Event.Start), stamp(r.Event.End)
	e.expectation = max(e.expectation, slices.Index(expectations, m.Expectation))
	if m.Verdict == "mtls" || m.Edge.Connections != nil && m.Edge.Connections.MTLS > 0 {
		e.meshes, _ = insertSorted(e.meshes, clean(m.Mesh, maxText), maxMeshes, compareText)
	}
	switch r.Event.Dataset {
	case record.DatasetFlow:
		e.widen(start, end)
		e.addFlow(r, start, end)
	case record.DatasetPosture:
		e.widen(start, end)
		e.addPosture(r, start, end)
	case record.DatasetFinding:
		e.addFinding(r)
	}
}

func (e *entry) addFlow(r *record.Record, start, end int64) {
	m := &r.Meshtls
	rank := rankOf(m.Verdict)
	if rank == rankNone {
		return
	}
	one := counts{}
	one[rank] = 1
	e.flows.add(&one)
	if rank == rankTLS && notMutual(r) {
		e.notMutual++
	}
	e.points.add(start, rank)
	e.last[rank] = max(e.last[rank], end)
	e.addHash(jointHash(r))
	if b := basisOf(r, rank); b > 0 && (e.basis[rank] == 0 || b < e.basis[rank]) {
		e.basis[rank] = b
	}
	if d := detailOf(r, end); e.details[rank] == nil || d.compare(e.details[rank]) > 0 {
		e.details[rank] = &d
	}
	if rank == rankPlaintext {
		e.accept(acceptedPlaintext(r))
	}
}

// basisOf returns the index in bases of the basis of a connection's verdict.
func basisOf(r *record.Record, rank int) int {
	if rank == rankPlaintext || rank == rankEncrypted {
		return len(bases) - 1
	}
	return max(0, slices.Index(bases, r.Meshtls.TLS.ClientAuthBasis))
}

// detailOf returns the properties of the connection of a flow or a finding.
func detailOf(r *record.Record, at int64) detail {
	d := detail{at: at, id: clean(r.Event.ID, maxText), protocol: clean(r.Network.Protocol, maxText), reasons: cleanAll(r.Meshtls.Reasons, maxReasons)}
	if t := r.TLS; t != nil {
		d.version, d.cipher = clean(t.Version, maxText), clean(t.Cipher, maxText)
		if p := t.VersionProtocol; p != "" && p != "tls" && d.version != "" {
			d.version = clean(p+" "+t.Version, maxText)
		}
	}
	return d
}

// compare orders connections by their time. The rest decides between contradicting records.
func (d *detail) compare(o *detail) int {
	return cmp.Or(cmp.Compare(d.at, o.at), strings.Compare(d.id, o.id), strings.Compare(d.protocol, o.protocol), strings.Compare(d.version, o.version),
		strings.Compare(d.cipher, o.cipher), slices.Compare(d.reasons, o.reasons))
}

// notMutual reports whether the client of a TLS connection was shown to present no certificate to a server that accepted that.
func notMutual(r *record.Record) bool {
	if slices.Contains(r.Meshtls.Reasons, "refused_or_closed") {
		return false
	}
	switch r.Meshtls.TLS.ClientAuth {
	case "not_requested":
		return true
	case "declined":
		return r.Meshtls.TLS.Outcome == "established"
	}
	return false
}

// shownNotMutual returns for how many TLS connections it was shown that they are not mutual. It is a lower bound.
func (e *entry) shownNotMutual() uint64 {
	n := e.notMutual
	for rule, f := range e.findings {
		if rule == "tls-not-mutual" && f.rank == rankTLS {
			n = max(n, f.count)
		}
	}
	return n
}

// acceptedPlaintext reports whether the server accepted the plaintext of a flow, by the rule of meshtls.edge.accepted_plaintext.
func acceptedPlaintext(r *record.Record) bool {
	if r.HTTP.Version != "" || r.HTTP.Request.Method != "" {
		return r.HTTP.Response.StatusCode != 0 && r.HTTP.Response.StatusCode != 400
	}
	return r.Destination.Bytes > 0 && !slices.Contains(r.Meshtls.Reasons, "cleartext_answer_to_hello")
}

func (e *entry) accept(yes bool) {
	e.accepted = max(e.accepted, 1)
	if yes {
		e.accepted = 2
	}
}

// addPosture adds a posture. Of those with the same start the latest counts. One with action improved covers a part of its interval.
func (e *entry) addPosture(r *record.Record, start, end int64) {
	m := &r.Meshtls
	c := countsOf(m.Edge.Connections)
	if rank := rankOf(m.Verdict); rank > c.worst() {
		c[rank] = 1 // a verdict is never better than it says, whatever the counts are
	}
	worst := c.worst()
	for rank, n := range c {
		if n > 0 {
			e.last[rank] = max(e.last[rank], end)
		}
	}
	switch action := r.Event.Action; {
	case e.sums:
		e.posture.add(&c)
		e.points.add(end, worst)
	case action == "improved":
		e.posture.raise(&c)
		e.points.add(start, worst)
	case action == "snapshot":
		e.addInterval(interval{start, end, r.Event.Sequence, c})
	default: // new, worsened
		e.points.add(end, worst)
		e.addInterval(interval{start, end, r.Event.Sequence, c})
	}
	if m.Edge.AcceptedPlaintext != nil && c[rankPlaintext] > 0 {
		e.accept(*m.Edge.AcceptedPlaintext)
	}
	for _, s := range m.Edge.Sample {
		e.addHash(parseHash(s))
	}
	e.manyHashes = e.manyHashes || len(m.Edge.Sample) >= 8
	if p := e.profile; p == nil || cmp.Or(cmp.Compare(end, p.end), cmp.Compare(r.Event.Sequence, p.sequence)) >= 0 {
		protocols := m.Edge.Protocols
		if len(protocols) == 0 && r.Network.Protocol != "" {
			protocols = []string{r.Network.Protocol}
		}
		if q := (&profile{end, r.Event.Sequence, cleanAll(protocols, 4), cleanAll(m.Edge.TLSVersions, 4), cleanAll(m.Edge.Ciphers, 4)}); p == nil || q.compare(p) > 0 {
			e.profile = q
		}
	}
}

func (e *entry) addInterval(i interval) {
	at, found := slices.BinarySearchFunc(e.intervals, i, func(a, b interval) int { return cmp.Compare(a.start, b.start) })
	switch {
	case !found:
		e.intervals = slices.Insert(e.intervals, at, i)
	default:
		switch was := &e.intervals[at]; cmp.Or(cmp.Compare(i.end, was.end), cmp.Compare(i.sequence, was.sequence)) {
		case 1:
			*was = i
		case 0: // records that contradict each other
			was.counts.raise(&i.counts)
		}
	}
	if len(e.intervals) > maxIntervals {
		e.close(&e.intervals[0])
		e.intervals = slices.Delete(e.intervals, 0, 1)
	}
}

// close moves the counts of an interval to those of the past.
func (e *entry) close(i *interval) {
	e.posture.raise(&i.counts)
	if !e.points.has(i.start, i.end) {
		e.points.add(i.start, i.counts.worst())
	}
}

// total returns the counts of the entry.
func (e *entry) total() counts {
	n := e.posture
	for i := range e.intervals {
		n.raise(&e.intervals[i].counts)
	}
	n.raise(&e.flows)
	n.raise(&e.found)
	for _, f := range e.findings {
		if f.rank != rankNone {
			n[f.rank] = max(n[f.rank], f.count)
		}
	}
	return n
}

// timeline returns the points of all records.
func (e *entry) timeline() timeline {
	out := timeline{shift: e.points.shift, periods: slices.Clone(e.points.periods)}
	for _, i := range e.intervals {
		if !e.points.has(i.start, i.end) {
			out.add(i.start, i.counts.worst())
		}
	}
	for _, f := range e.findings {
		if f.count > 0 {
			out.add(f.first, f.rank)
		}
	}
	return out
}

func (e *entry) addHash(h hash, ok bool) {
	if ok {
		full := false
		e.hashes, full = insertSorted(e.hashes, h, maxHashes, compareHashes)
		e.manyHashes = e.manyHashes || full
	}
}

func (e *entry) addPeer(a netip.Addr) {
	if a = bare(a); a.IsValid() {
		full := false
		e.peers, full = insertSorted(e.peers, a, maxPeers, netip.Addr.Compare)
		e.manyPeers = e.manyPeers || full
	}
}

// stamp returns a time of a record in ns since the epoch, 0 if it is missing or implausible.
func stamp(t record.Time) int64 {
	if year := t.Std().Year(); year < 1971 || year > 2200 {
		return 0
	}
	return int64(t)
}

// allHashes returns the hashes of the entry's connections, sorted.
func (e *entry) allHashes() []hash {
	out := slices.Clone(e.hashes)
	for _, f := range e.findings {
		if f.hashed && f.count > 0 {
			out, _ = insertSorted(out, f.hash, maxHashes+maxRules, compareHashes)
		}
	}
	return out
}

// times returns the time of the entry's connections, in ns since the epoch.
func (e *entry) times() (start, end int64) {
	start, end = e.first, e.end
	for _, f := range e.findings {
		if f.count == 0 {
			continue
		}
		if f.first != 0 && (start == 0 || f.first < start) {
			start = f.first
		}
		end = max(end, f.end)
	}
	return start, end
}

// lastOf returns the latest time that a connection with a verdict may have been seen.
func (e *entry) lastOf(rank int) int64 {
	at := e.last[rank]
	for _, f := range e.findings {
		if f.count > 0 && f.rank == rank {
			at = max(at, f.end)
		}
	}
	return at
}

// detailOf returns the latest connection with a verdict, and the weakest basis of one.
func (e *entry) detailOf(rank int) (d *detail, basis int) {
	d, basis = e.details[rank], e.basis[rank]
	for _, f := range e.findings {
		if f.count == 0 || f.rank != rank {
			continue
		}
		if d == nil || f.detail.compare(d) > 0 {
			d = &f.detail
		}
		if f.basis > 0 && (basis == 0 || f.basis < basis) {
			basis = f.basis
		}
	}
	return d, basis
}
