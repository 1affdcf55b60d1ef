package limits

import (
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
)

// ControlGroup returns the smallest memory limit of the process's control group and those
// above it, as far as they are visible, in bytes; 0 if there is none. root is the root of the
// file system. See cgroups(7), and in the kernel's documentation admin-guide/cgroup-v2 and
// cgroup-v1/memory.
func ControlGroup(root fs.FS) int64 {
	least := int64(math.MaxInt64)
	mounts, groups := content(root, "proc/self/mountinfo"), content(root, "proc/self/cgroup")
	for line := range strings.Lines(mounts) {
		m, ok := parseMount(line)
		if !ok {
			continue
		}
		if group, ok := groupIn(groups, m.v2); ok {
			least = min(least, m.limit(root, group))
		}
	}
	if least >= unlimited {
		return 0
	}
	return least
}

// unlimited is more than any real limit: without a limit, version 1 has one close to 2^63.
const unlimited = 1 << 50

// mount is a mounted hierarchy of control groups that may limit memory.
type mount struct {
	group string // the group that is mounted
	dir   string // the mount point without its leading slash
	v2    bool
}

// parseMount reads a line of proc_pid_mountinfo(5).
func parseMount(line string) (m mount, ok bool) {
	front, back, _ := strings.Cut(line, " - ")
	f, kind := strings.Fields(front), strings.Fields(back)
	if len(f) < 6 || len(kind) < 3 {
		return m, false
	}
	m = mount{group: f[3], dir: strings.TrimPrefix(f[4], "/"), v2: kind[0] == "cgroup2"}
	return m, m.v2 || kind[0] == "cgroup" && strings.Contains(","+kind[2]+",", ",memory,")
}

// groupIn returns the process's own group in a hierarchy, from proc_pid_cgroup(5).
func groupIn(groups string, v2 bool) (group string, ok bool) {
	for line := range strings.Lines(groups) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) == 3 && (v2 && f[0] == "0" && f[1] == "" || !v2 && strings.Contains(","+f[1]+",", ",memory,")) {
			return f[2], true
		}
	}
	return "", false
}

// limit returns the least limit from a group up to where the hierarchy is mounted.
func (m mount) limit(root fs.FS, group string) int64 {
	below, inside := strings.CutPrefix(group, strings.TrimSuffix(m.group, "/"))
	if !inside || strings.Contains(below, "..") { // the process is elsewhere, or it is unknown where
		below = "/"
	}
	least := int64(math.MaxInt64)
	for below = path.Clean("/" + below); ; below = path.Dir(below) {
		dir := path.Join(m.dir, below)
		if m.v2 {
			least = min(least, parseLimit(content(root, path.Join(dir, "memory.max"))), parseLimit(content(root, path.Join(dir, "memory.high"))))
		} else {
			least = min(least, parseLimit(content(root, path.Join(dir, "memory.limit_in_bytes"))), hierarchical(content(root, path.Join(dir, "memory.stat"))))
		}
		if below == "/" {
			return least
		}
	}
}

// hierarchical returns the limit of version 1 that includes all groups above, also those that
// are not mounted.
func hierarchical(stat string) int64 {
	for line := range strings.Lines(stat) {
		if v, ok := strings.CutPrefix(line, "hierarchical_memory_limit "); ok {
			return parseLimit(v)
		}
	}
	return math.MaxInt64
}

// parseLimit reads a limit; without one ("max", no such file) it returns the largest number.
func parseLimit(s string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil || n <= 0 {
		return math.MaxInt64
	}
	return n
}

// content returns a file's content, empty if there is no such file.
func content(root fs.FS, name string) string {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return ""
	}
	return string(b)
}
