package afpacket

import (
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring is the memory that is shared with the kernel: blocks that the kernel fills in turn
// and that are given back in the same order.
type ring struct {
	memory []byte
	block  int // bytes of a block
	next   int // offset of the block that is filled, or was filled, next
}

// newRing asks the kernel for a ring on the socket and maps it. The configuration has
// gone through withDefaults.
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

// status is the word of the next block that says whose it is: TP_STATUS_USER where it is
// ours. The kernel writes it last, and so do we: what is atomic orders the rest.
func (r *ring) status() *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(&r.memory[r.next+blockStatus]))
}

// ready reports whether the next block is there to be read.
func (r *ring) ready() bool { return r.status().Load()&unix.TP_STATUS_USER != 0 }

// current returns the next block. Only where ready said so may it be read.
func (r *ring) current() []byte {
	end := r.next + r.block
	return r.memory[r.next:end:end]
}

// release gives the block back to the kernel and goes on to the one behind it.
func (r *ring) release() {
	r.status().Store(unix.TP_STATUS_KERNEL)
	if r.next += r.block; r.next >= len(r.memory) {
		r.next = 0
	}
}

func (r *ring) unmap() error { return unix.Munmap(r.memory) }

// socketError returns and clears the pending error of the socket (0: none). It is a raw system call that does not
// block; an ordinary one would wake the scheduler's monitor thread, which costs more than the call itself when blocks
// hold few packets.
func socketError(fd int) syscall.Errno {
	var value, size int32 = 0, 4
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_ERROR, uintptr(unsafe.Pointer(&value)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return syscall.Errno(value)
}
