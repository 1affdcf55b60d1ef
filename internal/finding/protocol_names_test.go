package finding_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/finding"
)

// TestProtocolNames: sentences have the usual spelling of each protocol that schema/README.md lists, never the value of
// network.protocol. rsync is spelled so.
func TestProtocolNames(t *testing.T) {
	b, err := os.ReadFile("../../schema/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(b), "\n## Protocols\n")
	section, _, _ = strings.Cut(section, "\nPlaintext that no name fits")
	listed := regexp.MustCompile("`([a-z0-9_]+)`").FindAllStringSubmatch(section, -1)
	if len(listed) < 80 {
		t.Fatalf("only %d protocols found", len(listed))
	}
	for _, m := range listed {
		id := m[1]
		if strings.Contains(id, ".") || id == "network" || id == "upgraded_from" {
			continue
		}
		name := finding.ProtocolName(id)
		if folded := strings.ToLower(strings.NewReplacer(" ", "", "/", "").Replace(name)); name == strings.ToLower(name) && id != "rsync" || folded[:2] != id[:2] && id != "sieve" {
			t.Errorf("%s is written %q", id, name)
		}
	}
}
