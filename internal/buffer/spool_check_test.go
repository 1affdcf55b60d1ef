package buffer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheckSpool: the check creates no folder, and says that a missing one is missing and a locked one is in use.
func TestCheckSpool(t *testing.T) {
	free, used := t.TempDir(), t.TempDir()
	lock, err := lockDir(used)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(t.TempDir(), "a", "b")

	for _, c := range []struct{ dir, remark, problem string }{
		{free, "", ""},
		{used, ", in use by a tap", ""},
		{missing, ", which does not exist yet: a tap creates it", ""},
		{file, "", "mkdir " + file + ": not a directory: see TAP_SPOOL_DIR"},
		{filepath.Join(file, "b"), "", "not a directory: see TAP_SPOOL_DIR"},
	} {
		remark, err := CheckSpool(c.dir, "TAP_SPOOL_DIR")
		if remark != c.remark || (err != nil) != (c.problem != "") || err != nil && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%s: %q, %v", c.dir, remark, err)
		}
	}
	if above, _ := os.ReadDir(filepath.Dir(filepath.Dir(missing))); len(above) != 0 {
		t.Errorf("left: %v", above)
	}
}
