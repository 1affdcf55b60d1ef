package migration

import (
	"net/netip"
	"time"
)

// State is the observed state of an edge on one side.
type State string

// The states.
const (
	NotSeen     State = "not_seen"     // no connection of the edge was seen
	MTLS        State = "mtls"         // mutual TLS
	MTLSSidecar State = "mtls_sidecar" // mutual TLS by a mesh's sidecar
	MTLSHBONE   State = "mtls_hbone"   // mutual TLS by HBONE
	Mixed       State = "mixed"        // mutual TLS, and connections that are less than mutual TLS
	TLS         State = "tls"          // TLS without a client certificate
	TLSUnclear  State = "tls_unclear"  // TLS that may be mutual or not
	Encrypted   State = "encrypted"    // encrypted and not TLS, such as SSH
	Plaintext   State = "plaintext"
	Failed      State = "failed"   // only failed handshakes
	Unjudged    State = "unjudged" // only connections that could not be judged
)

// Change is the change of an edge from the before side to the after side.
type Change string

// The changes of an edge.
const (
	Kept      Change = "kept"            // it was mutual TLS and still is
	Lost      Change = "lost"            // it was mutual TLS, and now at least one connection is less
	Gained    Change = "gained"          // it was less than mutual TLS, and is mutual TLS now
	Covered   Change = "covered"         // only HBONE remains between the two ends, and hides which of their services are still used
	Unchanged Change = "unchanged"       // it has the same state on both sides, and that state is not mutual TLS
	Other     Change = "changed"         // it has different states, neither of which is mutual TLS
	Gone      Change = "gone"            // its source was watched long enough, and it was not seen
	New       Change = "new"             // its source was watched long enough before, and it was not seen then
	NotEnough Change = "not_enough_seen" // the input is not enough to decide
)

// Basis is the evidence by which the two sides of an edge were matched.
type Basis string

// The bases.
const (
	ByName    Basis = "name"    // workload, service and port
	ByService Basis = "service" // workload and service; the ports differ
	ByPair    Basis = "pair"    // only the two ends: HBONE between them may carry any of their services
	ByAddress Basis = "address" // an address without a name, which may belong to another pod by now
	ByServer  Basis = "server"  // the server and its port; the client is known by an address only
)

// Party is one end of an edge: a workload or service as name.namespace, another name, or an
// address if no name is known.
type Party struct {
	Name string     // empty: only the address is known
	Addr netip.Addr // set if Name is empty
}

// String returns the name or the address.
func (p Party) String() string {
	if p.Name != "" || !p.Addr.IsValid() {
		return p.Name
	}
	return p.Addr.String()
}

func (p Party) named() bool { return p.Name != "" }

// Counts holds numbers of connections by state. They are lower bounds: postures count connections by
// window, and one connection may last for several windows.
type Counts struct {
	Sidecar, HBONE, MTLS, TLS, Unclear, Encrypted, Plaintext, Failed, Unjudged uint64
}

// Observation is the state of an edge on one side.
type Observation struct {
	State  State
	Counts Counts
	Ports  []uint16 // the server's ports, if they differ from the edge's; in order, at most maxPorts
}

// Edge is one edge and its two sides.
type Edge struct {
	From, To      Party
	Port          uint16 // port of the server; 0 for connections inside HBONE
	Before, After Observation
	Change        Change
	Basis         Basis    // empty if the edge was not seen on both sides
	Reasons       []string // keys of the map Reasons
}

// Watch describes the extent and the losses of one side's input.
type Watch struct {
	Start, End int64 // ns since the epoch, 0: no record has a time
	Records    uint64
	Repeats    uint64 // records that were read again; each record counts once
	Missing    uint64 // records missing from the sequence numbers
	Taps       int    // pods, or local addresses of captures
	Local      int    // those of Taps that are local addresses
	Captures   int    // captures that were read
	Dropped    uint64 // packets that the capture dropped
	Skipped    uint64 // lines that are not records
	Within     uint64 // records of traffic within a pod, which is not compared
	OverBounds uint64 // records whose edge or tap exceeded a bound
	Edges      bool   // there are postures or flows, not only findings
}

// Result is a comparison. The edges that lost mutual TLS come first.
type Result struct {
	Before, After Watch
	Edges         []Edge
	// Folded is the number, by side, of connections that may be less than mutual TLS and that the taps
	// counted on aggregate edges.
	Folded [2]uint64
}

// Lost returns the number of edges that lost mutual TLS.
func (r *Result) Lost() int { return r.Count(Lost) }

// Count returns the number of edges with a change.
func (r *Result) Count(c Change) int {
	n := 0
	for i := range r.Edges {
		if r.Edges[i].Change == c {
			n++
		}
	}
	return n
}

// Changes lists the changes in the order of the result's edges.
var Changes = []Change{Lost, NotEnough, Gone, New, Other, Unchanged, Covered, Gained, Kept}

// Reasons explains the codes of Edge.Reasons.
var Reasons = map[string]string{
	"hbone_hides_service":   "only HBONE was seen between the two, and it hides which of their services it carried",
	"hbone_of_the_pair":     "only HBONE was seen between the two, and this was their only service",
	"hbone_to_others":       "its source sends HBONE to peers that no name links to it: a waypoint, a gateway or a pod with a new address may carry it",
	"past_hbone":            "beside HBONE the two have connections at another port, which may be the same service and may be less than mutual TLS",
	"nameless_less":         "its source has connections that may be less than mutual TLS to a peer that may be this service, since one of the two has no name",
	"folded_less":           "its tap counted connections that may be less than mutual TLS without their edge, because there were too many edges",
	"too_many_names":        "its address has too many names",
	"unjudged":              "mutual TLS was seen, and connections that could not be judged",
	"unclear":               "mutual TLS was seen, and TLS that may be mutual or not",
	"failed_only":           "only failed handshakes were seen",
	"not_judged":            "no connection of it could be judged",
	"before_not_judged":     "its connections before could not be judged",
	"mixed":                 "some of its connections are mutual TLS, others are less",
	"other_port":            "the service was seen at another port",
	"peers_by_address":      "its source speaks to a peer that is known by an address only, which may be this service",
	"server_by_address":     "its server is known by an address only, and pods get new addresses when they restart",
	"server_by_identity":    "its server is known by the identity that its mesh gives it, and may be known by another name without the mesh",
	"peers_by_identity":     "its source speaks to a peer that is known by the identity that its mesh gives it, which may be this service",
	"server_took_mtls_only": "the server accepted only mutual TLS at this port from clients without a name",
	"source_not_watched":    "no tap watched its source, and no capture is from there",
	"fewer_pods":            "fewer pods of its source were watched than on the other side",
	"too_short":             "its source was watched for a shorter time than on the other side, or for less than 10 minutes (without flows, the last 70 minutes of a tap that still runs do not count)",
	"packets_lost":          "the tap of its source lost packets or connections, or did not capture on all interfaces",
	"records_lost":          "records of its source are missing",
	"filtered":              "the tap of its source has another filter, which may accept fewer packets",
	"not_all_read":          "not all of the input could be read",
	"no_edges_read":         "the input has no records of edges",
	"point_of_view":         "the capture does not show which end is local: set --local",
}

// minWatched is the time, in ns, for which a source must be watched until its unseen edges are called gone.
const minWatched = int64(10 * time.Minute)

// Bounds of a Side.
const (
	maxEdges   = 1 << 16 // entries: the edges of each tap
	maxTaps    = 1 << 14
	maxAddrs   = 16      // addresses of one edge or pod
	maxPorts   = 16      // ports in an Observation
	maxName    = 512     // bytes of a name
	maxPages   = 1 << 16 // pages of pageSize sequence numbers each
	maxFilters = 4       // different filters of one tap
)
