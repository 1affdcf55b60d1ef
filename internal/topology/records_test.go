package topology_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

var start = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func at(s int) record.Time { return record.Time(start.Add(time.Duration(s) * time.Second).UnixNano()) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// pod is a tapped pod, whose tap numbers its records.
type pod struct {
	namespace, workload, name, ip, run string
	sequence                           map[string]uint64
}

func newPod(namespace, workload, name, ip string) *pod {
	return &pod{namespace, workload, name, ip, "run-" + name, map[string]uint64{}}
}

func (p *pod) base(dataset string, from, to int) *record.Record {
	p.sequence[dataset]++
	r := &record.Record{Timestamp: at(to)}
	r.Event = record.Event{ID: fmt.Sprintf("%s|%s|%d", p.run, dataset, p.sequence[dataset]), Dataset: dataset, Start: at(from), End: at(to), Sequence: p.sequence[dataset]}
	r.Meshtls = record.Meshtls{Schema: record.SchemaVersion, Run: p.run}
	if p.namespace != "" {
		r.Kubernetes = record.Kubernetes{Namespace: p.namespace, Pod: record.Pod{Name: p.name, UID: "uid-" + p.name, IP: []netip.Addr{addr(p.ip)}}, Deployment: record.Name{Name: p.workload}}
		r.Service.Name = p.workload
	}
	return r
}

// tap returns a record of the tap itself.
func (p *pod) tap(action string, s int, dropped uint64) *record.Record {
	r := p.base(record.DatasetTap, 0, s)
	r.Event.Action = action
	r.Meshtls.Tap = &record.Tap{}
	r.Meshtls.Coverage = &record.Coverage{Watched: &record.Watched{Packets: 100, Dropped: dropped}}
	return r
}

// link is a connection, or the connections of an edge, as one end sees it.
type link struct {
	direction string // of the tapped pod
	peer      string // address
	name      string // of the peer, claimed
	port      uint16
	verdict   string
	hash      string
	from, to  int // seconds
}

func (p *pod) fill(r *record.Record, l link) {
	m := &r.Meshtls
	m.Scope, m.Class, m.Verdict, m.Expectation = "wire", "workload", l.verdict, "undeclared"
	r.Network.Direction = l.direction
	if l.name != "" {
		m.Peer = record.Peer{Name: l.name, NameBasis: "sni"}
	}
}

func (p *pod) flow(l link) *record.Record {
	r := p.base(record.DatasetFlow, l.from, l.to)
	p.fill(r, l)
	r.Source, r.Destination = record.Source{IP: addr(p.ip), Port: 40000}, record.Destination{IP: addr(l.peer), Port: l.port}
	if l.direction == "ingress" {
		r.Source.IP, r.Destination.IP = r.Destination.IP, r.Source.IP
	}
	switch l.verdict {
	case "mtls", "tls":
		r.Network.Protocol, r.TLS = "tls", &record.TLS{Version: "1.3", Cipher: "TLS_AES_128_GCM_SHA256", VersionProtocol: "tls"}
		r.Meshtls.TLS = record.Auth{SessionHash: l.hash, ClientAuthBasis: "inferred", ClientAuth: "presented"}
	case "plaintext":
		r.Network.Protocol, r.Meshtls.FlowHash = "http", l.hash
		r.HTTP.Request.Method, r.HTTP.Response.StatusCode = "GET", 200
	}
	return r
}

func (p *pod) edge(m *record.Meshtls, l link) {
	own, peer := p.namespace+"/"+p.workload, l.peer
	if l.name != "" {
		peer = l.name
	}
	m.Edge = record.Edge{Key: l.direction + " " + own + " > " + peer, From: own, To: peer, Port: l.port}
	if l.direction == "ingress" {
		m.Edge.From, m.Edge.To = peer, own
	}
}

func (p *pod) posture(action string, l link, n record.ByVerdict, sample ...string) *record.Record {
	r := p.base(record.DatasetPosture, l.from, l.to)
	r.Event.Action = action
	p.fill(r, l)
	p.edge(&r.Meshtls, l)
	r.Related.IP = []netip.Addr{addr(l.peer)}
	r.Meshtls.Edge.Connections, r.Meshtls.Edge.Sample = &n, sample
	r.Meshtls.Coverage = &record.Coverage{Watched: &record.Watched{Packets: 100}}
	return r
}

func (p *pod) finding(rule, state string, count uint64, l link) *record.Record {
	r := p.flow(l)
	p.sequence[record.DatasetFlow]--
	p.sequence[record.DatasetFinding]++
	r.Event.Dataset, r.Event.Sequence = record.DatasetFinding, p.sequence[record.DatasetFinding]
	r.Event.ID = fmt.Sprintf("%s|finding|%d", p.run, r.Event.Sequence)
	p.edge(&r.Meshtls, l)
	severity := int64(73)
	if state == "resolved" || state == "withdrawn" {
		severity = 0
	}
	r.Event.Severity, r.Rule.ID = &severity, rule
	r.Meshtls.Finding = record.Finding{State: state, Count: count, FirstSeen: at(l.from)}
	return r
}

// graphOf returns a graph with records in a random order.
func graphOf(inv topology.Inventory, seed uint64, records ...*record.Record) *topology.Graph {
	g := topology.New(inv)
	records = slices.Clone(records)
	rand.New(rand.NewPCG(seed, 1)).Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	for _, r := range records {
		g.Add(r)
	}
	return g
}

func podOf(p *pod, tapped bool) topology.Pod {
	return topology.Pod{
		Namespace: p.namespace, Name: p.name, UID: "uid-" + p.name, Addresses: []netip.Addr{addr(p.ip)}, Tapped: tapped,
		Workload: topology.Workload{Namespace: p.namespace, Kind: "Deployment", Name: p.workload},
	}
}
