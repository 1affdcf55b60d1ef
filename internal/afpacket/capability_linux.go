package afpacket

import (
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// withNetRaw runs do, which opens the packet socket, with CAP_NET_RAW in effect on this
// one thread, and takes it back afterwards. A file capability of cap_net_raw+p permits it
// without putting it in effect, so that the program starts even where the capability is
// not to be had and can say so (capabilities(7)). Where it is in effect already, nothing
// changes; where it is not permitted, do runs without it and learns that from the kernel.
//
// Only socket(2) asks for the capability: filter, ring and bind go by the socket.
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

// allowed reports whether CAP_NET_RAW is in the thread's bounding set, so that a file
// capability or user 0 would bring it.
func allowed() bool {
	in, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_NET_RAW, 0, 0, 0)
	return err == nil && in == 1
}

// capabilities returns the calling thread's sets, the low 32 capabilities first.
func capabilities() (sets [2]unix.CapUserData, err error) {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	return sets, unix.Capget(&h, &sets[0])
}

func setCapabilities(sets [2]unix.CapUserData) error {
	h := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	return unix.Capset(&h, &sets[0])
}
