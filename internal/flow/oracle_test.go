package flow_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// The oracle knows what both ends sent and which segments passed the tap. It simulates a network that loses
// segments after the tap and sends them again with other boundaries, and a capture that loses, duplicates and
// reorders packets.

// network describes how bad network and capture are.
type network struct {
	lossy   int // after the tap, the network loses one segment in this many; 0: none
	dropped int // the capture loses one packet in this many; 0: none
	doubled int // the capture duplicates one packet in this many; 0: none
	jitter  time.Duration
	noSYN   bool // the capture starts in mid-stream
	oneSide bool // the responder's packets are not captured
	reset   bool // the responder ends with a RST
	isn     [2]uint32
}

// sent is a packet that passes the tap.
type sent struct {
	at    time.Time
	side  int
	h     headers
	begin int // offset of the payload in its stream
	seen  bool
	probe bool // a keep-alive probe: its byte does not belong to the stream
	keep  bool // the capture must not lose it
}

// talk is the conversation under construction.
type talk struct {
	r       *rand.Rand
	net     network
	now     time.Time
	truth   [2][]byte
	have    [2]int // how many bytes of each side's stream the other side has received
	packets []*sent
}

const (
	fin = 1 << iota
	syn
	rst
	psh
	ack
)

func (k *talk) packet(side int, flags uint8, begin int, payload []byte) {
	h := headers{src: a4, dst: b4, flags: flags, payload: payload, seq: k.net.isn[side] + 1 + uint32(begin)}
	if side == 1 {
		h.src, h.dst = b4, a4
	}
	if flags&syn != 0 {
		h.seq--
	}
	if flags&ack != 0 {
		h.ack = k.net.isn[1-side] + 1 + uint32(k.have[1-side])
	}
	k.packets = append(k.packets, &sent{at: k.now, side: side, h: h, begin: begin, seen: true})
	k.now = k.now.Add(time.Duration(50+k.r.IntN(100)) * time.Microsecond)
}

// say sends data from a side until all of it has arrived.
func (k *talk) say(side int, data []byte) {
	from := len(k.truth[side])
	k.truth[side] = append(k.truth[side], data...)
	all := k.truth[side]
	arrived := make([]bool, len(all))
	send := func(a, b int, again bool) {
		k.packet(side, ack|psh, a, all[a:b])
		if lost := k.net.lossy > 0 && k.r.IntN(k.net.lossy) == 0; !lost || again {
			for i := a; i < b; i++ {
				arrived[i] = true
			}
			for k.have[side] < len(all) && (k.have[side] < from || arrived[k.have[side]]) {
				k.have[side]++
			}
			if k.r.IntN(2) == 0 {
				k.packet(1-side, ack, len(k.truth[1-side]), nil)
			}
		}
	}

	for at := from; at < len(all); {
		n := min(1+k.r.IntN(1400), len(all)-at)
		send(at, at+n, false)
		at += n
	}
	for k.have[side] < len(all) { // after the sender's timeout: retransmissions have other boundaries and may start earlier
		k.now = k.now.Add(250 * time.Millisecond)
		a := max(0, k.have[side]-k.r.IntN(20))
		send(a, min(k.have[side]+1+k.r.IntN(2000), len(all)), true)
	}
	k.now = k.now.Add(2 * time.Millisecond)
	k.packet(1-side, ack, len(k.truth[1-side]), nil)
	if !k.net.oneSide && k.r.IntN(10) == 0 { // a keep-alive probe, with a byte of garbage
		k.now = k.now.Add(time.Second)
		k.packets[len(k.packets)-1].keep = true // without this packet the probe could not be distinguished from a forged byte
		k.packet(side, ack, len(all)-1, []byte{^all[len(all)-1]})
		k.packets[len(k.packets)-1].probe = true
		k.now = k.now.Add(2 * time.Millisecond)
	}
}

// make returns the packets as captured.
func (k *talk) make() []*sent {
	k.packet(0, syn, 0, nil)
	if k.r.IntN(4) == 0 {
		k.now = k.now.Add(time.Second)
		k.packet(0, syn, 0, nil)
	}
	k.packet(1, syn|ack, 0, nil)
	k.packet(0, ack, 0, nil)
	handshake := len(k.packets)
	for range 2 + k.r.IntN(8) {
		data := make([]byte, 1+k.r.IntN(6000))
		for i := range data {
			data[i] = byte(k.r.Uint32())
		}
		k.say(k.r.IntN(2), data)
	}

	k.packet(0, fin|ack, len(k.truth[0]), nil)
	if k.net.reset {
		k.packet(1, rst|ack, len(k.truth[1]), nil)
	} else {
		k.packet(1, fin|ack, len(k.truth[1]), nil)
	}
	for i, p := range k.packets {
		begin, end := i < handshake, p.h.flags&(fin|rst) != 0
		switch {
		case k.net.oneSide && p.side == 1, k.net.noSYN && begin:
			p.seen = false
		case k.net.dropped > 0 && !begin && !end && !p.keep:
			p.seen = k.r.IntN(k.net.dropped) > 0
		}
	}

	captured := slices.DeleteFunc(slices.Clone(k.packets), func(p *sent) bool { return !p.seen })
	for _, p := range captured {
		if k.net.doubled > 0 && k.r.IntN(k.net.doubled) == 0 {
			captured = append(captured, p)
		}
	}
	late := map[*sent]time.Time{}
	for _, p := range captured {
		late[p] = p.at.Add(time.Duration(k.r.Int64N(int64(k.net.jitter) + 1)))
	}
	if !k.net.noSYN {
		for _, p := range k.packets[:handshake] {
			late[p] = p.at
		}
	}
	slices.SortStableFunc(captured, func(a, b *sent) int { return late[a].Compare(late[b]) })
	return captured
}

// heard holds the bytes that a Table delivered from one connection.
type heard struct {
	t     testing.TB
	conn  flow.Conn
	got   [2][]byte // delivered bytes, with zeros for gaps
	there [2][]bool // which of these bytes were delivered
	gaps  int64
	ended int
}

func (h *heard) Data(c *flow.Conn, s *flow.Segment) {
	if next := int64(len(h.got[s.Side])); s.Offset != next+s.Gap || s.Gap < 0 {
		h.t.Fatalf("side %d: offset %d after %d, gap %d", s.Side, s.Offset, next, s.Gap)
	}
	h.gaps += s.Gap
	h.got[s.Side] = append(append(h.got[s.Side], make([]byte, s.Gap)...), s.Data...)
	h.there[s.Side] = append(h.there[s.Side], make([]bool, s.Gap)...)
	for range s.Data {
		h.there[s.Side] = append(h.there[s.Side], true)
	}
}
func (h *heard) Changed(*flow.Conn) {}
func (h *heard) End(c *flow.Conn, _ flow.EndReason) {
	h.conn = *c
	h.ended++
}

// check compares the delivered bytes with the sent and the captured ones: each captured byte is delivered at its
// offset, and all other bytes are gaps.
func (h *heard) check(k *talk, captured []*sent) error {
	var missed int64
	for side := range 2 {
		shift := int(int32(h.conn.Base(flow.Side(side)) - (k.net.isn[side] + 1)))
		truth := k.truth[side][min(max(shift, 0), len(k.truth[side])):]
		seen := make([]bool, 0, len(truth))
		for _, p := range captured {
			if p.side != side || p.probe || len(p.h.payload) == 0 && p.h.flags&(fin|rst) == 0 {
				continue
			}
			for end := p.begin + len(p.h.payload) - shift; len(seen) < end; {
				seen = append(seen, false)
			}
			for i := range p.h.payload {
				if at := p.begin + i - shift; at >= 0 {
					seen[at] = true
				}
			}
		}

		if len(h.got[side]) != len(seen) {
			return fmt.Errorf("side %d: %d bytes and gaps, want %d", side, len(h.got[side]), len(seen))
		}
		for i, there := range h.there[side] {
			if there != seen[i] || there && h.got[side][i] != truth[i] {
				return fmt.Errorf("side %d: byte %d: delivered %v, captured %v, %x, want %x", side, i, there, seen[i], h.got[side][i], truth[i])
			}
			if !there {
				missed++
			}
		}
	}

	switch {
	case h.ended != 1:
		return fmt.Errorf("%d connections", h.ended)
	case h.conn.Conflict:
		return fmt.Errorf("conflict")
	case h.gaps != missed || int64(h.conn.Orig.Missed+h.conn.Resp.Missed) != missed:
		return fmt.Errorf("gaps of %d bytes, missed %d, want %d", h.gaps, h.conn.Orig.Missed+h.conn.Resp.Missed, missed)
	}

	return nil
}

func TestAgainstOracle(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name string
		net  network
	}{
		{"clean", network{}},
		{"doubled", network{doubled: 3}},
		{"reordered", network{jitter: ms}},
		{"lossy network", network{lossy: 5}},
		{"lossy network, reordered and duplicated", network{lossy: 5, doubled: 5, jitter: ms}},
		{"lossy capture", network{dropped: 10}},
		{"lossy capture, reordered", network{dropped: 10, jitter: ms}},
		{"everything", network{lossy: 8, dropped: 8, doubled: 8, jitter: ms}},
		{"reset", network{lossy: 8, dropped: 8, doubled: 8, jitter: ms, reset: true}},
		{"one direction", network{doubled: 8, jitter: ms, oneSide: true}},
		{"one direction, lossy capture", network{dropped: 10, oneSide: true}},
		{"mid-stream", network{noSYN: true, dropped: 10}},
		{"one direction in mid-stream", network{noSYN: true, oneSide: true, dropped: 10}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(50) {
				r := rand.New(rand.NewPCG(seed, 9))
				c.net.isn = [2]uint32{r.Uint32(), ^uint32(0) - r.Uint32N(5000)}
				k := &talk{r: r, net: c.net, now: start}
				captured := k.make()
				h := &heard{t: t}
				table := flow.NewTable(flow.Config{}, h)
				for _, p := range captured {
					packet := packetOf(wire.LinkEthernet, p.h)
					packet.Time = p.at.UnixNano()
					table.Add(&packet)
				}
				table.Flush()
				if err := h.check(k, captured); err != nil {
					t.Errorf("seed %d: %v", seed, err)
				}
				if s := table.Stats(); s.Buffered != 0 {
					t.Errorf("seed %d: %d bytes are still buffered", seed, s.Buffered)
				}
			}
		})
	}
}
