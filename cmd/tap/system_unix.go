//go:build unix

package main

import (
	"os/signal"
	"syscall"
)

// ignorePipe makes a write to a pipe without a reader fail with EPIPE, on standard
// output too (os/signal, "SIGPIPE").
func ignorePipe() { signal.Ignore(syscall.SIGPIPE) }
