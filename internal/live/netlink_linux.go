package live

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// events is a socket on which the kernel announces changes of addresses, routes and network interfaces. It needs no capability.
// The zero value is closed.
type events struct {
	fd   int      // 0: closed
	file *os.File // owns fd
	page [32 << 10]byte
}

// open opens the socket. The socket receives only changes from then on. For each of them, until close, open calls announced on
// another goroutine. announced must not block. open does nothing if the socket is open already.
func (e *events) open(announced func()) error {
	if e.fd != 0 {
		return nil
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open a netlink socket: %w", err)
	}

	groups := uint32(unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		unix.Close(fd)
		return fmt.Errorf("listen for changes of addresses: %w", err)
	}

	file := os.NewFile(uintptr(fd), "rtnetlink socket")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return fmt.Errorf("wait for changes of addresses: %w", err)
	}
	e.fd, e.file = fd, file
	go func() {
		_ = raw.Read(func(uintptr) bool { // it returns when the file is closed
			announced()
			return false
		})
	}()
	return nil
}

// close closes the socket. announced is not called any more when close returns.
func (e *events) close() {
	if e.fd != 0 {
		e.file.Close()
		e.fd = 0
	}
}

// mostEvents bounds the datagrams that one call of drain reads.
const mostEvents = 256

// drain reads the announcements since the last call without waiting. addresses reports whether addresses may have changed, and
// links whether interfaces may have changed. ok is false if the socket is closed.
func (e *events) drain() (addresses, links, ok bool) {
	if e.fd == 0 {
		return false, false, false
	}
	for range mostEvents {
		n, err := e.receive()
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return addresses, links, true
		case err != nil: // ENOBUFS: announcements were lost
			addresses, links = true, true
			continue
		}
		a, l := concerns(e.page[:n])
		addresses, links = addresses || a, links || l
	}
	return true, true, true
}

// receive reads a datagram into page, or returns EAGAIN if no datagram waits. It makes the system call without notifying Go's scheduler,
// because the call does not block. Otherwise the scheduler's monitor would wake up and poll every 20 µs while the block is processed,
// which costs a tenth of the block's CPU time.
func (e *events) receive() (n int, err error) {
	r, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(e.fd), uintptr(unsafe.Pointer(&e.page[0])), uintptr(len(e.page)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

// concerns reports whether messages announce changes of addresses, and whether they announce
// changes of interfaces.
func concerns(b []byte) (addresses, links bool) {
	messages, err := syscall.ParseNetlinkMessage(b)
	if err != nil {
		return true, true
	}
	for i := range messages {
		switch m := &messages[i]; m.Header.Type {
		case unix.RTM_NEWADDR, unix.RTM_DELADDR:
			addresses = true
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			addresses = addresses || len(m.Data) >= unix.SizeofRtMsg && isLocalRoute(m.Data[7])
		case unix.RTM_NEWLINK, unix.RTM_DELLINK:
			links = true
		}
	}
	return addresses, links
}

// localTypes are the types of routes (rtm_type) whose packets end in this namespace.
var localTypes = [...]uint8{unix.RTN_LOCAL, unix.RTN_ANYCAST, unix.RTN_BROADCAST}

func isLocalRoute(typ uint8) bool { return slices.Contains(localTypes[:], typ) }

// localRoutes returns the addresses of the namespace's interfaces and its local routes. For each family and type of route there
// are at most a few more than maxAddresses. It returns an error if the addresses cannot be read. Routes that cannot be read are
// left out.
func localRoutes() ([]localRoute, error) {
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var out []localRoute
	for _, x := range interfaces {
		if n, ok := x.(*net.IPNet); ok {
			if a, ok := netip.AddrFromSlice(n.IP); ok {
				a = a.Unmap()
				out = append(out, localRoute{to: netip.PrefixFrom(a, a.BitLen())})
			}
		}
	}

	for _, family := range [...]uint8{unix.AF_INET, unix.AF_INET6} {
		for _, typ := range localTypes {
			routes, err := routesOf(family, typ)
			if err != nil {
				break // gVisor and old kernels have no such dump
			}
			out = append(out, routes...)
		}
	}
	return out, nil
}

// routesOf returns the routes of a family and a type (RTM_GETROUTE).
func routesOf(family, typ uint8) (out []localRoute, err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)

	// With this option the kernel leaves out routes of other types. There may be a million of them.
	if err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1); err != nil {
		return nil, err
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}); err != nil {
		return nil, err
	}
	if err := unix.Sendto(fd, routeRequest(family, typ), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}

	page := make([]byte, 32<<10)
	for len(out) <= maxAddresses {
		n, _, err := unix.Recvfrom(fd, page, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}

		messages, err := syscall.ParseNetlinkMessage(page[:n])
		if err != nil {
			return nil, err
		}
		for i := range messages {
			switch m := &messages[i]; m.Header.Type {
			case unix.NLMSG_DONE:
				return out, nil
			case unix.NLMSG_ERROR:
				return nil, unix.EINVAL
			case unix.RTM_NEWROUTE:
				if r, ok := readRoute(m, family, typ); ok {
					out = append(out, r)
				}
			}
		}
	}
	return out, nil
}

// routeRequest returns a request for a dump of routes: a struct nlmsghdr and a struct rtmsg.
func routeRequest(family, typ uint8) []byte {
	b := make([]byte, unix.SizeofNlMsghdr+unix.SizeofRtMsg)
	binary.NativeEndian.PutUint32(b[0:], uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], unix.RTM_GETROUTE)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	binary.NativeEndian.PutUint32(b[8:], 1)
	b[unix.SizeofNlMsghdr], b[unix.SizeofNlMsghdr+7] = family, typ // rtm_family, rtm_type
	return b
}

// readRoute returns a route's destination. ok is false for a route of another family or type. It is also false for a default
// route, which has no destination.
func readRoute(m *syscall.NetlinkMessage, family, typ uint8) (r localRoute, ok bool) {
	if len(m.Data) < unix.SizeofRtMsg || m.Data[0] != family || m.Data[7] != typ {
		return r, false
	}
	attributes, err := syscall.ParseNetlinkRouteAttr(m)
	if err != nil {
		return r, false
	}
	for _, a := range attributes {
		if a.Attr.Type == unix.RTA_DST {
			to, valid := netip.AddrFromSlice(a.Value)
			p := netip.PrefixFrom(to, int(m.Data[1])) // rtm_dst_len
			return localRoute{p, typ == unix.RTN_BROADCAST}, valid && p.IsValid()
		}
	}
	return r, false
}
