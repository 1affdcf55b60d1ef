package confine

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Tshark returns what tshark prints of a capture file. It fails the test if tshark complains.
func Tshark(tb testing.TB, file string, args ...string) string {
	tb.Helper()
	cmd := exec.Command("tshark", append([]string{"-r", file}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+tb.TempDir())
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	text := strings.ReplaceAll(complaints.String(), "Running as user \"root\" and group \"root\". This could be dangerous.\n", "")
	if err != nil || text != "" {
		tb.Fatalf("tshark %q: %v: %s", args, err, text)
	}
	return string(out)
}
