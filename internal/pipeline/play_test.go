package pipeline_test

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// captureStart is the time at which captures start.
var captureStart = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// packetOf returns a frame as a packet of an Ethernet capture; it shares the frame's bytes.
func packetOf(f capturetest.Frame) flow.Packet {
	return flow.Packet{Time: f.Time.UnixNano(), Data: f.Data, Length: len(f.Data), Link: wire.LinkEthernet}
}

// play sends frames through a pipeline.
func play(p *pipeline.Pipeline, frames ...capturetest.Frame) {
	for _, f := range frames {
		packet := packetOf(f)
		p.Add(packet)
	}
}

// records runs packets through a pipeline, truncated by the default filter if filter is set, and returns
// the flow records.
func records(t *testing.T, packets []flow.Packet, filter pcapfilter.Program) (out []string) {
	t.Helper()
	p := pipeline.New(pipeline.Config{DefaultFilter: filter != nil, Engine: finding.Config{
		Tap: "read", Window: time.Hour, Flows: true, Emit: func(r finding.Record) {
			schematest.Check(t, r.Value)
			out = append(out, string(r.Value))
		},
	}})
	for _, packet := range packets {
		if filter != nil {
			n := filter.Run(&pcapfilter.Packet{Data: packet.Data, Length: packet.Length})
			if n == 0 {
				t.Fatalf("a packet was dropped: % x", packet.Data)
			}
			packet.Data = packet.Data[:min(int(n), len(packet.Data))]
		}
		p.Add(packet)
	}
	p.Flush()
	return out
}

// workload returns the certificate of a workload.
func workload(t *testing.T) tls.Certificate {
	t.Helper()
	ca, err := capturetest.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.IssueChain(0)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
