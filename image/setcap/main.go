//go:build linux

// Command setcap gives files the permitted capability cap_net_raw, as `setcap cap_net_raw+p FILE` does. The image is built
// without a package manager, so libcap's setcap is not available.
package main

import (
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const (
	attribute = "security.capability" // the extended attribute with a file's capabilities, capabilities(7)
	revision2 = 0x02000000            // VFS_CAP_REVISION_2, linux/capability.h
)

// encode returns a struct vfs_cap_data (linux/capability.h) of revision 2 that permits one capability and inherits
// none. It does not set the effective flag, because the program raises the capability itself. So the program starts
// even if the bounding set lacks the capability, and can report that the capability is missing.
func encode(capability int) []byte {
	permitted := uint64(1) << capability
	words := []uint32{revision2, uint32(permitted), 0, uint32(permitted >> 32), 0} // permitted and inheritable, low halves; then their high halves
	var data []byte
	for _, word := range words {
		data = binary.LittleEndian.AppendUint32(data, word)
	}
	return data
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: setcap FILE...")
		os.Exit(2)
	}
	for _, file := range os.Args[1:] {
		if err := unix.Setxattr(file, attribute, encode(unix.CAP_NET_RAW), 0); err != nil {
			fmt.Fprintf(os.Stderr, "setcap: %s: set %s: %v (needs root and a file system with extended attributes)\n", file, attribute, err)
			os.Exit(1)
		}
	}
}
