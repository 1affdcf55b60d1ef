package liveview

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// noon is the time in all screens.
var noon = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

func deployment(ns, name string) topology.Workload {
	return topology.Workload{Namespace: ns, Kind: "Deployment", Name: name}
}

// hostile is a name with what terminals interpret: the title and the colors of the terminal, a line end, an override of the direction.
const hostile = "\x1b]0;owned\x07\x1b[31mred\r\nfake \u202egnp\x9b2J"

// shop returns a state with an edge of each kind, names of several lengths, hostile names, and taps in each phase.
func shop() State {
	edge := func(from, to topology.Workload, port uint16, verdict string, n record.ByVerdict) topology.Edge {
		return topology.Edge{From: from, To: to, Port: port, Scope: "wire", Class: "workload", Verdict: verdict, Connections: n,
			First: noon.Add(-time.Hour), Last: noon.Add(-7 * time.Second), Basis: "none"}
	}
	mutual := func(e topology.Edge) topology.Edge {
		e.Protocol, e.Version, e.Cipher, e.Basis, e.Reasons = "tls", "1.3", "TLS_AES_128_GCM_SHA256", "inferred", []string{"certificate_flight_split"}
		return e
	}
	cart, checkout := deployment("shop", "cart"), deployment("shop", "checkout")
	payments := deployment("production-eu-west", "payments-authorization-service-canary")
	redis := topology.Workload{Namespace: "shop", Kind: "StatefulSet", Name: "redis"}
	outside := topology.Workload{Name: "api.example.com", Claimed: true, Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.9")}}
	plain := edge(cart, redis, 6379, "plaintext", record.ByVerdict{Plaintext: 12})
	plain.Protocol, plain.Basis, plain.Reasons, plain.Findings = "redis", "observed", []string{"redis_message"}, []string{"plaintext-edge"}
	plain.Ends = []topology.End{{Side: "client", Taps: 2, Verdict: "plaintext", Connections: plain.Connections, Dropped: 3, Older: 1}}
	plain.Changes = []topology.Change{{At: noon.Add(-time.Hour), Verdict: "mtls"}, {At: noon.Add(-time.Minute), Verdict: "plaintext"}}
	partly := mutual(edge(checkout, payments, 8443, "plaintext", record.ByVerdict{Plaintext: 1, MTLS: 400}))
	partly.Disagreement = "the client's tap saw 401 connections, the server's tap 400"
	oneWay := edge(cart, outside, 443, "tls", record.ByVerdict{TLS: 3})
	oneWay.Protocol, oneWay.Version, oneWay.Cipher, oneWay.Basis, oneWay.Reasons = "tls", "1.3", "TLS_CHACHA20_POLY1305_SHA256", "inferred", []string{"certificate_not_requested"}
	six := edge(checkout, topology.Workload{Name: "2001:db8::17", Addresses: []netip.Addr{netip.MustParseAddr("2001:db8::17")}}, 9000, "unknown", record.ByVerdict{Unknown: 2})
	six.Reasons = []string{"missed_start"}
	within := edge(cart, cart, 15001, "plaintext", record.ByVerdict{Plaintext: 12})
	within.Scope, within.Protocol, within.Basis = "pod", "http", "observed"
	dns := edge(cart, deployment("kube-system", "coredns"), 53, "plaintext", record.ByVerdict{Plaintext: 40})
	dns.Class, dns.Protocol, dns.Basis = "dns", "dns", "observed"
	bad := edge(deployment("shop", hostile), deployment(hostile, "web"), 80, "failed", record.ByVerdict{Failed: 1})
	bad.Protocol, bad.Reasons = hostile, []string{hostile}

	edges := []topology.Edge{
		mutual(edge(cart, checkout, 8080, "mtls", record.ByVerdict{MTLS: 1204})), plain, partly, oneWay, six, within, dns, bad,
		mutual(edge(deployment("production-eu-west", "frontend-edge-proxy"), payments, 8443, "mtls", record.ByVerdict{MTLS: 7})),
	}
	return State{
		Answer: topology.Sentence(topology.TallyOf(edges)) + ".",
		Edges:  edges,
		Findings: []topology.Finding{
			{Rule: "mtls-downgrade", Severity: 60, State: "resolved", Message: "an old one", First: noon.Add(-time.Hour)},
			{Rule: "tls-not-mutual", Severity: 40, State: "ongoing", Message: "shop/cart used TLS 1.3 without a client certificate", From: cart, To: outside, Port: 443, First: noon.Add(-time.Minute)},
			{Rule: "plaintext-edge", Severity: 60, State: "open", Message: "shop/cart sent Redis in plaintext to shop/redis port 6379 \x1b[2J", From: cart, To: redis, Port: 6379, First: noon.Add(-time.Second),
				Reference: "https://example.com/rules#plaintext-edge"},
		},
		Unknown: []topology.Unknown{{Text: "Not tapped, so their connections with each other were not seen.", Workloads: []topology.Workload{deployment("shop", "search")}}},
		Taps: []Tap{
			{Pod: "shop/cart-7d9f6c5b8-x2x9z", Phase: Running, Dropped: 3, Older: 1},
			{Pod: "shop/checkout-66b7f8d9c-l4k2p", Phase: Running},
			{Pod: "shop/redis-0", Phase: Ended, Reason: "the container ended: OOMKilled"},
			{Pod: "production-eu-west/payments-authorization-service-canary-5d8f9", Phase: Lost, Reason: "log stream: connection reset by peer " + hostile},
		},
		Until: noon.Add(9*time.Minute + 41*time.Second),
	}
}

// many returns n edges, the first of which are shop's.
func many(n int) State {
	s := shop()
	for i := len(s.Edges); i < n; i++ {
		e := s.Edges[0]
		e.From = deployment(fmt.Sprintf("team-%02d", i%20), fmt.Sprintf("client-%d", i))
		e.To = deployment(fmt.Sprintf("team-%02d", i%7), fmt.Sprintf("server-%d", i/3))
		s.Edges = append(s.Edges, e)
	}
	return s
}
