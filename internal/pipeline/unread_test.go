package pipeline_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/finding"
	"github.com/meshtls-tap/meshtls-tap/internal/pipeline"
	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
)

// Offsets of the headers in a frame of these captures: Ethernet, IPv4 and TCP without options.
const (
	atLength = 14 + 2
	atOffset = 14 + 20 + 12
	atFlags  = 14 + 20 + 13
)

// TestUnreadBytes: bytes prove nothing if a receiver removes them from the stream (urgent data) or reorders them
// (subflows of Multipath TCP). A client certificate or an alert in such bytes has no effect.
func TestUnreadBytes(t *testing.T) {
	cert := workload(t)
	const urg, syn, ack = 0x20, 0x02, 0x10
	multipath := func(pick func(flags byte) bool) func(b []byte) []byte {
		return func(b []byte) []byte {
			if !pick(b[atFlags]) {
				return b
			}
			header := 14 + 20 + int(b[atOffset]>>4)*4
			b = slices.Insert(b, header, 30, 4, 0x00, 0x01)
			b[atOffset] += 1 << 4
			binary.BigEndian.PutUint16(b[atLength:], binary.BigEndian.Uint16(b[atLength:])+4)
			return b
		}
	}
	urgent := func(b []byte) []byte {
		if len(b) > 100 {
			b[atFlags] |= urg
		}
		return b
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client := &tls.Config{Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true, MinVersion: version, MaxVersion: version} //nolint:gosec // the test judges the wire
		server := &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert}
		talk, err := capturetest.Record(capturetest.HTTPClient(client, 100), capturetest.HTTPServer(server, 400))
		if err != nil {
			t.Fatal(err)
		}
		for name, c := range map[string]struct {
			edit      func(b []byte) []byte
			want, why string
		}{
			"as it is":              {func(b []byte) []byte { return b }, "mtls", ""},
			"urgent":                {urgent, "tls", "urgent_data"},
			"multipath, offered":    {multipath(func(flags byte) bool { return flags&(syn|ack) == syn }), "mtls", ""},
			"multipath, accepted":   {multipath(func(flags byte) bool { return flags&(syn|ack) == syn|ack }), "tls", "multipath_tcp"},
			"multipath, later":      {multipath(func(flags byte) bool { return flags&syn == 0 }), "tls", "multipath_tcp"},
			"multipath, everywhere": {multipath(func(byte) bool { return true }), "tls", "multipath_tcp"},
		} {
			frames := talk.Packets(capturetest.Options{
				Client: netip.MustParseAddrPort("10.0.0.1:41000"), Server: netip.MustParseAddrPort("10.0.0.2:8443"), Start: captureStart,
			})
			for i := range frames {
				frames[i].Data = c.edit(slices.Clone(frames[i].Data))
			}
			verdicts, reasons := judged(t, frames)
			if len(verdicts) != 1 || verdicts[0] != c.want || slices.Contains(reasons, "urgent_data") != (c.why == "urgent_data") || slices.Contains(reasons, "multipath_tcp") != (c.why == "multipath_tcp") {
				t.Errorf("%x %s: %v %v, want %s and %q", version, name, verdicts, reasons, c.want, c.why)
			}
		}
	}
}

// TestUnreadAlert: an alert in urgent data ends nothing, and the data after it is judged.
func TestUnreadAlert(t *testing.T) {
	cert := workload(t)
	talk, err := capturetest.Record(capturetest.HTTPClient(&tls.Config{InsecureSkipVerify: true}, 100), capturetest.HTTPServer(&tls.Config{Certificates: []tls.Certificate{cert}}, 400)) //nolint:gosec // the test judges the wire
	if err != nil {
		t.Fatal(err)
	}
	alert := capturetest.Chunk{Data: []byte{21, 3, 3, 0, 2, 2, 40}}
	talk.Chunks = slices.Insert(talk.Chunks, 2, alert) // the alert follows both hellos
	frames := talk.Packets(capturetest.Options{Client: netip.MustParseAddrPort("10.0.0.1:41000"), Server: netip.MustParseAddrPort("10.0.0.2:8443"), Start: captureStart})
	for i := range frames {
		frames[i].Data = slices.Clone(frames[i].Data)
		if bytes.HasSuffix(frames[i].Data, alert.Data) {
			frames[i].Data[atFlags] |= 0x20
		}
	}
	if verdicts, reasons := judged(t, frames); len(verdicts) != 1 || verdicts[0] != "tls" || !slices.Contains(reasons, "urgent_data") {
		t.Errorf("verdicts %v, reasons %v", verdicts, reasons)
	}
}

// judged plays packets, and returns the verdicts of the flows and their reasons.
func judged(t *testing.T, frames []capturetest.Frame) (verdicts []string, reasons []string) {
	t.Helper()
	said := &flows{t: t}
	p := pipeline.New(pipeline.Config{Engine: said.config()})
	play(p, frames...)
	p.Flush()
	return said.verdicts, slices.Concat(said.reasons...)
}

// flows holds the verdicts of flow records, and their reasons.
type flows struct {
	t        *testing.T
	verdicts []string
	reasons  [][]string
}

// config returns the configuration of an engine whose flow records are read.
func (f *flows) config() finding.Config {
	return finding.Config{Tap: "read", Window: time.Hour, Flows: true, Emit: func(r finding.Record) {
		schematest.Check(f.t, r.Value)
		var record struct {
			Event   struct{ Dataset string }
			MeshTLS struct {
				Verdict string
				Reasons []string
			}
		}
		if err := json.Unmarshal(r.Value, &record); err != nil {
			f.t.Fatal(err)
		}
		if record.Event.Dataset == finding.DatasetFlow {
			f.verdicts, f.reasons = append(f.verdicts, record.MeshTLS.Verdict), append(f.reasons, record.MeshTLS.Reasons)
		}
	}}
}
