//go:build !unix

package main

import (
	"os"
	"time"
)

// ignorePipe does nothing, because on this system a broken pipe causes no signal.
func ignorePipe() {}

func hangUps() []os.Signal { return nil }

func hungUp(*os.File) bool { return false }

func cpuTime() (time.Duration, bool) { return 0, false }

func residentMemory() (int, bool) { return 0, false }

// openNow opens a file for reading.
func openNow(name string) (*os.File, error) { return os.Open(name) }
