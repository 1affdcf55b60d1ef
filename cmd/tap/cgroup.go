package main

import (
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
)

// memoryLimit returns the least limit on memory that the process's control group and
// those above it have, as far as they can be seen from here, in bytes; 0 if there is none.
// root is the root of the file system. See cgroups(7), and in the kernel's documentation
// admin-guide/cgroup-v2 and cgroup-v1/memory.
func memoryLimit(root fs.FS) int64 {
	least := int64(math.MaxInt64)
	mounts, groups := text(root, "proc/self/mountinfo"), text(root, "proc/self/cgroup")
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

// unlimited is more than any limit that means something: version 1 writes one that is
// close to 2^63 where there is none.
const unlimited = 1 << 50

// mount is where a hierarchy of control groups that may limit memory is mounted.
type mount struct {
	group string // what of the hierarchy is mounted there
	dir   string // where, without the slash in front
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

// groupIn returns the process's own group in a hierarchy, of proc_pid_cgroup(5).
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
	if !inside || strings.Contains(below, "..") { // the process is elsewhere, or cannot be told where
		below = "/"
	}
	least := int64(math.MaxInt64)
	for below = path.Clean("/" + below); ; below = path.Dir(below) {
		dir := path.Join(m.dir, below)
		if m.v2 {
			least = min(least, number64(text(root, path.Join(dir, "memory.max"))), number64(text(root, path.Join(dir, "memory.high"))))
		} else {
			least = min(least, number64(text(root, path.Join(dir, "memory.limit_in_bytes"))), hierarchical(text(root, path.Join(dir, "memory.stat"))))
		}
		if below == "/" {
			return least
		}
	}
}

// hierarchical returns what version 1 knows of the groups above, those that are not
// mounted too.
func hierarchical(stat string) int64 {
	for line := range strings.Lines(stat) {
		if v, ok := strings.CutPrefix(line, "hierarchical_memory_limit "); ok {
			return number64(v)
		}
	}
	return math.MaxInt64
}

// number64 reads a limit; what is none ("max", no such file) is the largest number.
func number64(s string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil || n <= 0 {
		return math.MaxInt64
	}
	return n
}

// text returns a file's content, empty if there is none.
func text(root fs.FS, name string) string {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return ""
	}
	return string(b)
}
