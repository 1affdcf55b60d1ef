package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSample: README.md shows the report of demo/sample.pcap, without two sections.
func TestSample(t *testing.T) {
	root := filepath.Join("..", "..")
	var out, stderr strings.Builder
	if status, err := read(t.Context(), []string{filepath.Join(root, "demo", "sample.pcap")}, streams{out: &out, err: &stderr}); status != exitFine || err != nil {
		t.Fatalf("status %d, %v, %s", status, err, &stderr)
	}
	var shown []string
	for section := range strings.SplitSeq(out.String(), "\n\n") {
		if !strings.HasPrefix(section, "Within the pod\n") && !strings.HasPrefix(section, "Why: within the pod\n") {
			shown = append(shown, section)
		}
	}
	want := "```\n" + strings.TrimSuffix(strings.Join(shown, "\n\n"), "\n") + "\n```\n"
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), want) {
		t.Errorf("README.md does not have this block:\n%s", want)
	}
}
