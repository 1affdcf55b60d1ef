//go:build unix

package main

import (
	"bytes"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ignorePipe makes a write to a pipe without a reader fail with EPIPE, which the sink reports, even on standard output (os/signal,
// "SIGPIPE").
func ignorePipe() { signal.Ignore(syscall.SIGPIPE) }

// hangUps returns the signals that report that the terminal is gone. It returns none if the process was started to ignore them, as
// by nohup(1).
func hangUps() []os.Signal {
	if signal.Ignored(syscall.SIGHUP) {
		return nil
	}
	return []os.Signal{syscall.SIGHUP}
}

// hungUp reports whether the other end of a pipe, a socket or a terminal is gone (poll(2),
// POLLHUP and POLLERR). It reads nothing, so that a shell on the same terminal loses no input.
func hungUp(f *os.File) bool {
	raw, err := f.SyscallConn()
	if err != nil {
		return false
	}
	gone := false
	err = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(fds, 0)
		gone = err == nil && n > 0 && fds[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
	})
	return err == nil && gone
}

// cpuTime returns the user and system time of the process (getrusage(2)).
func cpuTime() (time.Duration, bool) {
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) != nil {
		return 0, false
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), true
}

// residentMemory returns the resident set size in bytes: the second field of proc_pid_statm(5), in pages.
func residentMemory() (int, bool) {
	b, err := os.ReadFile("/proc/self/statm")
	if f := bytes.Fields(b); err == nil && len(f) > 1 {
		pages, err := strconv.Atoi(string(f[1]))
		return pages * os.Getpagesize(), err == nil
	}
	return 0, false
}

// openNow opens a file for reading. It does not wait for a writer if the file is a named pipe.
func openNow(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}
