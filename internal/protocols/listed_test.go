package protocols

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestProtocolsAreListed checks that schema/README.md lists every protocol that a record can name.
func TestProtocolsAreListed(t *testing.T) {
	text, err := os.ReadFile("../../schema/README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "## Protocols")
	list, _, _ = strings.Cut(list, "\n## ")
	for _, r := range slices.Concat(TCP, UDP) {
		if name := r.Protocol; !strings.Contains(list, "`"+name+"`") {
			t.Errorf("schema/README.md does not list %s", name)
		}
	}
}
