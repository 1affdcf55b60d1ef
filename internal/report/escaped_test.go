package report

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/migration"
)

// TestMigrationJSONHidesNothing: characters that a terminal does not show are escaped, and decode to the
// original names.
func TestMigrationJSONHidesNothing(t *testing.T) {
	const name = "\u202ea\u2066\u200b\x7f\u00e9\U000e0001\\ \"b\"\n"
	var b bytes.Buffer
	if err := MigrationJSON(&b, &migration.Result{Edges: []migration.Edge{{From: migration.Party{Name: name}, Change: migration.New}}}); err != nil {
		t.Fatal(err)
	}
	for _, r := range "\u202e\u2066\u200b\x7f\U000e0001" {
		if bytes.ContainsRune(b.Bytes(), r) {
			t.Errorf("%U is not escaped", r)
		}
	}
	var doc migrationDoc
	if err := json.Unmarshal(b.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if got := doc.Edges[0].From.Name; got != name {
		t.Errorf("got %q, want %q", got, name)
	}
}
