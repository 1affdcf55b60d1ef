package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
)

// recordIDs reads a capture from standard input and returns its records by event.id.
func recordIDs(t *testing.T, file []byte, chunks bool) map[string]string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	var in io.Reader = bytes.NewReader(file)
	if chunks {
		in = iotest.OneByteReader(in)
	}
	if status := command(t.Context(), []string{"read", "--output=json", "--emit=findings,posture,flows", "-"}, nil, streams{in, &stdout, &stderr}); status != exitFine {
		t.Fatalf("status %d: %s", status, &stderr)
	}
	out := map[string]string{}
	for line := range bytes.Lines(stdout.Bytes()) {
		schematest.Lines(t, []string{string(line)})
		var x struct{ Event struct{ ID string } }
		if err := json.Unmarshal(line, &x); err != nil {
			t.Fatal(err)
		}
		if out[x.Event.ID] != "" {
			t.Errorf("event.id %s twice", x.Event.ID)
		}
		out[x.Event.ID] = string(line)
	}
	return out
}

// etherCapture returns frames as a pcap file.
func etherCapture(t *testing.T, frames []capturetest.Frame) []byte {
	t.Helper()
	var b bytes.Buffer
	w := pcapgo.NewWriterNanos(&b)
	err := w.WriteFileHeader(262144, layers.LinkTypeEthernet)
	for _, f := range frames {
		err = errors.Join(err, w.WritePacket(gopacket.CaptureInfo{Timestamp: f.Time, CaptureLength: len(f.Data), Length: len(f.Data)}, f.Data))
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestCaptureIdentity: two captures of one edge in the same window share no event.id, and neither do the captures of
// both ends of a connection. A replay gives the same bytes, even if the packets arrive in other portions.
func TestCaptureIdentity(t *testing.T) {
	talk, err := capturetest.HTTPTalk()
	if err != nil {
		t.Fatal(err)
	}
	capture := func(second int, delay time.Duration) []byte {
		frames := talk.Packets(capturetest.Options{
			Client: netip.MustParseAddrPort("10.1.0.7:40000"), Server: netip.MustParseAddrPort("10.1.0.20:8080"),
			Start: captureStart.Add(time.Duration(second) * time.Second).Add(delay),
		})
		return etherCapture(t, frames)
	}
	first := recordIDs(t, capture(0, 0), false)
	if len(first) < 3 {
		t.Fatalf("%d records", len(first))
	}
	for id, line := range recordIDs(t, capture(0, 0), true) {
		if first[id] != line {
			t.Errorf("in other portions:\n%snot\n%s", line, first[id])
		}
	}
	for name, other := range map[string][]byte{"a minute later": capture(60, 0), "the other end": capture(0, 40*time.Microsecond)} {
		for id, line := range recordIDs(t, other, false) {
			if first[id] != "" {
				t.Errorf("%s: event.id %s again: %s", name, id, line)
			}
		}
	}
}
