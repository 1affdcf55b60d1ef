package finding

import (
	"fmt"
	"slices"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/verdict"
)

// TestFrequent: the most frequent values come first. With many rare ones, each value with more than one eighth of all additions
// remains, and memory is bounded.
func TestFrequent(t *testing.T) {
	var f frequent[string]
	if f.add(""); f.top() != nil {
		t.Errorf("an unknown value counts: %v", f.top())
	}
	for i := range 1000 {
		f.add(fmt.Sprint("rare", i))
		f.add("first")
		if i%2 == 0 {
			f.add("second")
		}
	}
	if got := f.top(); len(got) != profileNames || !slices.Equal(got[:2], []string{"first", "second"}) {
		t.Errorf("got %v", got)
	}
	if len(f.counts) != profileCounts {
		t.Errorf("%d values in memory", len(f.counts))
	}

	var o frequent[string]
	o.addN("second", 5000)
	o.merge(&f)
	if got := o.top(); got[0] != "second" || got[1] != "first" || len(o.counts) != profileCounts {
		t.Errorf("merged: %v", got)
	}
}

// TestVersionName: versions of TLS have no prefix. Those of its predecessor and of DTLS have one.
func TestVersionName(t *testing.T) {
	for want, info := range map[string]verdict.TLSInfo{
		"": {}, "1.3": {Version: "1.3", VersionProtocol: "tls"}, "ssl 3.0": {Version: "3.0", VersionProtocol: "ssl"}, "dtls 1.2": {Version: "1.2", VersionProtocol: "dtls"},
	} {
		if got := versionName(&info); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
