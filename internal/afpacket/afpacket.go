package afpacket

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/net/bpf"
)

// Config says what is captured and how. Only Interface must be given.
type Config struct {
	// Interface is the name, such as "eth0". The loopback interface shows each packet
	// when it leaves and when it arrives: there only the arrival is captured.
	Interface string

	// Filter is the classic BPF program that the kernel runs on each packet, for the
	// link type that Link tells. What it returns bounds how many bytes are kept. Empty:
	// every packet.
	Filter []bpf.RawInstruction

	// RingBytes is the size of the ring, rounded down to whole blocks; default 4 MiB, at
	// most 1 GiB. It is the kernel's memory, and counts into the resident set of the
	// process as well.
	RingBytes int

	// BlockBytes is the size of a block, rounded up to whole pages; default 128 KiB. A
	// longer packet is cut to what fits. A power of two wastes no memory.
	BlockBytes int

	// Retire is how long a packet may wait for its block to fill before the block is
	// handed on, rounded up to milliseconds; default 50 ms, at most 10 s. It costs nothing
	// when no packets come. When they come sparsely the reader wakes once in that time,
	// which at 50 ms takes 0.15 % of a core (0.5 % at 10 ms).
	Retire time.Duration

	// SnapLength is how many bytes of each packet are kept at most. 0: all, or what the
	// filter says.
	SnapLength int
}

// The defaults and limits of Config.
const (
	defaultRing   = 4 << 20
	defaultBlock  = 128 << 10 // a frame of 64 KiB, as segmentation offload makes them, and more
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
		return c, fmt.Errorf("a ring of %d bytes: 1 to %d were expected", c.RingBytes, maxRing)
	case c.BlockBytes < 0 || c.BlockBytes > maxRing:
		return c, fmt.Errorf("blocks of %d bytes: 1 to %d were expected", c.BlockBytes, maxRing)
	case c.Retire < 0 || c.Retire > maxRetire:
		return c, fmt.Errorf("a retire timeout of %v: up to %v was expected", c.Retire, maxRetire)
	case c.SnapLength < 0 || c.SnapLength > maxRing:
		return c, fmt.Errorf("a snap length of %d bytes: 0 to %d were expected", c.SnapLength, maxRing)
	default:
		c.BlockBytes = (c.BlockBytes + page - 1) / page * page
	}
	if blocks := c.RingBytes / c.BlockBytes; blocks < minBlocks {
		return c, fmt.Errorf("a ring of %d bytes holds %d blocks of %d bytes: at least %d were expected", c.RingBytes, blocks, c.BlockBytes, minBlocks)
	}
	c.RingBytes -= c.RingBytes % c.BlockBytes
	c.Retire = (c.Retire + time.Millisecond - 1).Truncate(time.Millisecond)
	return c, nil
}

// Stats are totals since Open.
type Stats struct {
	Packets   uint64 // that the filter let through, dropped ones included
	Drops     uint64 // of these: lost because the ring was full, or still in it when the drain was given up
	Freezes   uint64 // how often the ring was full
	Malformed uint64 // blocks given up in the middle because a header in them pointed out of it: a fault of the kernel
	Downs     uint64 // how often the interface was found down
	Down      bool   // it is now: nothing arrives until it is up again, which needs no help
}
