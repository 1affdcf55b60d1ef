package report_test

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/report"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// Text writes the connections that an engine has seen: first a summary, then a table of edges.
func ExampleText() {
	engine := finding.New(finding.Config{Tap: "read", Emit: func(finding.Record) {}})
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC).UnixNano()
	engine.Add(&verdict.Judged{
		ID: 1, Interface: "eth0", Start: start, Last: start + int64(time.Second), Ended: true, Settled: true, Transport: "tcp",
		Source:      verdict.Endpoint{Addr: netip.MustParseAddr("10.1.1.2"), Port: 40000, Bytes: 100, Packets: 6},
		Destination: verdict.Endpoint{Addr: netip.MustParseAddr("10.2.2.2"), Port: 8443, Bytes: 1000, Packets: 5},
		Scope:       verdict.ScopeWire, Class: "workload", Verdict: verdict.MTLS, Protocol: "tls",
		TLS: &verdict.TLSInfo{
			Version: "1.3", VersionProtocol: "tls", Cipher: "TLS_AES_128_GCM_SHA256", ServerName: "cart.shop.svc.cluster.local", Established: true,
			ClientAuth: verdict.AuthPresented, ClientAuthBasis: verdict.BasisInferred, Outcome: verdict.OutcomeEstablished,
		},
	})
	engine.Flush(start + int64(time.Minute))

	var text strings.Builder
	if err := report.Text(&text, engine.Summary(), report.Options{Width: 100}); err != nil {
		fmt.Println(err)
		return
	}
	answer, _, _ := strings.Cut(text.String(), "\n\nWhy") // the explanation of each verdict and the coverage follow
	fmt.Println(answer)

	// Output:
	// 1 edge: 1 mutual TLS
	//
	//   VERDICT     FROM      TO             PROTOCOL                        HOW SURE  CONNECTIONS
	//   mutual TLS  10.1.1.2  10.2.2.2:8443  TLS 1.3 TLS_AES_128_GCM_SHA256  inferred            1
}
