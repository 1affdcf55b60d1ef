package report_test

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/migration"
	"github.com/meshtls-tap/meshtls-tap/internal/report"
)

// TestMigrationHostile: names in a comparison come from the wire, and cannot control the terminal.
func TestMigrationHostile(t *testing.T) {
	r := migration.Result{Edges: []migration.Edge{
		{
			From: migration.Party{Name: "web\x1b[2J.shop"}, To: migration.Party{Name: "cart\n\u202e.shop"}, Port: 80, Change: migration.Lost, Basis: migration.ByName,
			Before: migration.Observation{State: migration.MTLS, Counts: migration.Counts{MTLS: 3}}, After: migration.Observation{State: migration.Plaintext, Counts: migration.Counts{Plaintext: 1}},
		},
		{
			From: migration.Party{Addr: netip.MustParseAddr("fd00::1")}, To: migration.Party{Addr: netip.MustParseAddr("fd00::2")}, Port: 443, Change: migration.NotEnough,
			Before: migration.Observation{State: migration.NotSeen}, After: migration.Observation{State: migration.TLSUnclear, Counts: migration.Counts{Unclear: 1}}, Reasons: []string{"source_not_watched"},
		},
	}}
	for _, width := range []int{0, 60} {
		var b bytes.Buffer
		if err := report.Migration(&b, &r, report.Options{Width: width}); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(b.String(), "\x1b\u202e") {
			t.Errorf("a control character is printed: %q", &b)
		}
		for _, want := range []string{"1 lost mutual TLS", "[fd00::2]:443"} {
			if !strings.Contains(b.String(), want) {
				t.Errorf("width %d: %q is missing in\n%s", width, want, &b)
			}
		}
	}
}

func TestMigrationEmpty(t *testing.T) {
	var text, doc bytes.Buffer
	if err := report.Migration(&text, &migration.Result{}, report.Options{}); err != nil || !strings.HasPrefix(text.String(), "No edges") {
		t.Errorf("%v: %s", err, &text)
	}
	if err := report.MigrationJSON(&doc, &migration.Result{}); err != nil || !strings.Contains(doc.String(), `"edges": []`) {
		t.Errorf("%v: %s", err, &doc)
	}
}
