package main

import (
	"crypto/tls"
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// TestFaultIsContained: a panic behind a packet costs what was known of the connections, and no more.
func TestFaultIsContained(t *testing.T) {
	cert, err := liveCertificate("cart")
	if err != nil {
		t.Fatal(err)
	}
	talk, err := capturetest.Record(exchange(&tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}}, 100), //nolint:gosec // the test judges the wire
		answering(&tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert}, 400))
	if err != nil {
		t.Fatal(err)
	}
	frames := func(port uint16) []capturetest.Frame {
		return talk.Packets(capturetest.Options{
			Client: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port), Server: netip.MustParseAddrPort("10.0.0.2:8443"), Start: captureStart,
		})
	}
	var verdicts []string
	broken := true
	p := newPipeline(flow.Config{Exclude: func(*flow.Conn) bool {
		if broken {
			panic("broken")
		}
		return false
	}}, verdict.Config{}, finding.Config{Tap: "read", Window: time.Hour, Flows: true, Emit: func(r finding.Record) {
		var record struct {
			Event   struct{ Dataset string }
			MeshTLS struct{ Verdict string }
		}
		if err := json.Unmarshal(r.Value, &record); err != nil {
			t.Fatal(err)
		}
		if record.Event.Dataset == finding.DatasetFlow {
			verdicts = append(verdicts, record.MeshTLS.Verdict)
		}
	}})
	told := 0
	p.fault = func(any) { told++ }
	broken = false
	play(p, frames(41000)[:8]...) // goes on
	broken = true
	play(p, frames(41001)[0])
	broken = false
	if p.faults != 1 || told != 1 || p.table.Len() != 0 || len(verdicts) != 1 {
		t.Errorf("%d faults, told %d times, %d connections left, verdicts %v", p.faults, told, p.table.Len(), verdicts)
	}
	play(p, frames(41002)...)
	p.table.Flush()
	if len(verdicts) != 2 || verdicts[1] != "mtls" {
		t.Errorf("verdicts %v, want mtls for what came behind it", verdicts)
	}
}
