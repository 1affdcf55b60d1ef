package limits

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/fstest"
)

func TestLeft(t *testing.T) {
	const (
		mi     = 1 << 20
		v2     = "30 23 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate\n"
		v1     = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:5 - cgroup cgroup rw,memory\n"
		hybrid = v1 + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
		root2  = "sys/fs/cgroup/"
		root1  = "sys/fs/cgroup/memory/"
		most   = math.MaxInt64
	)
	bytes := func(n int) string { return fmt.Sprint(n*mi, "\n") }
	for name, c := range map[string]struct {
		mounts, groups string
		files          map[string]string
		left           int64
		known          bool
	}{
		"nothing can be read": {"", "", nil, most, false},
		"version 2, a limit": {v2, "0::/\n", map[string]string{
			root2 + "memory.max": bytes(128), root2 + "memory.current": bytes(100), root2 + "memory.stat": "anon 5\ninactive_file 10485760\nactive_file 7\n"}, 38 * mi, true},
		"version 2, throttled before the limit": {v2, "0::/\n", map[string]string{root2 + "memory.max": bytes(128), root2 + "memory.high": bytes(110), root2 + "memory.current": bytes(100)}, 10 * mi, true},
		"version 2, more in use than allowed":   {v2, "0::/\n", map[string]string{root2 + "memory.max": bytes(128), root2 + "memory.current": bytes(130)}, 0, true},
		"version 2, the pod's limit": {v2, "0::/pod/tap\n", map[string]string{
			root2 + "pod/tap/memory.max": "max\n", root2 + "pod/tap/memory.current": bytes(1), root2 + "pod/memory.max": bytes(64), root2 + "pod/memory.current": bytes(50),
			root2 + "memory.max": bytes(4096), root2 + "memory.current": bytes(4000)}, 14 * mi, true},
		"version 2, a namespace of its own":  {v2, "0::/\n", map[string]string{root2 + "cgroup.controllers": "cpu memory\n", root2 + "memory.max": "max\n", root2 + "memory.current": bytes(1)}, most, false},
		"version 2, no limit up to the root": {v2, "0::/a\n", map[string]string{root2 + "a/memory.max": "max\n", root2 + "a/memory.current": bytes(1), root2 + "cgroup.controllers": "cpu memory\n"}, most, true},
		"version 2, the usage is unreadable": {v2, "0::/\n", map[string]string{root2 + "memory.max": bytes(128)}, most, false},
		"version 1, a limit": {v1, "8:memory:/a\n", map[string]string{
			root1 + "a/memory.limit_in_bytes": bytes(128), root1 + "a/memory.usage_in_bytes": bytes(100), root1 + "a/memory.stat": fmt.Sprintf("inactive_file 1\nhierarchical_memory_limit %d\ntotal_inactive_file %d\n", 128*mi, 30*mi)}, 58 * mi, true},
		"version 1, a lower limit is hidden": {v1, "8:memory:/\n", map[string]string{
			root1 + "memory.limit_in_bytes": bytes(512), root1 + "memory.usage_in_bytes": bytes(1), root1 + "memory.stat": fmt.Sprintf("hierarchical_memory_limit %d\n", 128*mi)}, 511 * mi, false},
		"version 1, no limit": {v1, "8:memory:/\n", map[string]string{
			root1 + "memory.limit_in_bytes": "9223372036854771712\n", root1 + "memory.usage_in_bytes": bytes(1), root1 + "memory.stat": "hierarchical_memory_limit 9223372036854771712\n"}, most, true},
		"hybrid, memory is in version 1": {hybrid, "8:memory:/\n0::/\n", map[string]string{"sys/fs/cgroup/unified/cgroup.controllers": "hugetlb\n"}, most, false},
	} {
		root := fstest.MapFS{"proc/self/mountinfo": {Data: []byte(c.mounts)}, "proc/self/cgroup": {Data: []byte(c.groups)}}
		for name, value := range c.files {
			root[name] = &fstest.MapFile{Data: []byte(value)}
		}
		if left, known := Left(root); left != c.left || known != c.known {
			t.Errorf("%s: %d, %v; want %d, %v", name, left, known, c.left, c.known)
		}
	}
}

// TestLeftOfRealGroup: a process in a control group with a limit of 256 MiB finds somewhat less.
func TestLeftOfRealGroup(t *testing.T) {
	const child = "TAP_TEST_LEFT"
	if os.Getenv(child) != "" {
		left, known := Left(os.DirFS("/"))
		fmt.Println("left", left>>20, known)
		os.Exit(0)
	}
	dir, limit := "", ""
	for base, name := range map[string]string{"/sys/fs/cgroup/memory": "memory.limit_in_bytes", "/sys/fs/cgroup": "memory.max"} {
		made := filepath.Join(base, fmt.Sprintf("tap-left-%d", os.Getpid()))
		if os.Mkdir(made, 0o755) != nil { //nolint:gosec // as the kernel's own
			continue
		}
		defer os.Remove(made)
		if _, err := os.Stat(filepath.Join(made, name)); err == nil {
			dir, limit = made, name
		}
	}
	if dir == "" {
		t.Skip("no control group for memory can be made here")
	}
	if err := os.WriteFile(filepath.Join(dir, limit), []byte("268435456"), 0); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", `echo $$ >"$0"/cgroup.procs && exec "$1" -test.run='^TestLeftOfRealGroup$'`, dir, os.Args[0])
	cmd.Env = append(os.Environ(), child+"=1")
	out, err := cmd.CombinedOutput()
	left, known := 0, false
	if _, e := fmt.Sscanf(string(out), "left %d %t", &left, &known); err != nil || e != nil || !known || left < 200 || left > 256 {
		t.Errorf("%v: %s", err, out)
	}
}
