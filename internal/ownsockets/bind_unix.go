//go:build unix

package ownsockets

import (
	"fmt"
	"os"
	"syscall"
)

// bindEphemeral binds an unconnected socket to a free port on all addresses and returns the port. See ip(7),
// ip_local_port_range.
func bindEphemeral(fd uintptr, network string) (uint16, error) {
	var local syscall.Sockaddr = &syscall.SockaddrInet4{}
	if network == "tcp6" {
		local = &syscall.SockaddrInet6{}
	}
	if err := syscall.Bind(int(fd), local); err != nil {
		return 0, os.NewSyscallError("bind", err)
	}
	bound, err := syscall.Getsockname(int(fd))
	if err != nil {
		return 0, os.NewSyscallError("getsockname", err)
	}
	switch a := bound.(type) {
	case *syscall.SockaddrInet4:
		return uint16(a.Port), nil
	case *syscall.SockaddrInet6:
		return uint16(a.Port), nil
	}
	return 0, fmt.Errorf("getsockname: address family of %T", bound)
}
