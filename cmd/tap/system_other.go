//go:build !unix

package main

import "time"

// ignorePipe does nothing where no signal comes of a broken pipe.
func ignorePipe() {}

func cpuTime() (time.Duration, bool) { return 0, false }

func residentMemory() (int, bool) { return 0, false }
