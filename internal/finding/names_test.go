package finding_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

// TestNamesOfAnInterval: a snapshot names the cipher suites and addresses of the connections that were open in its posture interval:
// one that began before and is still open too, and none that ended before.
func TestNamesOfAnInterval(t *testing.T) {
	r := newRig(t, finding.Config{Tap: pod.UID, Identity: pod, Interval: time.Hour})
	r.e.Tick(noon)
	long := mutual(1, noon+minute)
	r.e.Add(living(long))
	for i := range uint64(3) {
		short := mutual(2+i, noon+2*minute)
		short.TLS.Cipher, short.Destination.Addr = "TLS_CHACHA20_POLY1305_SHA256", netip.MustParseAddr("10.2.2.3")
		r.e.Add(short)
	}
	r.e.Tick(noon + 60*minute)
	r.e.Tick(noon + 120*minute)
	long.Last = noon + 130*minute
	r.e.Add(long)
	r.e.Tick(noon + 180*minute)
	r.e.Tick(noon + 240*minute)

	var ciphers, addresses [][]any
	for _, d := range r.of(finding.DatasetPosture) {
		if d.text("event.action") == "snapshot" {
			ciphers = append(ciphers, d.at("meshtls.edge.ciphers").([]any))
			addresses = append(addresses, d.at("related.ip").([]any))
		}
	}
	aes, chacha := "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"
	wantCiphers, wantAddresses := [][]any{{chacha, aes}, {aes}, {aes}}, [][]any{{"10.2.2.3", "10.2.2.2"}, {"10.2.2.2"}, {"10.2.2.2"}}
	if !slices.EqualFunc(ciphers, wantCiphers, slices.Equal[[]any]) || !slices.EqualFunc(addresses, wantAddresses, slices.Equal[[]any]) {
		t.Errorf("got %v and %v, want %v and %v", ciphers, addresses, wantCiphers, wantAddresses)
	}
}
