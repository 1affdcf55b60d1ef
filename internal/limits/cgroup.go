package limits

import (
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
)

// ControlGroup returns the lowest memory limit of the process's control group and of its visible
// ancestors, in bytes. It returns 0 if there is no limit. root is the root of the file system. The
// formats are in cgroups(7), and in admin-guide/cgroup-v2 and cgroup-v1/memory of the kernel's
// documentation.
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

// unlimited is higher than any real limit. For a control group without a limit, version 1 reports a
// limit close to 2^63.
const unlimited = 1 << 50

// mount is a mounted hierarchy of control groups that may limit memory.
type mount struct {
	group string // the control group at the mount point
	dir   string // the mount point without its leading slash
	v2    bool
}

// parseMount parses a line of proc_pid_mountinfo(5). ok is true if the line describes the mount of
// a hierarchy that may limit memory.
func parseMount(line string) (m mount, ok bool) {
	front, back, _ := strings.Cut(line, " - ")
	f, kind := strings.Fields(front), strings.Fields(back)
	if len(f) < 6 || len(kind) < 3 {
		return m, false
	}
	m = mount{group: f[3], dir: strings.TrimPrefix(f[4], "/"), v2: kind[0] == "cgroup2"}
	return m, m.v2 || kind[0] == "cgroup" && strings.Contains(","+kind[2]+",", ",memory,")
}

// groupIn returns the process's control group from the text of /proc/self/cgroup (proc_pid_cgroup(5)). If v2 is
// set, the group is in the hierarchy of version 2. Otherwise it is in version 1's hierarchy for memory.
func groupIn(groups string, v2 bool) (group string, ok bool) {
	for line := range strings.Lines(groups) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) == 3 && (v2 && f[0] == "0" && f[1] == "" || !v2 && strings.Contains(","+f[1]+",", ",memory,")) {
			return f[2], true
		}
	}
	return "", false
}

// limit returns the lowest limit of a control group and its ancestors, up to the mount point.
func (m mount) limit(root fs.FS, group string) int64 {
	least := int64(math.MaxInt64)
	for _, dir := range m.folders(group) {
		least = min(least, m.limitOf(root, dir))
		if !m.v2 {
			least = min(least, hierarchical(content(root, path.Join(dir, "memory.stat"))))
		}
	}
	return least
}

// folders returns the folders of a control group and its ancestors, up to the mount point.
func (m mount) folders(group string) (out []string) {
	below, inside := strings.CutPrefix(group, strings.TrimSuffix(m.group, "/"))
	if !inside || strings.Contains(below, "..") { // the group is unknown or outside the mount: read only the mount point
		below = "/"
	}
	for below = path.Clean("/" + below); ; below = path.Dir(below) {
		out = append(out, path.Join(m.dir, below))
		if below == "/" {
			return out
		}
	}
}

// limitOf returns the limit of the control group with a folder, and math.MaxInt64 if it has none.
func (m mount) limitOf(root fs.FS, dir string) int64 {
	if m.v2 {
		return min(parseLimit(content(root, path.Join(dir, "memory.max"))), parseLimit(content(root, path.Join(dir, "memory.high"))))
	}
	return parseLimit(content(root, path.Join(dir, "memory.limit_in_bytes")))
}

// hierarchical returns the lowest limit of a group of version 1 and all its ancestors, from its memory.stat.
// The result includes ancestors that are not mounted.
func hierarchical(stat string) int64 { return parseLimit(field(stat, "hierarchical_memory_limit")) }

// field returns the value of a field of memory.stat, or "".
func field(stat, name string) string {
	for line := range strings.Lines(stat) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			return v
		}
	}
	return ""
}

// parseLimit parses a limit. It returns math.MaxInt64 if s is not a positive number. s is "max" if there is no
// limit, and "" for a missing file.
func parseLimit(s string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil || n <= 0 {
		return math.MaxInt64
	}
	return n
}

// content returns the content of a file, or "" if it cannot be read.
func content(root fs.FS, name string) string {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return ""
	}
	return string(b)
}
