//go:build !unix

package main

import (
	"os"
	"time"
)

// ignorePipe does nothing: no signal follows from a broken pipe.
func ignorePipe() {}

func hangUps() []os.Signal { return nil }

func hungUp(*os.File) bool { return false }

func cpuTime() (time.Duration, bool) { return 0, false }

func residentMemory() (int, bool) { return 0, false }

// openNow opens a file for reading.
func openNow(name string) (*os.File, error) { return os.Open(name) }
