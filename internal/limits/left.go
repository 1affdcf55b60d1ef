package limits

import (
	"io/fs"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Left returns how many bytes the process's control group and its visible ancestors may still use: the least difference between a limit and the
// usage. The usage is without the page cache that the kernel reclaims first, which is the working set as the kubelet computes it. Left returns
// math.MaxInt64 if there is no limit. known is false if the limit of a group that is not visible may be lower, as in a container with its own
// namespace of control groups and without a limit of its own. root is the root of the file system.
func Left(root fs.FS) (left int64, known bool) {
	left = math.MaxInt64
	mounts, groups := content(root, "proc/self/mountinfo"), content(root, "proc/self/cgroup")
	for line := range strings.Lines(mounts) {
		m, ok := parseMount(line)
		if !ok {
			continue
		}
		if group, ok := groupIn(groups, m.v2); ok {
			some, all := m.left(root, group)
			left, known = min(left, some), known || all
		}
	}
	return left, known
}

// left does the same as Left for the hierarchy of a mount.
func (m mount) left(root fs.FS, group string) (left int64, known bool) {
	left = math.MaxInt64
	lowest, hidden := int64(math.MaxInt64), int64(math.MaxInt64)
	dirs := m.folders(group)
	for _, dir := range dirs {
		limit := m.limitOf(root, dir)
		stat := content(root, path.Join(dir, "memory.stat"))
		usage, cache := "memory.current", "inactive_file"
		if !m.v2 {
			usage, cache = "memory.usage_in_bytes", "total_inactive_file"
			hidden = min(hidden, hierarchical(stat))
		}
		used, err := strconv.ParseInt(strings.TrimSpace(content(root, path.Join(dir, usage))), 10, 64)
		if limit >= unlimited || err != nil {
			continue
		}
		reclaimable, _ := strconv.ParseInt(strings.TrimSpace(field(stat, cache)), 10, 64) // 0 if it is missing
		lowest = min(lowest, limit)
		left = min(left, max(limit-used+reclaimable, 0))
	}
	if !m.v2 {
		return left, hidden >= min(lowest, unlimited) && hidden != math.MaxInt64
	}
	top := dirs[len(dirs)-1]
	// Only the root has no file for its limit.
	isRoot := slices.Contains(strings.Fields(content(root, path.Join(top, "cgroup.controllers"))), "memory") && content(root, path.Join(top, "memory.max")) == ""
	return left, isRoot || lowest < unlimited
}
