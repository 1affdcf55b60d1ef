package finding_test

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// An engine turns judged connections into records. Plaintext where mutual TLS is expected is a finding at
// once.
func ExampleEngine() {
	expect, err := finding.ParseExpect("10.0.0.0/8=mtls")
	if err != nil {
		fmt.Println(err)
		return
	}

	engine := finding.New(finding.Config{
		Tap: "read", Expect: expect, Findings: true,
		Emit: func(r finding.Record) { fmt.Println(r.Dataset, r.Rule, len(r.Value) > 0) },
	})
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC).UnixNano()
	engine.Add(&verdict.Judged{
		ID: 1, Interface: "eth0", Start: start, Last: start + int64(time.Second), Ended: true, Settled: true, Transport: "tcp",
		Source:      verdict.Endpoint{Addr: netip.MustParseAddr("10.1.1.2"), Port: 40000, Bytes: 100, Packets: 6},
		Destination: verdict.Endpoint{Addr: netip.MustParseAddr("10.2.2.2"), Port: 8080, Bytes: 1000, Packets: 5},
		Direction:   verdict.DirectionEgress, Scope: verdict.ScopeWire, Class: "workload", Verdict: verdict.Plaintext, Protocol: "http",
	})
	engine.Flush(start + int64(time.Minute))

	// Output:
	// meshtls.finding plaintext-edge true
}
