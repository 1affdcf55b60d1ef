package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshtls-tap/meshtls-tap/internal/attach"
	"github.com/meshtls-tap/meshtls-tap/internal/record"
	"github.com/meshtls-tap/meshtls-tap/internal/topology"
)

// BenchmarkGathering measures what precedes the drawing of a live view of 1,000 edges, in processor time: "add%core" is the share of one
// core that it takes to parse and add 200 records each second, "ms/state" the time to join the edges once. The view waits 150 times as
// long until the next state, so states take less than 1% of a core. BenchmarkLive in internal/liveview measures the drawing.
func BenchmarkGathering(b *testing.B) {
	const edges, changes = 1000, 200
	pod := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1"}}
	g := newGathering(topology.Inventory{}, &attach.Plan{Pods: []attach.PodPlan{{Pod: &pod}}})
	number := 0
	next := func() []byte {
		r := record.Record{}
		r.Event.Dataset, r.Event.ID = record.DatasetFlow, fmt.Sprintf("%032x", number)
		r.Event.Start, r.Event.End = record.Time(int64(number)*int64(time.Millisecond)), record.Time(int64(number+1)*int64(time.Millisecond))
		r.Timestamp = r.Event.End
		r.Source.IP, r.Source.Port = netip.AddrFrom4([4]byte{10, 1, 0, 4}), 40000
		r.Destination.IP, r.Destination.Port = netip.AddrFrom4([4]byte{10, 2, byte(number % edges >> 8), byte(number % edges)}), 8443
		r.Network.Direction, r.Network.Protocol = "egress", "tls"
		r.TLS = &record.TLS{Version: "1.3", VersionProtocol: "tls", Cipher: "TLS_AES_128_GCM_SHA256"}
		m := &r.Meshtls
		m.Schema, m.Verdict, m.Scope, m.Class, m.Reasons = record.SchemaVersion, "mtls", "wire", "workload", []string{"certificate_flight_split"}
		m.TLS = record.Auth{ClientAuth: "presented", ClientAuthBasis: "inferred", SessionHash: fmt.Sprintf("%016x", number)}
		r.Kubernetes.Namespace, r.Kubernetes.Pod.Name = "shop", "web-1"
		number++
		line, err := json.Marshal(&r)
		if err != nil {
			b.Fatal(err)
		}
		return line
	}
	tap := attach.Tap{Namespace: "shop", Pod: "web-1"}
	add := func(line []byte) {
		e := attach.Event{Tap: tap, Record: &attach.Record{Line: line}}
		if err := json.Unmarshal(line, &e.Record.Record); err != nil {
			b.Fatal(err)
		}
		g.add(&e)
	}
	for range edges {
		add(next())
	}
	lines := make([][]byte, changes)
	var adding, joining time.Duration
	for b.Loop() {
		for i := range lines {
			lines[i] = next()
		}
		begin := processor(b)
		for _, line := range lines {
			add(line)
		}
		added := processor(b)
		if s := g.state(); len(s.Edges) != edges {
			b.Fatalf("%d edges", len(s.Edges))
		}
		adding, joining = adding+added-begin, joining+processor(b)-added
	}
	b.ReportMetric(100*float64(adding)/float64(b.N)/float64(time.Second), "add%core")
	b.ReportMetric(float64(joining)/float64(b.N)/float64(time.Millisecond), "ms/state")
}

// processor returns the processor time of the process.
func processor(tb testing.TB) time.Duration {
	tb.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
