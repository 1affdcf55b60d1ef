//go:build linux

package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// machine describes what the figures were measured on, so that a reader can tell why two
// machines differ: processors, kernel, memory, and how busy it was.
func machine() string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	load, _, _ := strings.Cut(file("/proc/loadavg"), " ")
	return fmt.Sprintf("%s, %d processors, Linux %s, %s of memory, %s, load average %s",
		field("/proc/cpuinfo", "model name"), runtime.NumCPU(), unix.ByteSliceToString(u.Release[:]), field("/proc/meminfo", "MemTotal"), runtime.Version(), load)
}

// pageCache describes what the page cache holds of a file that is read again and again.
func pageCache(name string) string {
	share, size, err := residentShare(name)
	if err != nil {
		return fmt.Sprintf("page cache: not known (%v)", err)
	}
	return fmt.Sprintf("page cache: %.0f%% of the capture's %.0f MB, %s in all, %s of memory free", 100*share, mb(size), field("/proc/meminfo", "Cached"), field("/proc/meminfo", "MemFree"))
}

// residentShare returns how much of a file is in the page cache (mincore(2)), and its size in bytes.
func residentShare(name string) (share float64, size int64, err error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return 0, 0, err
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = unix.Munmap(b) }()
	page := os.Getpagesize()
	pages := make([]byte, (len(b)+page-1)/page)
	if err := mincore(b, pages); err != nil {
		return 0, 0, err
	}
	in := 0
	for _, p := range pages {
		in += int(p & 1)
	}
	return float64(in) / float64(len(pages)), info.Size(), nil
}

func file(name string) string {
	b, _ := os.ReadFile(name)
	return strings.TrimSpace(string(b))
}

// field returns the value of a line "name: value", unknown where there is none.
func field(name, key string) string {
	for line := range strings.Lines(file(name)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return "unknown " + key
}
