package htmlreport

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

var start = time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC)

func deployment(ns, name string) topology.Workload {
	return topology.Workload{Namespace: ns, Kind: "Deployment", Name: name}
}

// small returns a report in which each part of the page has something.
func small() *Report {
	accepted := true
	checkout, payment, db := deployment("shop", "checkout"), deployment("pay", "payment"), topology.Workload{Namespace: "pay", Kind: "StatefulSet", Name: "ledger-db"}
	claimed := topology.Workload{Name: "api.bank.example", Claimed: true, Addresses: []netip.Addr{netip.MustParseAddr("198.51.100.7")}}
	bare := topology.Workload{Name: "203.0.113.9", Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.9")}}
	at := func(minutes int) time.Time { return start.Add(time.Duration(minutes) * time.Minute) }
	return &Report{
		Title:  "Incident 4711",
		Answer: "1 of 6 edges is plaintext: shop/checkout to pay/payment port 8080.",
		Edges: []topology.Edge{
			{
				From: deployment("shop", "web"), To: checkout, Port: 8443, Scope: "wire", Class: "workload", Verdict: "mtls", Protocol: "http2", Version: "1.3",
				Cipher: "TLS_AES_128_GCM_SHA256", Basis: "inferred", Reasons: []string{"certificate_flight_split", "application_data_seen"},
				Connections: record.ByVerdict{MTLS: 40}, First: at(0), Last: at(58), Changes: []topology.Change{{At: at(0), Verdict: "mtls"}},
				Ends: []topology.End{
					{Side: "client", Taps: 2, Verdict: "mtls", Connections: record.ByVerdict{MTLS: 40}},
					{Side: "server", Taps: 1, Verdict: "mtls", Connections: record.ByVerdict{MTLS: 39}, Older: 1},
				},
				Expectation: "mtls",
			},
			{
				From: checkout, To: payment, Port: 8080, Scope: "wire", Class: "workload", Verdict: "plaintext", Protocol: "http", Basis: "observed",
				Reasons: []string{"http_request_line"}, Connections: record.ByVerdict{Plaintext: 2, MTLS: 10}, First: at(1), Last: at(50),
				Changes:  []topology.Change{{At: at(1), Verdict: "mtls"}, {At: at(20), Verdict: "plaintext"}, {At: at(31), Verdict: "mtls"}},
				Ends:     []topology.End{{Side: "client", Taps: 1, Verdict: "plaintext", Connections: record.ByVerdict{Plaintext: 2, MTLS: 10}, Dropped: 17}},
				Findings: []string{"mtls-downgrade"}, Expectation: "mtls", Accepted: &accepted, Mesh: "istio", LastOf: topology.LastOf{Plaintext: at(30), MTLS: at(50)},
			},
			{
				From: payment, To: db, Port: 5432, Scope: "wire", Class: "workload", Verdict: "tls", Protocol: "postgresql", Version: "1.3", Basis: "inferred",
				Reasons: []string{"starttls", "finished_only_flight"}, Connections: record.ByVerdict{TLS: 6}, First: at(2), Last: at(40),
				Ends: []topology.End{
					{Side: "client", Taps: 1, Verdict: "tls", Connections: record.ByVerdict{TLS: 6}}, {Side: "server", Taps: 1, Verdict: "mtls", Connections: record.ByVerdict{MTLS: 6}},
				},
				Disagreement: "the client's taps report TLS, the server's taps mutual TLS.",
			},
			{From: payment, To: claimed, Port: 443, Scope: "wire", Class: "workload", Verdict: "tls", Version: "1.3", Basis: "inferred", Connections: record.ByVerdict{TLS: 3}, First: at(3), Last: at(41)},
			{From: bare, To: checkout, Port: 8443, Scope: "wire", Class: "workload", Verdict: "failed", Basis: "observed", Reasons: []string{"alert_received"}, Connections: record.ByVerdict{Failed: 4}, First: at(5), Last: at(9)},
			{From: db, To: deployment("backup", "dump"), Port: 9000, Scope: "wire", Class: "workload", Verdict: "unknown", Basis: "none", Reasons: []string{"missed_start"}, Connections: record.ByVerdict{Unknown: 1}, First: at(5), Last: at(9)},
			{From: checkout, To: checkout, Port: 15001, Scope: "pod", Class: "workload", Verdict: "plaintext", Protocol: "http", Basis: "observed", Connections: record.ByVerdict{Plaintext: 30}, First: at(1), Last: at(50)},
		},
		Findings: []topology.Finding{
			{
				Rule: "plaintext-edge", Severity: 21, State: "open", Message: "Plaintext was sent to port 8080, and nothing is declared.", From: checkout, To: payment, Port: 8080,
				Count: 2, First: at(20), Last: at(30), Verdict: "plaintext", Reasons: []string{"http_request_line"},
			},
			{
				Rule: "mtls-downgrade", Severity: 73, State: "ongoing", Message: "shop/checkout sent plaintext to pay/payment port 8080, which was mutual TLS before.", From: checkout, To: payment,
				Port: 8080, Count: 2, First: at(20), Last: at(30), Basis: "observed", Reasons: []string{"http_request_line", "one_end_only"},
				Evidence: "20261130T032000Z-mtls-downgrade-3f2a.pcapng", Coverage: "10,240 packets seen, 17 lost.", Reference: "https://github.com/meshtls-tap/meshtls-tap/blob/main/schema/README.md#mtls-downgrade",
			},
		},
		Unknown: []topology.Unknown{
			{Text: "No tap runs in these workloads: their traffic is seen only where the other end is tapped.", Workloads: []topology.Workload{deployment("backup", "dump"), deployment("shop", "legacy-cron")}},
			{Text: "3 connections are older than the taps, and were not judged."},
		},
		Made: Made{
			At: at(60), Version: "1.2.3",
			Sources: []Source{{Kind: "tap", Name: "shop/checkout-7d9f-abcde", Note: "812 records."}, {Kind: "tap", Name: "pay/payment-0", Note: "90 records."}},
			Losses:  []string{"The taps lost 17 of 20,480 packets."},
		},
	}
}

// large returns a report with 2,000 edges among 300 workloads in 20 namespaces.
func large() *Report {
	r := rand.New(rand.NewPCG(1, 2))
	var all []topology.Workload
	for i := range 300 {
		all = append(all, deployment(fmt.Sprintf("team-%02d", i%20), fmt.Sprintf("service-%03d", i)))
	}
	x := &Report{Title: "2,000 edges", Answer: "Some of 2,000 edges are plaintext.", Made: Made{At: start, Version: "1.2.3", Sources: []Source{{Kind: "capture file", Name: "large.pcap"}}}}
	verdict := []string{"plaintext", "tls", "tls", "unknown", "failed", "encrypted"}
	seen := map[[3]int]bool{}
	for len(x.Edges) < 2000 {
		from, to, port := r.IntN(300), int(300*r.Float64()*r.Float64()), []int{8080, 8443, 5432, 9092}[r.IntN(4)]
		if from == to || seen[[3]int{from, to, port}] {
			continue
		}
		seen[[3]int{from, to, port}] = true
		e := topology.Edge{
			From: all[from], To: all[to], Port: uint16(port), Scope: "wire", Class: "workload", Verdict: "mtls", Protocol: "http", Version: "1.3", Cipher: "TLS_AES_128_GCM_SHA256",
			Basis: "inferred", Reasons: []string{"certificate_flight_split", "application_data_seen"}, First: start, Last: start.Add(time.Hour),
			Connections: record.ByVerdict{MTLS: uint64(1 + r.IntN(900))},
			Ends: []topology.End{
				{Side: "client", Taps: 3, Verdict: "mtls", Connections: record.ByVerdict{MTLS: 3}}, {Side: "server", Taps: 2, Verdict: "mtls", Connections: record.ByVerdict{MTLS: 2}},
			},
			Expectation: "mtls",
		}
		for k := range 1 + r.IntN(4) {
			e.Changes = append(e.Changes, topology.Change{At: start.Add(time.Duration(k) * 11 * time.Minute), Verdict: "mtls"})
		}
		if n := r.IntN(20); n < len(verdict) {
			e.Verdict, e.Basis, e.Reasons = verdict[n], "observed", []string{"http_request_line"}
			e.Changes[len(e.Changes)-1].Verdict = e.Verdict
			e.Connections = map[string]record.ByVerdict{"plaintext": {Plaintext: 3, MTLS: 5}, "tls": {TLS: 7}, "unknown": {Unknown: 1}, "failed": {Failed: 2}, "encrypted": {Encrypted: 4}}[e.Verdict]
			if e.Verdict == "plaintext" {
				e.Findings = []string{"plaintext-edge"}
				x.Findings = append(x.Findings, topology.Finding{Rule: "plaintext-edge", Severity: 47, State: "open", Message: "Plaintext was sent.", From: e.From, To: e.To, Port: e.Port, Count: 3, First: start, Last: e.Last, Basis: "observed", Reasons: e.Reasons})
			}
		}
		x.Edges = append(x.Edges, e)
	}
	return x
}
