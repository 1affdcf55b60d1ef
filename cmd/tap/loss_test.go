package main

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/tapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// TestLostPacketFailsNothing removes each packet in turn from captures of the lab, which the default filter has truncated. A
// missing packet must not change the verdict of a connection to failed.
func TestLostPacketFailsNothing(t *testing.T) {
	norace(t)
	files, err := filepath.Glob("../../test/tlslab/testdata/*/*.pcap.gz")
	if err != nil || len(files) == 0 {
		t.Fatalf("no captures of the lab: %v", err)
	}
	program := tapfilter.Default(pcapfilter.Config{Link: wire.LinkEthernet, Live: true})
	failed := func(record string) bool { return claimOf(t, record).Verdict == "failed" }
	parts := 0
	for i := 0; i < len(files); i += 2 {
		packets := ethernetPackets(t, files[i])
		whole, _ := records(t, packets, program, true)
		if slices.ContainsFunc(whole, failed) {
			continue
		}
		for k := range packets {
			parts++
			got, _ := records(t, slices.Delete(slices.Clone(packets), k, k+1), program, true)
			if at := slices.IndexFunc(got, failed); at >= 0 {
				t.Errorf("%s without packet %d: %s", files[i], k+1, got[at])
			}
		}
	}
	t.Logf("%d captures without a packet", parts)
}
