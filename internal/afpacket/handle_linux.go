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

// Handle is an interface that is captured. Run reads it, once; the other methods are safe
// for concurrent use with it.
type Handle struct {
	device  device
	retire  time.Duration
	socket  *os.File
	raw     syscall.RawConn // of the socket
	ring    *ring
	closing atomic.Bool

	mu       sync.Mutex // guards what follows, and with it the life of the socket and the ring
	phase    phase
	detached bool // nothing arrives any more
	snap     int  // Config.SnapLength

	statsMu sync.Mutex // guards totals and final
	totals  Stats
	final   bool // nothing is counted any more

	// These belong to Run.
	block   Block
	handed  uint64        // packets in the blocks that were handed on
	blocks  uint64        // how many those are
	found   syscall.Errno // what poll found on the socket
	recheck time.Duration // when the interface is down: until it is looked at again
}

// phase is how far the life of a Handle has gone.
type phase uint8

const (
	opened phase = iota
	running
	ended
)

// Open begins to capture: packets that pass the filter are kept from now on, until the
// ring is full. An interface that is down is opened too. Where the thread lacks
// CAP_NET_RAW but may have it, Open raises it for the moment. The error is an *OpError.
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
	// The runtime's poller waits for the socket: a reader sleeps without a thread.
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

// setUp makes the socket ready, the binding last.
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
		return &OpError{Op: "choose TPACKET_V3", Err: err, Advice: "it needs Linux 4.20 or newer"}
	}
	if h.device.loopback() {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
			return &OpError{Op: "ignore what leaves", Err: err, Advice: "it needs Linux 4.20 or newer"}
		}
	}
	h.ring, err = newRing(fd, c)
	if err != nil {
		return &OpError{Op: fmt.Sprintf("set up a ring of %d bytes", c.RingBytes), Err: err, Advice: ringAdvice(err)}
	}
	if err := bind(fd, h.device.index, unix.ETH_P_ALL); err != nil {
		return &OpError{Op: "bind", Err: vanished(err)}
	}
	// If it is down, the socket has an error that Run will find.
	_, up, err := standing(fd, h.device.index)
	if err != nil {
		return &OpError{Op: "look at the interface", Err: err}
	}
	h.totals.Down = !up
	return nil
}

// filterError is that of a filter that the kernel does not take.
func filterError(err error, instructions int) *OpError {
	if errors.Is(err, unix.ENOMEM) {
		return &OpError{
			Op: fmt.Sprintf("attach the filter of %d instructions", instructions), Err: fmt.Errorf("%w: %w", ErrFilterMemory, err),
			Advice: "raise the sysctl net.core.optmem_max (bytes; Linux' default is 20480 or more)",
		}
	}
	return &OpError{Op: "attach the filter", Err: err, Advice: "the kernel does not take this program"}
}

// ringAdvice says what to do where there is no ring.
func ringAdvice(err error) string {
	if errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.ENOBUFS) {
		return "there is too little memory for it: ask for a smaller one"
	}
	return ""
}

// vanished translates an interface that was there when it was looked up.
func vanished(err error) error {
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		return ErrNoInterface
	}
	return err
}

// Index returns the index of the interface, which stays the same when it is renamed.
func (h *Handle) Index() int { return h.device.index }

// LinkType returns what the captured bytes begin with: wire.LinkEthernet or wire.LinkRaw.
func (h *Handle) LinkType() wire.LinkType { return h.device.link() }

// Stats returns what happened since Open. It works after Close and after Run have ended.
// The kernel counts with 32 bits and from each reading on: Run reads it often enough.
func (h *Handle) Stats() (Stats, error) {
	h.statsMu.Lock()
	defer h.statsMu.Unlock()
	err := h.count()
	return h.totals, err
}

// count adds to the totals what the kernel has counted since the last time. statsMu is held.
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

// SetFilter puts another filter in place of the one that there is, for packets that come
// from now on: those that are in the ring stay there. In between none passes by both.
// Once the capture has ended it does nothing. On an error, which is an *OpError, the
// filter from before is in force: an ENOMEM says that net.core.optmem_max is too low for
// both at a time.
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

// wholePacket is what a program returns that keeps all of every packet.
const wholePacket = 1 << 30

// Close ends the capture and makes Run drain the ring and return. It waits for nothing,
// may be called more than once and from any goroutine. Where Run was never called it gives
// the ring back, with what is in it.
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
		return h.socket.SetReadDeadline(time.Unix(1, 0)) // long past: wakes the reader
	case ended:
	}
	return nil
}

// release gives ring and socket back. mu is held.
func (h *Handle) release() error {
	h.phase = ended
	h.finalizeStats(true)
	return errors.Join(h.ring.unmap(), h.socket.Close())
}
