package main

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/schematest"
)

// TestAttachedMemory: an attached tap needs 64 MiB, or four thirds of TAP_MEMORY. If nothing can be seen, it warns. A sidecar checks nothing.
func TestAttachedMemory(t *testing.T) {
	const mi = 1 << 20
	root := func(limit, used string) fstest.MapFS {
		return fstest.MapFS{
			"proc/self/mountinfo":          {Data: []byte("30 23 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n")},
			"proc/self/cgroup":             {Data: []byte("0::/\n")},
			"sys/fs/cgroup/memory.max":     {Data: []byte(limit)},
			"sys/fs/cgroup/memory.current": {Data: []byte(used)},
		}
	}
	used := func(n int) string { return fmt.Sprint(n * mi) }
	for name, c := range map[string]struct {
		lasts  time.Duration
		memory byteSize
		root   fstest.MapFS
		want   string // in the error
		warns  bool
	}{
		"enough":               {time.Minute, 0, root(used(512), used(400)), "", false},
		"too little":           {time.Minute, 0, root(used(512), used(449)), "63 MiB are left under the memory limit of the pod, and an attached tap needs 64 MiB", false},
		"TAP_MEMORY":           {time.Minute, 24 * mi, root(used(512), used(449)), "", false},
		"TAP_MEMORY, too much": {time.Minute, 96 * mi, root(used(512), used(400)), "112 MiB are left under the memory limit of the pod, and an attached tap needs 128 MiB", false},
		"nothing to be seen":   {time.Minute, 0, root("max", used(1)), "", true},
		"a sidecar":            {0, 0, root(used(512), used(511)), "", false},
	} {
		var log bytes.Buffer
		x := &tap{log: slog.New(slog.NewTextHandler(&log, nil))}
		x.For, x.Memory = c.lasts, c.memory
		err := x.checkMemory(c.root)
		if (err == nil) != (c.want == "") || err != nil && (!errors.Is(err, errMemory) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if warns := strings.Contains(log.String(), "was not checked"); warns != c.warns {
			t.Errorf("%s: %s", name, &log)
		}
	}
}

// TestAttachedWithoutMemory: in a control group with a limit of 60 MiB the tap ends at once, with status 1 and a record.
func TestAttachedWithoutMemory(t *testing.T) {
	dir, limit := "", ""
	for base, name := range map[string]string{"/sys/fs/cgroup/memory": "memory.limit_in_bytes", "/sys/fs/cgroup": "memory.max"} {
		made := filepath.Join(base, fmt.Sprintf("tap-attached-%d", os.Getpid()))
		if os.Mkdir(made, 0o755) != nil {
			continue
		}
		defer os.Remove(made)
		if _, err := os.Stat(filepath.Join(made, name)); err == nil {
			dir, limit = made, name
		}
	}
	if dir == "" {
		absent(t, "no control group for memory can be made here")
	}
	if err := os.WriteFile(filepath.Join(dir, limit), []byte("62914560"), 0); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `echo $$ >"$0"/cgroup.procs && exec "$1" run --for=10m`, dir, buildTap(t))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if cmd.ProcessState.ExitCode() != exitError || !strings.Contains(errs.String(), "MiB are left under the memory limit of the pod") {
		t.Errorf("%v: %s", err, &errs)
	}
	lines := strings.SplitAfter(out.String(), "\n")
	if n := schematest.Lines(t, lines); n != 1 || !strings.Contains(lines[0], `"action":"stopped"`) || !strings.Contains(lines[0], `"reason":"memory"`) {
		t.Errorf("%d records: %s", n, &out)
	}
}
