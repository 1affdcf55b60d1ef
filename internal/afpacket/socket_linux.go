package afpacket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// device is a network interface.
type device struct {
	name  string
	index int
	arp   uint16 // ARPHRD_ value of linux/if_arp.h
}

// lookup finds the interface with a name in the calling thread's network namespace.
func lookup(name string) (device, error) {
	if name == "" {
		return device{}, noInterface(`""`)
	}
	request, err := unix.NewIfreq(name)
	if err != nil { // the name is longer than any interface's name
		return device{}, noInterface(name)
	}
	// The requests below work on any socket. A Unix socket needs no capability.
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return device{}, &OpError{Interface: name, Op: "look up the interface", Err: err}
	}
	defer unix.Close(fd)

	d := device{name: name}
	for _, ask := range []struct {
		request uint
		answer  func()
	}{
		{unix.SIOCGIFINDEX, func() { d.index = int(request.Uint32()) }},
		{unix.SIOCGIFHWADDR, func() { d.arp = request.Uint16() }}, // sa_family
	} {
		switch err := unix.IoctlIfreq(fd, ask.request, request); {
		case errors.Is(err, unix.ENODEV):
			return device{}, noInterface(name)
		case err != nil:
			return device{}, &OpError{Interface: name, Op: "look up the interface", Err: err}
		}
		ask.answer()
	}
	return d, nil
}

// noInterface returns the error for a name that no interface has. The error contains the names of
// the existing interfaces.
func noInterface(name string) error {
	advice := "there is none"
	if names, err := Interfaces(); err != nil {
		advice = "the existing ones cannot be listed: " + err.Error()
	} else if len(names) > 0 {
		advice = "there are " + strings.Join(names, ", ")
		if len(names) == 1 {
			advice = "there is only " + names[0]
		}
	}
	return &OpError{Interface: name, Op: "look up the interface", Err: ErrNoInterface, Advice: advice}
}

// loopback reports whether packets that are sent to the device arrive from it again.
func (d device) loopback() bool { return d.arp == unix.ARPHRD_LOOPBACK }

// link returns the link type of the captured packets.
func (d device) link() wire.LinkType {
	if d.arp == unix.ARPHRD_ETHER || d.loopback() {
		return wire.LinkEthernet
	}
	return wire.LinkRaw
}

// Link returns the link type that Handle.LinkType will return for the interface. A filter must
// be compiled for it. Link needs no capability.
func Link(name string) (wire.LinkType, error) {
	d, err := lookup(name)
	if err != nil {
		return 0, err
	}
	return d.link(), nil
}

// newSocket opens a packet socket that receives nothing until it is bound. For a link layer
// other than Ethernet the kernel removes the link-layer header (SOCK_DGRAM).
func newSocket(d device) (fd int, err error) {
	kind := unix.SOCK_RAW
	if d.link() == wire.LinkRaw {
		kind = unix.SOCK_DGRAM
	}

	fd = -1
	err = withNetRaw(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return err
	})
	if err != nil && fd >= 0 { // the capability could not be lowered again
		unix.Close(fd)
	}
	if err != nil {
		return -1, &OpError{Interface: d.name, Op: "open a packet socket", Err: err, Advice: openAdvice(err)}
	}
	return fd, nil
}

// openAdvice returns the action to take after socket(2) has failed with err. It returns "" if there
// is no advice.
func openAdvice(err error) string {
	switch {
	case errors.Is(err, unix.EAFNOSUPPORT):
		return "this kernel has no packet sockets (gVisor: start runsc with --net-raw)"
	case !errors.Is(err, os.ErrPermission):
		return ""
	case permitted():
		return "CAP_NET_RAW is present, so a security module forbids it, or the network namespace belongs to another user namespace"
	case !allowed():
		return "it needs CAP_NET_RAW, and nothing in this container or session may have it: " +
			"in Kubernetes add NET_RAW to securityContext.capabilities.add, with docker --cap-add=NET_RAW"
	}
	program, err := os.Executable()
	if err != nil {
		program = "PROGRAM"
	}
	return fmt.Sprintf("it needs CAP_NET_RAW: run as root, or give the program the capability with `setcap cap_net_raw+p %s`; "+
		"in Kubernetes add NET_RAW to securityContext.capabilities.add, and where the image lost its file capability set runAsUser: 0 too", program)
}

// attach attaches a filter to the socket and replaces an earlier one.
func attach(fd int, filter []bpf.RawInstruction) error {
	program := make([]unix.SockFilter, len(filter))
	for i, f := range filter {
		program[i] = unix.SockFilter{Code: f.Op, Jt: f.Jt, Jf: f.Jf, K: f.K}
	}
	err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	runtime.KeepAlive(program)
	return err
}

// bind makes the socket receive the packets of one EtherType from one interface.
func bind(fd, index int, etherType uint16) error {
	return unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: network(etherType), Ifindex: index})
}

// network returns n in network byte order.
func network(n uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], n)
	return binary.NativeEndian.Uint16(b[:])
}

// detach stops the arrival of packets by a filter that accepts none. A packet that another
// processor is delivering at this moment may still arrive. The alternative is to bind the socket to
// no interface, which waits for such packets. The wait would last a whole RCU grace period, which
// is long on a busy machine.
func detach(fd int) {
	// This cannot fail, because attaching a filter needs neither a capability nor the interface.
	_ = attach(fd, []bpf.RawInstruction{{Op: opReturn, K: 0}})
}

// interfaceState returns the state of the socket's interface. gone reports whether the interface is
// deleted or in another namespace, and up reports whether it is up.
func interfaceState(fd, index int) (gone, up bool, err error) {
	address, err := unix.Getsockname(fd)
	if err != nil {
		return false, false, err
	}
	// The kernel sets the index to -1 when the interface is deleted or leaves the namespace.
	if l, ok := address.(*unix.SockaddrLinklayer); !ok || l.Ifindex != index {
		return true, false, nil
	}

	request, err := unix.NewIfreq("?") // any valid name: SIOCGIFNAME overwrites it
	if err != nil {
		return false, false, err
	}
	request.SetUint32(uint32(index))
	for _, ask := range []uint{unix.SIOCGIFNAME, unix.SIOCGIFFLAGS} { // flags are read by the name, which may have changed
		if err := unix.IoctlIfreq(fd, ask, request); errors.Is(err, unix.ENODEV) {
			return false, false, nil // the interface is being deleted, or was renamed between the two requests
		} else if err != nil {
			return false, false, err
		}
	}
	return false, request.Uint16()&unix.IFF_UP != 0, nil
}
