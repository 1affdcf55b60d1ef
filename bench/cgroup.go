//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The chart's default limits (charts/tap/values.yaml).
const (
	limitCPU    = 0.2 // of a core
	limitMemory = 128 << 20
)

// group is a control group with a limit of CPU, memory or both. It is one directory with cgroup v2, and one directory
// in each hierarchy with v1.
type group struct {
	dirs []string
}

// newGroup creates a group with limits: cpu in cores, memory in bytes. A limit of 0 means no limit. The caller
// removes the group.
func newGroup(name string, cpu float64, memory int64) (*group, error) {
	const root, period = "/sys/fs/cgroup", 100000
	name = fmt.Sprintf("meshtls-bench-%d-%s", os.Getpid(), name)
	g := &group{}
	write := func(dir, file string, value any) error {
		return os.WriteFile(filepath.Join(dir, file), fmt.Append(nil, value), 0o644)
	}
	sub := func(dir string) (string, error) {
		dir = filepath.Join(dir, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			return "", err
		}
		g.dirs = append(g.dirs, dir)
		return dir, nil
	}
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err == nil {
		dir, err := sub(root)
		if err == nil && cpu > 0 {
			err = write(dir, "cpu.max", fmt.Sprintf("%d %d", int(cpu*period), period))
		}
		if err == nil && memory > 0 {
			err = write(dir, "memory.max", memory)
		}
		return g, err
	}
	var errs []error
	if cpu > 0 {
		dir, err := sub(filepath.Join(root, "cpu"))
		if err == nil {
			err = errors.Join(write(dir, "cpu.cfs_period_us", period), write(dir, "cpu.cfs_quota_us", int(cpu*period)))
		}
		errs = append(errs, err)
	}
	if memory > 0 {
		dir, err := sub(filepath.Join(root, "memory"))
		if err == nil {
			err = write(dir, "memory.limit_in_bytes", memory)
		}
		errs = append(errs, err)
	}
	return g, errors.Join(errs...)
}

// peak returns the largest memory use of the group so far in bytes, or 0 if the kernel does not report it.
func (g *group) peak() int64 {
	for _, dir := range g.dirs {
		for _, file := range []string{"memory.peak", "memory.max_usage_in_bytes"} {
			if b, err := os.ReadFile(filepath.Join(dir, file)); err == nil {
				n, _ := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
				return n
			}
		}
	}
	return 0
}

// enter returns the start of a shell command that moves the shell into the group.
func (g *group) enter() string {
	var b strings.Builder
	for _, dir := range g.dirs {
		fmt.Fprintf(&b, "echo $$ > %s/cgroup.procs && ", dir)
	}
	return b.String()
}

// remove deletes the group, which must have no processes.
func (g *group) remove() {
	for _, dir := range g.dirs {
		if err := os.Remove(dir); err != nil {
			progress("  not removed: %v", err)
		}
	}
}
