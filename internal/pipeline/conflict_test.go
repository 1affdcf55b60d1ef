package pipeline_test

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// TestOtherBytesAgain: if a part of a mutual handshake is sent again with different bytes, the verdict becomes unknown.
// It does so even if the receiver has acknowledged the first bytes and the verdict has settled. A resumption of this
// TLS session inherits nothing.
func TestOtherBytesAgain(t *testing.T) {
	cert := workload(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client := &tls.Config{ServerName: "svc.test", InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(8), Certificates: []tls.Certificate{cert}} //nolint:gosec // the test judges the wire
		client.MinVersion, client.MaxVersion = version, version
		server := &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert}
		var talks []*capturetest.Conversation
		for range 2 {
			talk, err := capturetest.Record(capturetest.HTTPClient(client, 100), capturetest.HTTPServer(server, 400))
			if err != nil {
				t.Fatal(err)
			}
			talks = append(talks, talk)
		}
		frames := func(k int) []capturetest.Frame {
			return talks[k].Packets(capturetest.Options{
				Client: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(41000+k)), Server: netip.MustParseAddrPort("10.0.0.2:8443"),
				Start: captureStart.Add(time.Duration(k) * time.Minute),
			})
		}
		full := frames(0)
		var flight capturetest.Frame // the client's flight after the server's
		answered := false
		for _, f := range full {
			var d flow.Decoded
			if !flow.Decode(&flow.Packet{Data: f.Data, Length: len(f.Data), Link: wire.LinkEthernet}, &d) {
				t.Fatal(d.Reason)
			}
			if answered = answered || d.SrcPort == 8443 && len(d.Payload) > 0; answered && d.DstPort == 8443 && len(d.Payload) > 0 {
				flight = capturetest.Frame{Time: full[len(full)-4].Time, Data: slices.Clone(f.Data)}
				flight.Data[len(flight.Data)-1] ^= 1
				break
			}
		}
		for name, c := range map[string]struct {
			packets []capturetest.Frame
			want    string
		}{
			"once":  {full, "[mtls mtls]"},
			"twice": {slices.Concat(full[:len(full)-3], []capturetest.Frame{flight}, full[len(full)-3:]), "[tls tls]"},
		} {
			said := &flows{t: t}
			p := pipeline.New(pipeline.Config{Engine: said.config()})
			play(p, slices.Concat(c.packets, frames(1))...)
			p.Flush()
			if got := said.verdicts; len(got) > 0 && slices.Contains(said.reasons[0], "conflicting_bytes") != (name == "twice") {
				t.Errorf("%x %s: reasons %v", version, name, said.reasons[0])
			}
			if got := said.verdicts; fmt.Sprint(got) != c.want {
				t.Errorf("%x %s: verdicts %v, want %s", version, name, got, c.want)
			}
		}
	}
}
