package finding_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// BenchmarkAdd: each iteration is one connection, from its first verdict to its end.
func BenchmarkAdd(b *testing.B) {
	run := func(name string, kind func(uint64, int64) *verdict.Judged, cfg finding.Config) {
		b.Run(name, func(b *testing.B) {
			var bytes int
			cfg.Tap, cfg.Identity, cfg.Emit = pod.UID, pod, func(r finding.Record) { bytes += len(r.Value) }
			e := finding.New(cfg)
			end := kind(1, noon)
			start := living(end)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				start.ID, end.ID = uint64(i), uint64(i)
				e.Add(start)
				e.Add(end)
			}
			b.ReportMetric(float64(bytes)/float64(b.N), "B/record")
		})
	}
	counted := finding.Config{Findings: true, Posture: true, Mesh: "istio"}
	flows := counted
	flows.Flows = true
	run("mtls", mutual, counted)
	run("plaintext", plain, counted)
	run("mtls/flow", mutual, flows)
	run("tls12/flow", func(uint64, int64) *verdict.Judged { return everything() }, flows)
	run("plaintext/flow", plain, flows)
}

// TestMemory: a full table of edges, each with three verdicts and two findings, takes at most 12
// MiB.
func TestMemory(t *testing.T) {
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	e := finding.New(finding.Config{Tap: "x", Mesh: "osm", Emit: func(finding.Record) {}})
	id := uint64(0)
	for n := range 3000 {
		for _, j := range []*verdict.Judged{mutual(id, noon), oneWay(id+1, noon), plain(id+2, noon)} {
			j.PeerName = fmt.Sprintf("a-name-of-a-usual-length-%d.namespace.svc.cluster.local", n)
			j.Destination.Port = 80
			e.Add(j)
		}
		id += 3
	}
	took := heap() - before
	if edges := len(e.Summary().Edges); edges != 1025 {
		t.Errorf("%d edges", edges)
	}
	if took > 12<<20 {
		t.Errorf("1024 edges use %d KiB", took>>10)
	}
	t.Logf("1024 edges use %d KiB", took>>10)
	runtime.KeepAlive(e)
}

// BenchmarkWindow closes a window of 50 edges.
func BenchmarkWindow(b *testing.B) {
	e := finding.New(finding.Config{Tap: pod.UID, Identity: pod, Posture: true, Findings: true, Emit: func(finding.Record) {}})
	for i := range uint64(50) {
		j := living(mutual(i, noon))
		j.PeerName = fmt.Sprintf("peer-%d", i)
		e.Add(j)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		e.Tick(noon + int64(i+1)*10*minute)
	}
}
