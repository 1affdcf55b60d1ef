package afpacket

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// withNetRaw runs do, which opens the packet socket. CAP_NET_RAW is effective on this thread only,
// and is lowered afterwards. A file capability of cap_net_raw+p permits the capability without
// making it effective. So the program also starts where the capability is not available, and can
// report this (capabilities(7)). If the capability is already effective, withNetRaw changes
// nothing. If it is not permitted, do runs without it, and the kernel refuses the socket.
//
// Only socket(2) checks the capability; filter, ring and bind need only the socket.
func withNetRaw(do func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := capabilities()
	if err != nil {
		return do()
	}
	const bit = uint32(1) << unix.CAP_NET_RAW
	if before[0].Effective&bit != 0 || before[0].Permitted&bit == 0 {
		return do()
	}
	raised := before
	raised[0].Effective |= bit
	if err := setCapabilities(raised); err != nil {
		return do()
	}
	err = do()
	if e := setCapabilities(before); e != nil {
		return errors.Join(err, fmt.Errorf("lower CAP_NET_RAW again: %w", e))
	}
	return err
}

// permitted reports whether CAP_NET_RAW is in the thread's permitted set.
func permitted() bool {
	sets, err := capabilities()
	return err == nil && sets[0].Permitted&(1<<unix.CAP_NET_RAW) != 0
}

// allowed reports whether CAP_NET_RAW is in the thread's bounding set. If it is, the process can
// get the capability from a file capability or as user 0.
func allowed() bool {
	in, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_NET_RAW, 0, 0, 0)
	return err == nil && in == 1
}

// capabilities returns the calling thread's capability sets. The first element has the capabilities
// with numbers below 32.
func capabilities() (sets [2]unix.CapUserData, err error) {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	return sets, unix.Capget(&h, &sets[0])
}

func setCapabilities(sets [2]unix.CapUserData) error {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	return unix.Capset(&h, &sets[0])
}
