//go:build unix

package main

import (
	"bytes"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// ignorePipe makes a write to a pipe without a reader fail with EPIPE, on standard
// output too (os/signal, "SIGPIPE").
func ignorePipe() { signal.Ignore(syscall.SIGPIPE) }

// cpuTime returns the user and system time of the process, getrusage(2).
func cpuTime() (time.Duration, bool) {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0, false
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), true
}

// residentMemory returns the resident set in bytes, the second field of proc_pid_statm(5).
func residentMemory() (int, bool) {
	b, err := os.ReadFile("/proc/self/statm")
	if f := bytes.Fields(b); err == nil && len(f) > 1 {
		pages, err := strconv.Atoi(string(f[1]))
		return pages * os.Getpagesize(), err == nil
	}
	return 0, false
}

// openNow opens a file to read and does not wait for a writer, as a named pipe would.
func openNow(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}
