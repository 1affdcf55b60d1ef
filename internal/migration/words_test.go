package migration

import (
	"os"
	"strings"
	"testing"
)

// TestReasonsListed: the documentation lists each reason, in the same words.
func TestReasonsListed(t *testing.T) {
	text, err := os.ReadFile("../../schema/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for code, words := range Reasons {
		if !strings.Contains(string(text), "| `"+code+"` | "+words+" |") {
			t.Errorf("schema/README.md lacks %s: %s", code, words)
		}
	}
}
