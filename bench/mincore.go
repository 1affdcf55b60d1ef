//go:build linux

package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mincore calls mincore(2), for which golang.org/x/sys/unix has no wrapper. pages has a byte for each page of b.
func mincore(b, pages []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(unsafe.Pointer(&pages[0]))) //nolint:gosec // both slices outlive the call
	if errno != 0 {
		return errno
	}
	return nil
}
