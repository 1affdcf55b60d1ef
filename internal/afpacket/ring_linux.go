package afpacket

import (
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring is memory shared with the kernel. The kernel fills its blocks in turn, and the reader
// releases them in the same order.
type ring struct {
	memory []byte
	block  int // bytes of a block
	next   int // offset of the next block to read
}

// newRing creates a ring on the socket and maps it. c must come from withDefaults.
func newRing(fd int, c Config) (*ring, error) {
	blocks := uint32(c.RingBytes / c.BlockBytes)
	request := unix.TpacketReq3{
		Block_size: uint32(c.BlockBytes),
		Block_nr:   blocks,
		// TPACKET_V3 packs frames of any length: the frame size is checked but not used.
		Frame_size:     uint32(c.BlockBytes),
		Frame_nr:       blocks,
		Retire_blk_tov: uint32(c.Retire.Milliseconds()),
	}
	if err := unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &request); err != nil {
		return nil, err
	}
	memory, err := unix.Mmap(fd, 0, c.RingBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return &ring{memory: memory, block: c.BlockBytes}, nil
}

// status returns the status word of the next block. With TP_STATUS_USER the block belongs to the
// reader, and otherwise to the kernel. Each owner writes the status word last, so the atomic access
// orders the other accesses to the block.
func (r *ring) status() *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(&r.memory[r.next+blockStatus]))
}

// ready reports whether the next block may be read.
func (r *ring) ready() bool { return r.status().Load()&unix.TP_STATUS_USER != 0 }

// current returns the next block. It must not be read unless ready is true.
func (r *ring) current() []byte {
	end := r.next + r.block
	return r.memory[r.next:end:end]
}

// release returns the block to the kernel and advances to the next one.
func (r *ring) release() {
	r.status().Store(unix.TP_STATUS_KERNEL)
	if r.next += r.block; r.next >= len(r.memory) {
		r.next = 0
	}
}

func (r *ring) unmap() error { return unix.Munmap(r.memory) }

// socketError returns and clears the pending error of the socket (0: none). It makes a raw system call, which does
// not block. An ordinary call would wake the scheduler's monitor thread. When blocks hold few packets, this costs
// more than the call itself.
func socketError(fd int) syscall.Errno {
	var value, size int32 = 0, 4
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_ERROR, uintptr(unsafe.Pointer(&value)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return syscall.Errno(value)
}
