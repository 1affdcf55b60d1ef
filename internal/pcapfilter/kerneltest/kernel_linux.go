package kerneltest

import (
	"errors"
	"runtime"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Kernel is a pair of connected sockets: a packet sent on one passes through the filter of the other. It needs no privilege and no network.
type Kernel struct {
	t        *testing.T
	from, to int
}

// New returns a Kernel for one test.
func New(t *testing.T) Kernel {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatalf("a pair of sockets: %v", err)
	}
	t.Cleanup(func() {
		unix.Close(pair[0])
		unix.Close(pair[1])
	})
	return Kernel{t, pair[0], pair[1]}
}

// Attach attaches a program and replaces an earlier one. If the kernel refuses the program, Attach returns the kernel's error.
func (k Kernel) Attach(program []bpf.RawInstruction) error {
	filters := make([]unix.SockFilter, len(program))
	for i, in := range program {
		filters[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	err := unix.SetsockoptSockFprog(k.to, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(filters)), Filter: &filters[0]})
	runtime.KeepAlive(filters)
	return err
}

// Run returns how many bytes of a packet the program keeps. The packet must not be empty.
func (k Kernel) Run(packet []byte) int {
	k.t.Helper()
	if err := unix.Sendto(k.from, packet, 0, nil); err != nil {
		k.t.Fatal(err)
	}
	n, _, err := unix.Recvfrom(k.to, make([]byte, len(packet)+1), 0)
	if errors.Is(err, unix.EAGAIN) {
		return 0
	}
	if err != nil {
		k.t.Fatal(err)
	}
	return n
}
