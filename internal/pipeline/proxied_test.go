package pipeline_test

import (
	"crypto/tls"
	"encoding/json"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// TestProxiedTLS: a connection that starts with the tap's own ClientHello belongs to the tap while it carries TLS, even
// after its verdict has settled, and when the connection ends. TLS of another tap does not belong to the tap.
func TestProxiedTLS(t *testing.T) {
	talks, err := capturetest.TLSTalk(tls.VersionTLS13, capturetest.NotRequested, 2)
	if err != nil {
		t.Fatal(err)
	}
	var randoms [][32]byte
	for _, talk := range talks {
		first := slices.IndexFunc(talk.Chunks, func(c capturetest.Chunk) bool { return !c.FromServer })
		randoms = append(randoms, [32]byte(talk.Chunks[first].Data[11:43]))
	}
	var classes []string
	findings := 0
	p := pipeline.New(pipeline.Config{Judge: verdict.Config{
		Local: []netip.Prefix{netip.MustParsePrefix("10.1.0.7/32")}, Sent: func(r [32]byte) bool { return r == randoms[0] },
	}, Engine: finding.Config{
		Tap: "read", Window: time.Hour, Flows: true, Findings: true, Mesh: "istio_ambient",
		Emit: func(x finding.Record) {
			schematest.Check(t, x.Value)
			var r struct {
				Meshtls struct{ Class string }
			}
			if err := json.Unmarshal(x.Value, &r); err != nil {
				t.Fatal(err)
			}
			switch x.Dataset {
			case finding.DatasetFlow:
				classes = append(classes, r.Meshtls.Class)
			case finding.DatasetFinding:
				findings++
			}
		},
	}})
	for i, talk := range talks {
		for _, f := range talk.Packets(capturetest.Options{
			Client: netip.AddrPortFrom(netip.MustParseAddr("10.1.0.7"), uint16(40000+i)), Server: netip.MustParseAddrPort("10.1.0.9:9093"),
			Start: captureStart.Add(time.Duration(i) * time.Second),
		}) {
			p.Add(flow.Packet{Link: wire.LinkEthernet, Time: f.Time.UnixNano(), Data: f.Data, Length: len(f.Data)})
		}
	}
	p.Flush()
	if !slices.Equal(classes, []string{"tap", "workload"}) || findings != 1 {
		t.Errorf("classes %v, %d findings, want only the one of the second connection", classes, findings)
	}
}
