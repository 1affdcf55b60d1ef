package pipeline_test

import (
	"crypto/tls"
	"net/netip"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// TestFaultIsContained: if a packet causes a panic, the state of the connections is lost, but nothing else.
func TestFaultIsContained(t *testing.T) {
	cert := workload(t)
	talk, err := capturetest.Record(capturetest.HTTPClient(&tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}}, 100), //nolint:gosec // the test judges the wire
		capturetest.HTTPServer(&tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert}, 400))
	if err != nil {
		t.Fatal(err)
	}
	frames := func(port uint16) []capturetest.Frame {
		return talk.Packets(capturetest.Options{
			Client: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port), Server: netip.MustParseAddrPort("10.0.0.2:8443"), Start: captureStart,
		})
	}
	said := &flows{t: t}
	broken := false
	told := 0
	p := pipeline.New(pipeline.Config{Engine: said.config(), OnPanic: func(*pipeline.Locked, any) { told++ }, Table: flow.Config{Exclude: func(*flow.Conn) bool {
		if broken {
			panic("broken")
		}
		return false
	}}})
	play(p, frames(41000)[:8]...) // the connection continues
	broken = true
	play(p, frames(41001)[0])
	broken = false
	if p.Stats().Panics != 1 || told != 1 || p.Stats().Table.Active != 0 || len(said.verdicts) != 1 {
		t.Errorf("%d panics, reported %d times, %d connections left, verdicts %v", p.Stats().Panics, told, p.Stats().Table.Active, said.verdicts)
	}
	play(p, frames(41002)...)
	p.Flush()
	if len(said.verdicts) != 2 || said.verdicts[1] != "mtls" {
		t.Errorf("verdicts %v, want mtls for the connection after the panic", said.verdicts)
	}
}

// TestFaultInAll: if a packet causes a panic, the packets after it are still processed.
func TestFaultInAll(t *testing.T) {
	said := &flows{t: t}
	p := pipeline.New(pipeline.Config{Engine: said.config(), Table: flow.Config{Exclude: func(c *flow.Conn) bool {
		if c.Orig.Port == 41000 {
			panic("broken")
		}
		return false
	}}})
	var packets []flow.Packet
	for _, port := range []uint16{41001, 41000, 41000, 41002, 41003, 41000} {
		data := capturetest.UDPFrame(netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port), netip.MustParseAddrPort("10.0.0.2:514"), []byte("<13>a line of syslog"))
		packets = append(packets, flow.Packet{Time: captureStart.UnixNano(), Data: data, Length: len(data), Link: wire.LinkEthernet})
	}
	p.Add(packets[:5]...)
	if p.Stats().Panics != 2 || p.Stats().Table.Active != 2 {
		t.Errorf("%d panics, want 2; %d connections after them, want 2", p.Stats().Panics, p.Stats().Table.Active)
	}
	p.Add(packets[5:]...)
	if p.Stats().Panics != 3 || p.Stats().Table.Active != 0 {
		t.Errorf("%d panics, want 3; %d connections after them, want none", p.Stats().Panics, p.Stats().Table.Active)
	}
}
