package afpacket

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestStoppedReader: while nobody reads, each block closes by its timer, even if it has few packets. So with few packets the ring is
// full after as many timeouts as it has blocks. The packets in the ring are read later, and the others are counted.
func TestStoppedReader(t *testing.T) {
	const blocks, size = 4, 64 << 10
	n := loopback(t)
	from, to := n.datagrams(t, "udp4", "127.0.0.1"), n.datagrams(t, "udp4", "127.0.0.1")
	h := n.open(t, Config{Interface: "lo", Filter: toPort(t, port(to)), RingBytes: blocks * size, BlockBytes: size, Retire: 20 * time.Millisecond})
	for b := range blocks {
		send(t, from, to, fmt.Appendf(nil, "datagram %d", b))
		status := (*atomic.Uint32)(unsafe.Pointer(&h.ring.memory[b*size+blockStatus]))
		eventually(t, fmt.Sprintf("block %d closes with one packet in it", b), func() bool { return status.Load()&unix.TP_STATUS_USER != 0 })
	}
	if s := stats(t, h); s.Drops != 0 || s.Packets != blocks {
		t.Errorf("%+v before the ring is full", s)
	}
	send(t, from, to, []byte("one too many"))
	eventually(t, "it is dropped", func() bool { return stats(t, h).Drops == 1 })
	c := run(t, h)
	eventually(t, "all blocks are read", func() bool { return len(c.seen()) == blocks })
	send(t, from, to, []byte("and on"))
	eventually(t, "it goes on", func() bool { return len(c.with([]byte("and on"))) == 1 })
	c.stop(t)
}
