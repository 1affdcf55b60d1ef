//go:build linux

package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// machine describes the machine in one line (processors, kernel, memory, Go version, load average), since figures differ from machine
// to machine.
func machine() string {
	var u unix.Utsname
	_ = unix.Uname(&u)
	load, _, _ := strings.Cut(file("/proc/loadavg"), " ")
	return fmt.Sprintf("%s, %d processors, Linux %s, %s of memory, %s, load average %s",
		field("/proc/cpuinfo", "model name"), runtime.NumCPU(), unix.ByteSliceToString(u.Release[:]), field("/proc/meminfo", "MemTotal"), runtime.Version(), load)
}

// pageCache describes in one line how much of a capture is in the page cache, and how much memory is free.
func pageCache(name string) string {
	share, size, err := residentShare(name)
	if err != nil {
		return fmt.Sprintf("page cache: unknown (%v)", err)
	}
	return fmt.Sprintf("page cache: %.0f%% of the capture's %.0f MB, %s in all, %s of memory free", 100*share, mb(size), field("/proc/meminfo", "Cached"), field("/proc/meminfo", "MemFree"))
}

// residentShare returns which share of a file is in the page cache, from 0 to 1 (mincore(2)), and the file's size in bytes.
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

// file returns the contents of a file without surrounding spaces, or "" if it cannot be read.
func file(name string) string {
	b, _ := os.ReadFile(name)
	return strings.TrimSpace(string(b))
}

// field returns the value of the first line "key: value" of a file, or "unknown KEY".
func field(name, key string) string {
	for line := range strings.Lines(file(name)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v)
		}
	}
	return "unknown " + key
}
