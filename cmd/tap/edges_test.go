package main

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/capturetest"
)

// TestManyEdges: tap read reports each edge of a capture with more edges than a sidecar keeps apart.
func TestManyEdges(t *testing.T) {
	const edges = 1100
	talk, err := capturetest.HTTPTalk()
	if err != nil {
		t.Fatal(err)
	}
	var frames []capturetest.Frame
	for n := range edges {
		frames = append(frames, talk.Packets(capturetest.Options{
			Client: netip.MustParseAddrPort("10.1.0.7:40000"), Server: netip.AddrPortFrom(netip.MustParseAddr("10.1.0.20"), uint16(1000+n)),
			Start: captureStart.Add(time.Duration(n) * time.Second),
		})...)
	}
	var b bytes.Buffer
	if err := capturetest.WritePcap(&b, frames); err != nil {
		t.Fatal(err)
	}
	got := readAll(t, writeTemp(t, "many.pcap", b.Bytes()))
	if !strings.HasPrefix(got, "1100 edges: 1100 plaintext\n") {
		t.Error(strings.SplitN(got, "\n", 2)[0])
	}
	if n := strings.Count(got, " plaintext-edge "); n != edges {
		t.Errorf("%d findings", n)
	}
}
