package afpacket

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Handle is the capture of an interface. Run reads the captured packets, and may be called once.
// The other methods are safe for concurrent use with Run.
type Handle struct {
	device  device
	retire  time.Duration
	socket  *os.File
	raw     syscall.RawConn // the socket's connection for raw system calls
	ring    *ring
	closing atomic.Bool

	mu       sync.Mutex // guards the fields up to snap, and the release of socket and ring
	phase    phase
	detached bool // no packets arrive any more
	snap     int  // Config.SnapLength

	statsMu sync.Mutex // guards totals and final
	totals  Stats
	final   bool // the totals do not change any more

	// Only Run uses the fields below.
	block   Block
	passed  uint64        // packets in the blocks that were passed on
	blocks  uint64        // blocks that were passed on
	found   syscall.Errno // pending error of the socket at the last poll; 0: none
	recheck time.Duration // time until the interface is examined again while it is down
}

// phase is the stage in the life of a Handle.
type phase uint8

const (
	opened phase = iota
	running
	ended
)

// Open starts to capture. From now on packets that pass the filter go to the ring, until the ring
// is full. The interface may be down. If CAP_NET_RAW is permitted to the thread but not effective,
// Open makes it effective while it opens the socket. The error is an *OpError.
func Open(c Config) (*Handle, error) {
	name := c.Interface
	c, err := c.withDefaults()
	if err != nil {
		return nil, &OpError{Interface: name, Op: "configure", Err: err}
	}

	d, err := lookup(name)
	if err != nil {
		return nil, err
	}
	fd, err := newSocket(d)
	if err != nil {
		return nil, err
	}

	h := &Handle{device: d, retire: c.Retire, snap: c.SnapLength}
	if err := h.setUp(fd, c); err != nil {
		err.Interface = name
		if h.ring != nil {
			_ = h.ring.unmap()
		}
		unix.Close(fd)
		return nil, err
	}

	// The runtime's poller waits for the socket, so a waiting reader occupies no thread.
	h.socket = os.NewFile(uintptr(fd), "packet socket on "+name)
	if h.raw, err = h.socket.SyscallConn(); err == nil {
		err = h.socket.SetReadDeadline(time.Time{})
	}
	if err != nil {
		_ = errors.Join(h.ring.unmap(), h.socket.Close())
		return nil, &OpError{Interface: name, Op: "wait for packets", Err: err}
	}
	return h, nil
}

// setUp configures the socket and creates the ring. It binds the socket last, so that no packet
// arrives before everything is set up.
func (h *Handle) setUp(fd int, c Config) *OpError {
	filter, err := bounded(c.Filter, c.SnapLength)
	if err != nil {
		return &OpError{Op: "configure", Err: err}
	}
	if len(filter) > 0 {
		if err := attach(fd, filter); err != nil {
			return filterError(err, len(filter))
		}
	}

	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return &OpError{Op: "select TPACKET_V3", Err: err, Advice: "it needs Linux 4.20 or newer"}
	}
	if h.device.loopback() {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
			return &OpError{Op: "ignore outgoing packets", Err: err, Advice: "it needs Linux 4.20 or newer"}
		}
	}

	h.ring, err = newRing(fd, c)
	if err != nil {
		return &OpError{Op: fmt.Sprintf("set up a ring of %d bytes", c.RingBytes), Err: err, Advice: ringAdvice(err)}
	}
	if err := bind(fd, h.device.index, unix.ETH_P_ALL); err != nil {
		return &OpError{Op: "bind", Err: asNoInterface(err)}
	}

	// If the interface is down, the socket has a pending error, which Run will find.
	_, up, err := interfaceState(fd, h.device.index)
	if err != nil {
		return &OpError{Op: "check the interface", Err: err}
	}
	h.totals.Down = !up
	return nil
}

// filterError returns the error for a filter that the kernel refused.
func filterError(err error, instructions int) *OpError {
	if errors.Is(err, unix.ENOMEM) {
		return &OpError{
			Op: fmt.Sprintf("attach the filter of %d instructions", instructions), Err: fmt.Errorf("%w: %w", ErrFilterMemory, err),
			Advice: "raise the sysctl net.core.optmem_max (bytes; Linux' default is 20480 or more)",
		}
	}
	return &OpError{Op: "attach the filter", Err: err, Advice: "the kernel refuses this program"}
}

// ringAdvice returns the action to take if the ring could not be created. It returns "" if there is
// no advice.
func ringAdvice(err error) string {
	if errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.ENOBUFS) {
		return "there is too little memory: configure a smaller ring"
	}
	return ""
}

// asNoInterface returns ErrNoInterface if err shows that the interface was deleted after lookup.
// Otherwise it returns err.
func asNoInterface(err error) error {
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		return ErrNoInterface
	}
	return err
}

// Index returns the index of the interface. The index stays the same when the interface is renamed.
func (h *Handle) Index() int { return h.device.index }

// LinkType returns the type of the link-layer header of the packets: wire.LinkEthernet, or
// wire.LinkRaw if there is no header.
func (h *Handle) LinkType() wire.LinkType { return h.device.link() }

// Stats returns totals since Open. It may also be called after Close and after Run has returned.
// The kernel's counters have 32 bits, and each reading resets them. Run reads them often enough
// that none overflows.
func (h *Handle) Stats() (Stats, error) {
	h.statsMu.Lock()
	defer h.statsMu.Unlock()
	err := h.count()
	return h.totals, err
}

// count adds the kernel's counters since the last call to the totals. The caller holds statsMu.
func (h *Handle) count() error {
	if h.final {
		return nil
	}
	var s *unix.TpacketStatsV3
	var err error
	if e := h.raw.Control(func(fd uintptr) {
		s, err = unix.GetsockoptTpacketStatsV3(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
	}); e != nil {
		err = e
	}
	if err != nil {
		return &OpError{Interface: h.device.name, Op: "read the statistics", Err: err}
	}
	h.totals.Packets += uint64(s.Packets)
	h.totals.Drops += uint64(s.Drops)
	h.totals.Freezes += uint64(s.Freeze_q_cnt)
	return nil
}

// SetFilter replaces the filter atomically, for packets that arrive from now on. Packets in the
// ring stay there. Once the capture has ended, SetFilter has no effect. On an error, which is an
// *OpError, the previous filter remains effective. ENOMEM means that net.core.optmem_max is too low
// for both filters at the same time.
func (h *Handle) SetFilter(filter []bpf.RawInstruction) error {
	filter, err := bounded(filter, h.snap)
	if err == nil && len(filter) == 0 {
		filter, err = bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: wholePacket}})
	}
	if err != nil {
		return &OpError{Interface: h.device.name, Op: "configure", Err: err}
	}

	h.mu.Lock()
	defer h.mu.Unlock()
	if h.phase == ended || h.detached {
		return nil
	}
	if e := h.raw.Control(func(fd uintptr) { err = attach(int(fd), filter) }); e != nil {
		err = e
	}
	if err != nil {
		return &OpError{Interface: h.device.name, Op: "attach the filter", Err: err}
	}
	return nil
}

// wholePacket is the result of a program that accepts every packet untruncated.
const wholePacket = 1 << 30

// Close ends the capture and makes Run drain the ring and return. It does not wait. It may be
// called repeatedly and from any goroutine. If Run was never called, Close releases the ring with
// the packets in it.
func (h *Handle) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing.Swap(true) {
		return nil
	}
	switch h.phase {
	case opened:
		return h.release()
	case running:
		return h.socket.SetReadDeadline(time.Unix(1, 0)) // a deadline in the past wakes the reader
	case ended:
	}
	return nil
}

// release unmaps the ring and closes the socket. The caller holds mu.
func (h *Handle) release() error {
	h.phase = ended
	h.finalizeStats(true)
	return errors.Join(h.ring.unmap(), h.socket.Close())
}
