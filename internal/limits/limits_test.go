package limits

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"testing/fstest"
)

func TestLimits(t *testing.T) {
	const mi = 1 << 20
	for _, c := range []struct {
		name       string
		group      int64
		interfaces int
		want       Limits
	}{
		{"none", 0, 2, Limits{Ring: 4 * mi, Connections: 42598, Pending: 16 * mi, Conclusions: 4 * mi, Reorder: 4 * mi, Recent: 2 * mi, Heap: 96 * mi}},
		{"the chart's default", 128 * mi, 2, Limits{Group: 128 * mi, Ring: 4 * mi, Connections: 42598, Pending: 16 * mi, Conclusions: 4 * mi, Reorder: 4 * mi, Recent: 2 * mi, Heap: 96 * mi}},
		{"three interfaces", 128 * mi, 3, Limits{Group: 128 * mi, Ring: 2752512, Connections: 42598, Pending: 16 * mi, Conclusions: 4 * mi, Reorder: 4 * mi, Recent: 2 * mi, Heap: 96 * mi}},
		{"the least that the webhook accepts", 48 * mi, 2, Limits{Group: 48 * mi, Ring: 1536 << 10, Connections: 3686, Pending: 6 * mi, Conclusions: 1536 << 10, Reorder: 1536 << 10, Recent: 768 << 10, Heap: 36 * mi}},
		{"much less", 8 * mi, 2, Limits{Group: 8 * mi, Ring: 512 << 10, Connections: 1024, Pending: mi, Conclusions: 256 << 10, Reorder: 256 << 10, Recent: 128 << 10, Heap: 6 * mi}},
		{"much more", 4096 * mi, 1, Limits{Group: 4096 * mi, Ring: 16 * mi, Connections: 1 << 18, Pending: 64 * mi, Conclusions: 16 * mi, Reorder: 8 * mi, Recent: 4 * mi, Heap: 3072 * mi}},
	} {
		c.want.Growth = 50
		if got := For(c.group, c.interfaces); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// TestLimitsFit: the sum of all limits is at most the memory limit, for every memory limit of at
// least 48 MiB.
func TestLimitsFit(t *testing.T) {
	for group := int64(48 << 20); group < 8<<30; group += 5 << 20 {
		for interfaces := 1; interfaces <= 8; interfaces++ {
			l := For(group, interfaces)
			heap := int64(l.Connections)*connectionBytes + int64(l.Pending+l.Conclusions+l.Reorder+l.Recent) + fixedBytes
			if rings := int64(l.Ring * interfaces); rings > group/8 || heap > l.Heap*2/3+1<<20 || l.Heap+rings > group*15/16 {
				t.Fatalf("%d bytes, %d interfaces: %+v takes %d of the heap, %d for rings", group, interfaces, l, heap, rings)
			}
		}
	}
}

// TestReserveEvidence: the packets for evidence use a sixty-fourth of the memory, within bounds. The table is smaller, so that the sum stays the
// same.
func TestReserveEvidence(t *testing.T) {
	const mi = 1 << 20
	for _, c := range []struct{ group, evidence int64 }{{0, 2 * mi}, {128 * mi, 2 * mi}, {8 * mi, 256 << 10}, {4096 * mi, 4 * mi}} {
		before := For(c.group, 2)
		l := before
		l.ReserveEvidence()
		if before.Evidence != 0 || l.Evidence != int(c.evidence) {
			t.Errorf("%d: %d bytes, want %d", c.group, l.Evidence, c.evidence)
		}
		if less := (before.Connections - l.Connections) * connectionBytes; less < l.Evidence*2-connectionBytes && l.Connections > leastConnections || l.Connections < leastConnections {
			t.Errorf("%d: %d connections, and %d before", c.group, l.Connections, before.Connections)
		}
	}
}

func TestMemoryLimit(t *testing.T) {
	const (
		v2     = "30 23 0:26 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate\n"
		memory = "sys/fs/cgroup/memory/"
	)
	v1At := func(group string) string {
		return "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n35 31 0:32 " + group + " /sys/fs/cgroup/memory rw,relatime shared:5 - cgroup cgroup rw,memory\n"
	}
	for _, c := range []struct {
		name           string
		mounts, groups string
		files          map[string]string
		want           int64
	}{
		{"no control groups", "22 1 8:1 / / rw - ext4 /dev/vda rw\n", "", nil, 0},
		{"version 2, a namespace of its own", v2, "0::/\n", map[string]string{"sys/fs/cgroup/memory.max": "134217728\n", "sys/fs/cgroup/memory.high": "max\n"}, 128 << 20},
		{"version 2, throttled before the limit", v2, "0::/\n", map[string]string{"sys/fs/cgroup/memory.max": "134217728\n", "sys/fs/cgroup/memory.high": "121634816\n"}, 116 << 20},
		{"version 2, the pod's limit is smaller", v2, "0::/pod/tap\n", map[string]string{
			"sys/fs/cgroup/pod/tap/memory.max": "max\n", "sys/fs/cgroup/pod/memory.max": "67108864\n", "sys/fs/cgroup/memory.max": "134217728\n"}, 64 << 20},
		{"version 2, the host's namespace, bound", "30 23 0:26 /kubepods/pod1/tap /sys/fs/cgroup ro - cgroup2 cgroup rw\n", "0::/kubepods/pod1/tap\n",
			map[string]string{"sys/fs/cgroup/memory.max": "134217728\n"}, 128 << 20},
		{"version 2, outside of the namespace", v2, "0::/../other\n", map[string]string{"sys/fs/cgroup/memory.max": "134217728\n"}, 128 << 20},
		{"version 2, no limit", v2, "0::/\n", map[string]string{"sys/fs/cgroup/memory.max": "max\n"}, 0},
		{"version 2, the root", v2, "0::/\n", nil, 0},
		{"version 1, docker", v1At("/docker/1"), "9:cpu:/\n8:memory:/docker/1\n", map[string]string{memory + "memory.limit_in_bytes": "134217728\n"}, 128 << 20},
		{"version 1, the pod's limit is not mounted", v1At("/kubepods/pod1/tap"), "8:memory:/kubepods/pod1/tap\n", map[string]string{
			memory + "memory.limit_in_bytes": "134217728\n", memory + "memory.stat": "cache 0\nhierarchical_memory_limit 67108864\nrss 1\n"}, 64 << 20},
		{"version 1, below the mount", v1At("/"), "8:cpu,memory:/a/b\n", map[string]string{
			memory + "a/b/memory.limit_in_bytes": "9223372036854771712\n", memory + "a/memory.limit_in_bytes": "134217728\n"}, 128 << 20},
		{"version 1, no limit", v1At("/"), "8:memory:/\n", map[string]string{memory + "memory.limit_in_bytes": "9223372036854771712\n"}, 0},
		{"hybrid", v1At("/") + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n", "8:memory:/a\n0::/a\n",
			map[string]string{memory + "a/memory.limit_in_bytes": "134217728\n"}, 128 << 20},
		{"nonsense", "x - y\n - cgroup2\n" + v2, "0\n:::\n0::\n", map[string]string{"sys/fs/cgroup/memory.max": "-5\n"}, 0},
	} {
		root := fstest.MapFS{"proc/self/mountinfo": {Data: []byte(c.mounts)}, "proc/self/cgroup": {Data: []byte(c.groups)}}
		for name, value := range c.files {
			root[name] = &fstest.MapFile{Data: []byte(value)}
		}
		if got := ControlGroup(root); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// TestRings: the rings of an interface have the allowed size together, and each has at least two whole blocks.
func TestRings(t *testing.T) {
	for _, ring := range []int{leastRing, 1 << 20, 4 << 20, mostRing} {
		tcp, other := (&Limits{Ring: ring}).Rings()
		if tcp+other != ring || tcp < other || tcp%ringStep != 0 || other%ringStep != 0 || other < 2*ringStep {
			t.Errorf("of %d bytes: %d and %d", ring, tcp, other)
		}
	}
}

// TestNoBallast: if the operator sets a limit, the limit does not change and there is no ballast.
func TestNoBallast(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Setenv("GOMEMLIMIT", "64MiB")
	t.Setenv("GOGC", "100")
	l := For(0, 2)
	l.Apply()
	if got := debug.SetMemoryLimit(-1); got != before || Ballast() != 0 {
		t.Errorf("the heap's limit is %d bytes with %d of ballast, want %d and none", got, Ballast(), before)
	}
}

// TestBallast: the ballast raises the heap size at which a collection starts, and is not resident. The test runs in a new
// process, because its heap is as small as the tap's heap at the start.
func TestBallast(t *testing.T) {
	const child = "TAP_TEST_BALLAST"
	if os.Getenv(child) == "" {
		c := exec.Command(os.Args[0], "-test.run=^TestBallast$")
		c.Env = append(os.Environ(), child+"=1", "GOGC=", "GOMEMLIMIT=")
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	before, ok := residentMemory()
	l := For(0, 2)
	l.Apply()
	after, _ := residentMemory()
	if ok && after > before+ballastBytes/2 {
		t.Errorf("%d bytes are resident, %d before", after, before)
	}
	runtime.GC()
	goal := []metrics.Sample{{Name: "/gc/heap/goal:bytes"}}
	if metrics.Read(goal); goal[0].Value.Uint64() < ballastBytes/2*3 {
		t.Errorf("a collection starts at %d bytes", goal[0].Value.Uint64())
	}
	if got := debug.SetMemoryLimit(-1); got != l.Heap+ballastBytes {
		t.Errorf("the heap's limit is %d bytes, want %d besides the ballast", got, l.Heap)
	}
}

// residentMemory returns the resident memory of this process in bytes, from proc_pid_statm(5). It returns false if there is no such file.
func residentMemory() (bytes int, ok bool) {
	text, err := os.ReadFile("/proc/self/statm")
	var size, pages int
	if err == nil {
		_, err = fmt.Sscan(string(text), &size, &pages)
	}
	return pages * os.Getpagesize(), err == nil
}
