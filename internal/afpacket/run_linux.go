package afpacket

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// countEvery is the number of blocks after which the kernel's counters are read, so that they never
// wrap. Compared with reading the packets of so many blocks, the call costs nothing.
const countEvery = 4096

// While the interface is down, it is examined after recheckFirst, and then at intervals that double
// up to recheckLast.
const (
	recheckFirst = 20 * time.Millisecond
	recheckLast  = time.Second
)

// errRun is the error of a second Run.
var errRun = errors.New("Run was called twice")

// Run calls block for each block of packets, in order, until Close. The block returns to the
// kernel when the callback returns. While the callback runs, packets wait in the ring; when
// the ring is full, further packets are dropped and counted.
//
// After Close, Run stops the arrival of packets, passes on all packets in the ring and returns
// nil. If the interface is deleted or leaves the network namespace, Run passes on the packets
// in the ring and returns an error that wraps ErrNoInterface. If the interface goes down, Run
// continues: packets arrive again when it is up (see Stats). When Run has returned, the Handle
// is closed. Closing the socket waits for the kernel, about 20 ms, and up to a second on an
// overloaded machine.
func (h *Handle) Run(block func(*Block)) error {
	h.mu.Lock()
	if h.phase != opened {
		ok := h.closing.Load() && h.phase == ended
		h.mu.Unlock()
		if ok {
			return nil
		}
		return &OpError{Interface: h.device.name, Op: "run", Err: errRun}
	}
	h.phase = running
	h.mu.Unlock()
	defer h.end()

	err := h.receive(block)
	h.drain(block)
	return err
}

// end releases ring and socket.
func (h *Handle) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closing.Store(true)
	_ = h.release() // nobody can act on an error
}

// receive passes blocks on. It returns nil after Close. If no more packets can arrive, it returns
// the cause.
func (h *Handle) receive(block func(*Block)) error {
	for !h.closing.Load() {
		if h.ring.ready() {
			h.pass(block)
			continue
		}
		if err := h.wait(); err != nil {
			return err
		}
	}
	return nil
}

// pass calls the callback with the next block, and then returns the block to the kernel.
func (h *Handle) pass(block func(*Block)) {
	b := &h.block
	b.reset(h.ring.current())
	b.early = h.ring.status().Load()&unix.TP_STATUS_BLK_TMO != 0
	h.passed += uint64(b.left)
	block(b)
	if b.malformed {
		h.statsMu.Lock()
		h.totals.Malformed++
		h.statsMu.Unlock()
	}

	b.data, b.left = nil, 0
	h.ring.release()
	if h.blocks++; h.blocks%countEvery == 0 {
		_, _ = h.Stats() // callers of Stats get the error again
	}
}

// wait returns nil in three cases: a block may be ready, Close was called, or it has examined an
// interface that is down. It returns an error if no more packets can arrive.
func (h *Handle) wait() error {
	err := h.raw.Read(h.poll)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		if h.closing.Load() {
			return nil
		}
		return h.examine()
	case err != nil:
		return &OpError{Interface: h.device.name, Op: "wait for packets", Err: err}
	case h.found == unix.ENETDOWN:
		h.setDown(true)
		h.recheck = recheckFirst
		return h.examine()
	case h.found != 0:
		return &OpError{Interface: h.device.name, Op: "receive", Err: h.found}
	}
	return nil
}

// poll reports whether wait can stop waiting. It can if a block is ready, or if the socket has an
// error, which poll stores in found. The runtime's poller calls poll before it waits and each time
// that the kernel wakes it.
func (h *Handle) poll(fd uintptr) bool {
	h.found = 0
	if h.ring.ready() {
		return true
	}
	h.found = socketError(int(fd))
	return h.found != 0
}

// examine checks an interface that was down. If the interface is deleted, it returns an error. If
// the interface is still down, it sets the time of the next check. If the interface is up again,
// the kernel continues the capture by itself.
func (h *Handle) examine() error {
	var gone, up bool
	var err error
	if e := h.raw.Control(func(fd uintptr) { gone, up, err = interfaceState(int(fd), h.device.index) }); e != nil {
		err = e
	}
	switch {
	case err != nil:
		return &OpError{Interface: h.device.name, Op: "check the interface", Err: err}
	case gone:
		return &OpError{Interface: h.device.name, Op: "receive", Err: ErrNoInterface, Advice: "it was deleted or moved: open it again when it exists"}
	case up:
		h.setDown(false)
		h.arm(time.Time{})
	default:
		h.arm(time.Now().Add(h.recheck))
		h.recheck = min(2*h.recheck, recheckLast)
	}
	return nil
}

// arm sets the deadline at which wait returns. If Close was called, arm does not change the
// deadline that Close has set.
func (h *Handle) arm(deadline time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closing.Load() {
		_ = h.socket.SetReadDeadline(deadline) // cannot fail, because an earlier call in Open succeeded
	}
}

func (h *Handle) setDown(down bool) {
	h.statsMu.Lock()
	defer h.statsMu.Unlock()
	h.totals.Down = down
	if down {
		h.totals.Downs++
	}
}

// drain stops the arrival of packets, passes on all packets in the ring, and makes the totals
// final. The kernel closes the block that it is filling only after the retire timeout. The kernel's
// counters show how many packets are still in the ring.
func (h *Handle) drain(block func(*Block)) {
	h.stop()
	deadline := time.Now().Add(4*h.retire + time.Second) // one retire timeout usually suffices
	for {
		for h.ring.ready() {
			h.pass(block)
		}
		if h.finalizeStats(time.Now().After(deadline)) {
			return
		}
		_ = h.socket.SetReadDeadline(deadline) // repeated in each iteration, because Close may have changed it
		_ = h.raw.Read(h.poll)
	}
}

// stop stops the arrival of packets for good.
func (h *Handle) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.detached = true
	_ = h.raw.Control(func(fd uintptr) { detach(int(fd)) })
}

// finalizeStats makes the totals final if every packet was passed on or dropped. If now is true, it
// makes them final in any case, and packets that are still in the ring count as dropped. It reports
// whether the totals are final.
func (h *Handle) finalizeStats(now bool) bool {
	h.statsMu.Lock()
	defer h.statsMu.Unlock()
	if h.final {
		return true
	}

	err := h.count()
	lost := int64(h.totals.Packets - h.totals.Drops - h.passed)
	if err == nil && lost > 0 && !now {
		return false
	}
	h.totals.Drops += uint64(max(lost, 0))
	h.final = true
	return true
}
