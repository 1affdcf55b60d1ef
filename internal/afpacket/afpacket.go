package afpacket

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/net/bpf"
)

// Config configures a capture. Only Interface is required.
type Config struct {
	// Interface is the name, such as "eth0". On a loopback interface each packet passes twice, when
	// it leaves and when it arrives. Only the arrival is captured there.
	Interface string

	// Filter is the classic BPF program that the kernel runs on each packet. It must be compiled
	// for the link type that the function Link returns. The result of the program is the largest
	// number of bytes that are captured of the packet; 0 ignores the packet. An empty filter
	// captures every packet.
	Filter []bpf.RawInstruction

	// RingBytes is the size of the ring, rounded down to whole blocks (default 4 MiB, at most 1
	// GiB). The kernel owns this memory. It also counts in the resident set of the process.
	RingBytes int

	// BlockBytes is the size of a block, rounded up to whole pages (default 128 KiB). A packet that
	// does not fit into a block is truncated. A power of two wastes no memory.
	BlockBytes int

	// Retire is how long a packet may wait for its block to fill before the kernel passes the block
	// on. It is rounded up to milliseconds (default 50 ms, at most 10 s). It costs nothing while no
	// packets arrive. With few packets the reader wakes once in each Retire. This costs 0.15 % of a
	// core at 50 ms, and 0.5 % at 10 ms.
	Retire time.Duration

	// SnapLength bounds the bytes captured of each packet. If it is 0, only the filter bounds them.
	SnapLength int
}

// The defaults and limits of Config.
const (
	defaultRing   = 4 << 20
	defaultBlock  = 128 << 10 // more than a frame of 64 KiB, the largest of segmentation offload
	defaultRetire = 50 * time.Millisecond
	maxRing       = 1 << 30
	maxRetire     = 10 * time.Second
	minBlocks     = 2 // the kernel fills one while another is read
)

// withDefaults returns c with its defaults filled in and its sizes rounded.
func (c Config) withDefaults() (Config, error) {
	if c.RingBytes == 0 {
		c.RingBytes = defaultRing
	}
	if c.BlockBytes == 0 {
		c.BlockBytes = defaultBlock
	}
	if c.Retire == 0 {
		c.Retire = defaultRetire
	}
	switch page := os.Getpagesize(); {
	case c.RingBytes < 0 || c.RingBytes > maxRing:
		return c, fmt.Errorf("a ring of %d bytes: expected 1 to %d", c.RingBytes, maxRing)
	case c.BlockBytes < 0 || c.BlockBytes > maxRing:
		return c, fmt.Errorf("blocks of %d bytes: expected 1 to %d", c.BlockBytes, maxRing)
	case c.Retire < 0 || c.Retire > maxRetire:
		return c, fmt.Errorf("a retire timeout of %v: expected at most %v", c.Retire, maxRetire)
	case c.SnapLength < 0 || c.SnapLength > maxRing:
		return c, fmt.Errorf("a snap length of %d bytes: expected 0 to %d", c.SnapLength, maxRing)
	default:
		c.BlockBytes = (c.BlockBytes + page - 1) / page * page
	}
	if blocks := c.RingBytes / c.BlockBytes; blocks < minBlocks {
		return c, fmt.Errorf("a ring of %d bytes has room for %d blocks of %d bytes: expected at least %d", c.RingBytes, blocks, c.BlockBytes, minBlocks)
	}
	c.RingBytes -= c.RingBytes % c.BlockBytes
	c.Retire = (c.Retire + time.Millisecond - 1).Truncate(time.Millisecond)
	return c, nil
}

// Stats are totals since Open.
type Stats struct {
	Packets   uint64 // packets that passed the filter, including dropped packets
	Drops     uint64 // packets of Packets that were lost because the ring was full, or were still in the ring when draining ended
	Freezes   uint64 // how often the ring was full
	Malformed uint64 // blocks whose rest was skipped because a header pointed out of the block: a kernel bug
	Downs     uint64 // how often the interface was found down
	Down      bool   // the interface is down now: packets arrive once it is up again, without a new Open
}
