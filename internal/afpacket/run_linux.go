package afpacket

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// countEvery is after how many blocks the kernel's counters are read, so that they never
// wrap. Next to the packets in the blocks the call costs nothing.
const countEvery = 4096

// While the interface is down it is looked at after the first of these, then twice as
// late each time, up to the second.
const (
	recheckFirst = 20 * time.Millisecond
	recheckLast  = time.Second
)

// errRun is the error of a second Run.
var errRun = errors.New("Run was called twice")

// Run calls block for each block of packets, in order, until Close. The block goes back
// to the kernel when the callback returns: while it runs, packets wait in the ring, and
// are dropped and counted when that is full.
//
// After Close, Run stops the arrival of packets, hands on all that is in the ring and
// returns nil. When the interface is deleted or leaves the network namespace it hands on
// what is in the ring and returns an error that wraps ErrNoInterface. An interface that
// goes down ends nothing: packets come again when it is up (see Stats). When Run has
// returned the Handle is closed. Giving the socket back waits for the kernel: some 20 ms,
// up to a second on a machine that is overloaded.
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

// end gives everything back.
func (h *Handle) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closing.Store(true)
	_ = h.release() // nothing can be done about it
}

// receive hands blocks on until Close (nil) or until nothing more can come.
func (h *Handle) receive(block func(*Block)) error {
	for !h.closing.Load() {
		if h.ring.ready() {
			h.hand(block)
			continue
		}
		if err := h.wait(); err != nil {
			return err
		}
	}
	return nil
}

// hand gives the next block to the callback and then back to the kernel.
func (h *Handle) hand(block func(*Block)) {
	b := &h.block
	b.reset(h.ring.current())
	b.early = h.ring.status().Load()&unix.TP_STATUS_BLK_TMO != 0
	h.handed += uint64(b.left)
	block(b)
	if b.malformed {
		h.statsMu.Lock()
		h.totals.Malformed++
		h.statsMu.Unlock()
	}
	b.data, b.left = nil, 0
	h.ring.release()
	if h.blocks++; h.blocks%countEvery == 0 {
		_, _ = h.Stats() // an error would come again where somebody asks
	}
}

// wait returns when a block may be ready, when Close was called, when the interface is to
// be looked at again, and with an error when nothing more can come.
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

// poll is asked by the poller whether it is time to go on: before it waits, and each time
// the kernel wakes it.
func (h *Handle) poll(fd uintptr) bool {
	h.found = 0
	if h.ring.ready() {
		return true
	}
	h.found = socketError(int(fd))
	return h.found != 0
}

// examine looks at an interface that was found down: gone, still down (then it sets when
// to look again) or up. The kernel takes up the capture by itself when it is up again.
func (h *Handle) examine() error {
	var gone, up bool
	var err error
	if e := h.raw.Control(func(fd uintptr) { gone, up, err = standing(int(fd), h.device.index) }); e != nil {
		err = e
	}
	switch {
	case err != nil:
		return &OpError{Interface: h.device.name, Op: "look at the interface", Err: err}
	case gone:
		return &OpError{Interface: h.device.name, Op: "receive", Err: ErrNoInterface, Advice: "it was deleted or moved: open it again when it is there"}
	case up:
		h.setDown(false)
		h.arm(time.Time{})
	default:
		h.arm(time.Now().Add(h.recheck))
		h.recheck = min(2*h.recheck, recheckLast)
	}
	return nil
}

// arm sets when wait returns at the latest, unless Close has already set that.
func (h *Handle) arm(deadline time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closing.Load() {
		_ = h.socket.SetReadDeadline(deadline) // Open saw it work
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

// drain stops the arrival of packets and hands on what is in the ring. The block that is
// still being filled is closed by the kernel after the retire timeout: how many packets
// are to come is known from the kernel's count of them. Then the totals are final.
func (h *Handle) drain(block func(*Block)) {
	h.stop()
	giveUp := time.Now().Add(4*h.retire + time.Second) // of which one timeout is needed
	for {
		for h.ring.ready() {
			h.hand(block)
		}
		if h.finalizeStats(time.Now().After(giveUp)) {
			return
		}
		_ = h.socket.SetReadDeadline(giveUp) // each time: Close may have set it in between
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

// finalizeStats makes the totals final when every packet was handed on or dropped, or when told
// to: what is in the ring then is lost, and counted so.
func (h *Handle) finalizeStats(now bool) bool {
	h.statsMu.Lock()
	defer h.statsMu.Unlock()
	if h.final {
		return true
	}
	err := h.count()
	lost := int64(h.totals.Packets - h.totals.Drops - h.handed)
	if err == nil && lost > 0 && !now {
		return false
	}
	h.totals.Drops += uint64(max(lost, 0))
	h.final = true
	return true
}
