package ocsf

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

const networkActivity = 4001

// Values of activity_id in Network Activity.
const (
	activityClose   = 2
	activityReset   = 3
	activityFail    = 4
	activityRefuse  = 5
	activityTraffic = 6
)

// network writes a flow or a posture.
func (e *event) network() {
	if e.Event.Dataset == record.DatasetPosture {
		e.posture()
		return
	}

	e.class(networkActivity, e.ended(), "")
	e.base(informational)
	e.status(outcomes[e.Event.Outcome], "")
	e.connection()
	e.object("traffic", e.traffic)
	e.text("app_name", e.Network.Protocol)
	e.url()
	e.unmapped(e.unmappedConnection)
}

// outcomes maps event.outcome to status_id.
var outcomes = map[string]int64{"success": statusSuccess, "failure": statusFailure, "unknown": statusUnknown}

// ended returns the activity of a connection that has ended. Connections that did not end on the wire, and those of UDP, are
// traffic.
func (e *event) ended() int64 {
	switch e.Meshtls.ConnState {
	case "SF":
		return activityClose
	case "RSTO", "RSTR", "RSTRH":
		return activityReset
	case "S0", "SH", "RSTOS0":
		if e.Network.Transport == "tcp" {
			return activityFail
		}
	case "REJ":
		return activityRefuse
	}
	return activityTraffic
}

// connection writes the ends of a connection and its TLS session.
func (e *event) connection() {
	e.object("src_endpoint", func() {
		e.ip(e.Source.IP)
		e.number("port", int64(e.Source.Port))
		if e.Network.Direction == "egress" {
			e.pod()
		}
	})
	e.object("dst_endpoint", func() {
		e.ip(e.Destination.IP)
		e.number("port", int64(e.Destination.Port))
		e.text("hostname", e.Destination.Domain)
		if e.Network.Direction == "ingress" {
			e.pod()
		}
	})
	e.object("connection_info", e.connectionInfo)
	e.tls()
}

// pod writes the name and the UID of the tapped pod, as attributes of its endpoint.
func (e *event) pod() {
	e.text("name", e.Kubernetes.Pod.Name)
	e.text("uid", e.Kubernetes.Pod.UID)
}

// protocols maps network.transport to the number of the IP protocol.
var protocols = map[string]int64{"tcp": 6, "udp": 17}

func (e *event) connectionInfo() {
	n := &e.Network
	e.direction()
	e.text("protocol_name", n.Transport)
	if number, ok := protocols[n.Transport]; ok {
		e.number("protocol_num", number)
	}
	switch n.Type {
	case "ipv4":
		e.number("protocol_ver_id", 4)
	case "ipv6":
		e.number("protocol_ver_id", 6)
	}
	e.text("uid", e.Meshtls.FlowHash)
	e.text("community_uid", n.CommunityID)
}

// direction writes the direction as seen from the tapped pod. Lateral is traffic within the pod.
func (e *event) direction() {
	e.number("direction_id", int64(1+slices.Index([]string{"ingress", "egress", "internal"}, e.Network.Direction)))
	if e.Meshtls.Scope == "pod" {
		e.number("boundary_id", 1) // localhost
	}
}

func (e *event) traffic() {
	s, d := &e.Source, &e.Destination
	e.number("bytes", int64(s.Bytes+d.Bytes))
	e.number("bytes_out", int64(s.Bytes))
	e.number("bytes_in", int64(d.Bytes))
	e.count("bytes_missed", e.Meshtls.MissedBytes)
	e.number("packets", int64(s.Packets+d.Packets))
	e.number("packets_out", int64(s.Packets))
	e.number("packets_in", int64(d.Packets))
}

// url writes the URL of a flow if it has a path, which OCSF requires.
func (e *event) url() {
	if e.URL.Path == "" {
		return
	}
	e.object("url", func() {
		e.text("hostname", e.URL.Domain)
		e.text("path", e.URL.Path)
	})
}

// unmappedConnection writes the members of a connection without an attribute.
func (e *event) unmappedConnection() {
	e.object("destination", e.nat)
	e.unmappedTLS()
	e.part("http", &e.HTTP)
	if e.URL.Path == "" {
		e.part("url", &e.URL)
	}
	e.part("user_agent", &e.UserAgent)
}

// nat writes where a redirection within the pod sent the connection.
func (e *event) nat() {
	if e.Destination.NAT.IP.IsValid() {
		e.part("nat", &e.Destination.NAT)
	}
}

// posture writes the state of an edge: the traffic of all its connections.
func (e *event) posture() {
	e.class(networkActivity, activityTraffic, "")
	e.base(informational)
	e.edgeEnds()
	e.object("connection_info", e.direction)
	edge := &e.Meshtls.Edge
	e.number("count", int64(total(edge.Connections)))
	e.object("traffic", func() { e.number("bytes", int64(total(edge.Bytes))) })
	e.text("app_name", e.Network.Protocol)
	e.list("observables", func() {
		for _, a := range e.Related.IP {
			e.observable(observableIP, "unmapped.related.ip", a.String())
		}
	})
	e.unmapped(func() {
		e.object("event", func() { e.text("action", e.Event.Action) })
		e.part("related", &e.Related)
	})
}

// total returns the sum of the counts of all verdicts.
func total(n *record.ByVerdict) uint64 {
	if n == nil {
		return 0
	}
	return n.Plaintext + n.TLS + n.Encrypted + n.MTLS + n.Failed + n.Unknown
}

// edgeEnds writes the client and the server of an edge. An aggregate edge has neither: the tapped pod stands for both, or
// the key of the edge if the pod is unknown.
func (e *event) edgeEnds() {
	edge := &e.Meshtls.Edge
	if edge.From == "" && edge.To == "" {
		e.boolean("is_src_dst_assignment_known", false)
		e.object("src_endpoint", func() {
			e.text("name", cmp.Or(e.Kubernetes.Pod.Name, edge.Key))
			e.text("uid", e.Kubernetes.Pod.UID)
		})
		return
	}
	e.object("src_endpoint", func() { e.edgeEnd(edge.From, e.Network.Direction == "egress") })
	e.object("dst_endpoint", func() {
		e.edgeEnd(edge.To, e.Network.Direction == "ingress")
		e.count("port", uint64(edge.Port))
	})
}

// edgeEnd writes one end of an edge, which is an address or a name.
func (e *event) edgeEnd(name string, local bool) {
	switch a, err := netip.ParseAddr(name); {
	case err == nil:
		e.ip(a)
	case name == e.Meshtls.Peer.Name && e.Meshtls.Peer.NameBasis != "spiffe":
		e.text("hostname", name)
	default:
		e.text("name", name)
	}
	if local {
		e.text("uid", e.Kubernetes.Pod.UID)
	}
}
