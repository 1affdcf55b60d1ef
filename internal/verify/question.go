package verify

import (
	"net/netip"
	"slices"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
)

// Question names the connections that an Answer is about.
type Question struct {
	From    Pod          // the client
	To      string       // the server as the user named it
	Servers []Pod        // its pods
	Service []netip.Addr // the addresses of the service through which the client reaches them, if any
	Ports   []uint16     // the server's port, and that of the service
	OneEnd  bool         // the records of one end are enough for mutual TLS
	Start   time.Time    // by the client's clock: connections that were not used since do not count
	Request *Request     // the request that was sent; nil: the application's own connections count
}

// Pod is the pod at one end.
type Pod struct {
	Name      string // NAMESPACE/NAME
	Addresses []netip.Addr
	Untapped  string // why no tap runs in it; empty: one does
	Reused    bool   // its tap ran before the question and runs on, so it has no records of the connections that are open
}

// Reuse records that the tap of a pod ran before the question.
func (q *Question) Reuse(pod string) {
	if q.From.Name == pod {
		q.From.Reused = true
	}
	for i := range q.Servers {
		if q.Servers[i].Name == pod {
			q.Servers[i].Reused = true
		}
	}
}

// Request is the output of `tap request`.
type Request struct {
	Time     time.Time `json:"time"`     // when it began
	Target   string    `json:"target"`   // HOST:PORT
	Local    string    `json:"local"`    // the client's address and port; empty: not connected
	Peer     string    `json:"peer"`     // the address and port that was connected to, before a mesh redirects it
	Seconds  float64   `json:"seconds"`  // until the first line of the response, or the error
	Response string    `json:"response"` // the first line
	Error    string    `json:"error,omitempty"`
}

// meshPorts are the ports at which proxies of meshes accept connections for all ports of a pod: HBONE and Linkerd.
var meshPorts = []uint16{15008, 4143}

// concerns reports whether a connection with these ends is one from the client to the server. An unknown end is the zero value.
func (q *Question) concerns(client, server netip.Addr, port uint16) bool {
	if !slices.Contains(q.Ports, port) && !slices.Contains(meshPorts, port) {
		return false
	}
	return (!client.IsValid() || slices.Contains(q.From.Addresses, client)) && (!server.IsValid() || q.isServer(server))
}

func (q *Question) isServer(a netip.Addr) bool {
	return slices.Contains(q.Service, a) || slices.ContainsFunc(q.Servers, func(p Pod) bool { return slices.Contains(p.Addresses, a) })
}

// Records are the records of the taps by pod. The zero value is empty. It is not safe for concurrent use.
type Records struct {
	pods map[string]*pod
}

// pod is what the tap of a pod reported.
type pod struct {
	connections []*connection          // from flows, in their order
	ids         map[string]bool        // event.id of flows with the verdict: of records that contradict each other the weaker one counts
	postures    map[string]*connection // by run and edge: the latest posture
	started     bool
	dropped     uint64
	older       uint64
	missing     uint64 // records
}

// Add adds a record of the tap in a pod. Records may be added more than once.
func (s *Records) Add(name string, r *record.Record) {
	p := s.pod(name)
	p.started = true
	if c := r.Meshtls.Coverage; c != nil && c.Watched != nil {
		p.older = max(p.older, c.Older)
		if r.Event.Dataset == record.DatasetTap {
			p.dropped = max(p.dropped, c.Dropped)
		}
	}
	switch r.Event.Dataset {
	case record.DatasetFlow:
		id := r.Event.ID + "\x00" + r.Meshtls.Verdict + "\x00" + r.Meshtls.TLS.ClientAuth
		if !p.ids[id] {
			p.ids[id] = true
			p.connections = append(p.connections, ofFlow(r))
		}
	case record.DatasetPosture:
		key, c := r.Meshtls.Run+"\x00"+r.Meshtls.Edge.Key, ofPosture(r)
		if was := p.postures[key]; was == nil || !c.end.Before(was.end) {
			p.postures[key] = c
		}
	}
}

// Lost records that n records of the tap in a pod are missing.
func (s *Records) Lost(name string, n uint64) { s.pod(name).missing += n }

func (s *Records) pod(name string) *pod {
	if s.pods == nil {
		s.pods = map[string]*pod{}
	}
	if s.pods[name] == nil {
		s.pods[name] = &pod{ids: map[string]bool{}, postures: map[string]*connection{}}
	}
	return s.pods[name]
}

// Started reports whether the tap of a pod has reported anything.
func (s *Records) Started(name string) bool { return s.pods[name] != nil && s.pods[name].started }
