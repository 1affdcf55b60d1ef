package pipeline_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// A pipeline turns the packets of a capture into records.
func Example() {
	p := pipeline.New(pipeline.Config{Engine: finding.Config{
		Window: time.Hour, Flows: true, Emit: func(r finding.Record) {
			var record struct {
				Destination struct{ IP string }
				MeshTLS     struct{ Verdict string }
			}
			if err := json.Unmarshal(r.Value, &record); err != nil {
				panic(err)
			}
			fmt.Println(r.Dataset, record.Destination.IP, record.MeshTLS.Verdict)
		},
	}})
	var iface uint16
	p.Do(func(l *pipeline.Locked) { iface = l.AddInterface("eth0") })

	for _, packet := range requestOverHTTP() {
		packet.Interface = iface
		p.Add(packet)
	}
	p.Flush()
	p.Do(func(l *pipeline.Locked) { l.Engine.Flush(l.Latest()) })
	// Output:
	// meshtls.flow 10.1.0.20 plaintext
}

// A pipeline can also return judgements, without records.
func ExampleConfig_judged() {
	p := pipeline.New(pipeline.Config{Judged: func(j *verdict.Judged) {
		if j.Ended {
			fmt.Println(j.Source.Addr, j.Destination.Addr, j.Verdict, j.Protocol)
		}
	}})
	p.Add(requestOverHTTP()...)
	p.Flush()
	// Output:
	// 10.1.0.7 10.1.0.20 plaintext http
}

// requestOverHTTP returns the packets of a connection with an HTTP request without TLS.
func requestOverHTTP() (packets []flow.Packet) {
	talk, err := capturetest.HTTPTalk()
	if err != nil {
		panic(err)
	}
	for _, f := range talk.Packets(capturetest.Options{
		Client: netip.MustParseAddrPort("10.1.0.7:40000"), Server: netip.MustParseAddrPort("10.1.0.20:8080"), Start: captureStart,
	}) {
		packets = append(packets, packetOf(f))
	}
	return packets
}
