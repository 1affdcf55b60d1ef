package finding_test

import (
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

// FuzzParseMutes: the text may be that of a tenant. Whatever it is, the valid mutes are few, and are read again as they were; an error is
// one line.
func FuzzParseMutes(f *testing.F) {
	for _, seed := range []string{
		"plaintext-edge, tap-blind;cipher-weak", "rule=plaintext-edge,peer=10.0.0.0/8,peer=a.b.,port=80,class=metrics,until=2026-12-31,reason=a, b\nrule=x",
		"rule=tls-not-mutual,peer=spiffe://a/B,until=2026-02-29,reason=x;until=2026-01-01,rule=mtls-downgrade,reason==;=", "reason=,rule=", "peer=fe80::1%eth0,rule=",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list, err := finding.ParseMutes(text)
		if len(list) > 100 || err != nil && strings.ContainsAny(err.Error(), "\n\r") {
			t.Fatalf("%d mutes, error %q", len(list), err)
		}
		for i := range list {
			again, err := finding.ParseMutes(list[i].String())
			if err != nil || len(again) != 1 || again[0].String() != list[i].String() {
				t.Errorf("%q is read again as %v (%v)", list[i].String(), again, err)
			}
		}
	})
}
