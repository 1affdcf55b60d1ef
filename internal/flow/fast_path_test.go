package flow_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// usualPackets returns packets for the fast path, followed by similar packets that the fast path must leave to the
// slow path. taken is the number of packets for the fast path.
func usualPackets() (packets []flow.Packet, taken int) {
	timestamps := []byte{1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}
	plain := headers{src: a4, dst: b4, flags: ack, seq: 7, ack: 9, payload: []byte("inside")}
	long, stamped, push, bare := plain, plain, plain, plain
	long.payload = make([]byte, 1000)
	stamped.payload, stamped.options = []byte("insides"), timestamps
	push.flags, push.payload = ack|psh, []byte("four")
	bare.payload = nil
	for _, h := range []headers{long, stamped, push, bare} {
		packets = append(packets, packetOf(wire.LinkEthernet, h))
	}
	taken = len(packets)
	for _, change := range []func(h *headers){
		func(h *headers) { h.options = []byte{1, 1, 19, 18} },
		func(h *headers) { h.options = append([]byte{1, 30, 8, 10}, timestamps[4:]...) },
		func(h *headers) { h.ipOptions = []byte{1, 1, 1, 1} },
		func(h *headers) { h.moreFragment = true },
		func(h *headers) { h.fragment = 4 },
		func(h *headers) { h.udp = true },
		func(h *headers) { h.src, h.dst = a6, b6 },
		func(h *headers) { h.payload = []byte{0, 0} },
		func(h *headers) { h.payload = make([]byte, 6) },
	} {
		h := plain
		change(&h)
		packets = append(packets, packetOf(wire.LinkEthernet, h))
	}

	return append(packets, packetOf(wire.LinkRaw, plain)), taken
}

// The fast path decodes a packet with the same result as the slow path, or leaves the packet to the slow path. The
// packets include damaged, truncated and padded ones.
func TestFastDecode(t *testing.T) {
	packets, taken := usualPackets()
	for i := range packets {
		ok, same := flow.FastDecode(&packets[i])
		if ok != (i < taken) || ok && !same {
			t.Errorf("packet %d: taken %v, same %v", i, ok, same)
		}
		for at := range min(len(packets[i].Data), 70) {
			for _, b := range []byte{0, 1, 0x20, 0x40, 0x45, 0x50, 0x80, 0xff} {
				p := packets[i]
				p.Data = slices.Clone(p.Data)
				p.Data[at] = b
				for _, p.Length = range []int{len(p.Data) - 1, len(p.Data), len(p.Data) + 1000} {
					if ok, same := flow.FastDecode(&p); ok && !same {
						t.Fatalf("packet %d with %#x at %d, %d bytes long: the results differ", i, b, at, p.Length)
					}
				}
			}
		}

		for n := range len(packets[i].Data) {
			p := packets[i]
			p.Data = p.Data[:n]
			if ok, same := flow.FastDecode(&p); ok && !same {
				t.Fatalf("packet %d truncated to %d bytes: the results differ", i, n)
			}
		}
	}
}

func FuzzFastDecode(f *testing.F) {
	packets, _ := usualPackets()
	for _, p := range packets {
		f.Add(p.Data, uint8(0), uint16(0))
	}
	f.Fuzz(func(t *testing.T, data []byte, how uint8, longer uint16) {
		p := flow.Packet{Data: data, Length: len(data) + int(longer), Link: wire.LinkEthernet, Decapsulate: how&4 != 0, Checksum: flow.Checksum(how & 3 % 3), Zone: flow.Zone(how >> 3)}
		if ok, same := flow.FastDecode(&p); ok && !same {
			t.Fatalf("the results differ: %+v", p)
		}
	})
}

// callLog is a Handler that records all calls, and the table's state of the connection at each call. Each of its
// decisions determines whether a call of Data calls Done, Undone or neither.
type callLog struct {
	table     *flow.Table
	decisions []byte
	log       []string
}

func (r *callLog) note(c *flow.Conn, what string) {
	r.log = append(r.log, fmt.Sprintf("%s of %s, undelivered %v %v, with %+v", what, flow.StateString(c), c.Undelivered(flow.Originator), c.Undelivered(flow.Responder), r.table.Stats()))
}

func (r *callLog) Data(c *flow.Conn, s *flow.Segment) {
	r.note(c, fmt.Sprintf("%+v", *s))
	if len(r.decisions) == 0 {
		return
	}
	switch b := r.decisions[0]; {
	case b < 16:
		r.table.Done(c, b < 8)
	case b < 20:
		r.table.Undone(c)
	}
	r.decisions = r.decisions[1:]
}

func (r *callLog) Changed(c *flow.Conn) { r.note(c, "change") }

func (r *callLog) End(c *flow.Conn, why flow.EndReason) { r.note(c, fmt.Sprint("end ", why)) }

// chat adds segments of one connection to a table, each described by eight bytes of b, and returns the calls of the
// Handler. Most segments are the next ones of their side. If the two ports are equal, the fast path is not used.
func chat(b []byte, clientPort uint16) []string {
	r := &callLog{}
	r.table = flow.NewTable(flow.Config{MaxBuffered: 64 << 10, MaxBufferedPerSide: 16 << 10, MaxRecent: 1}, r)
	r.decisions = b[:len(b)/8]
	ends := [2]netip.AddrPort{netip.AddrPortFrom(client.Addr(), clientPort), netip.AddrPortFrom(server.Addr(), 3000)}
	next, at := [2]uint32{0xfffffff0, 100}, start
	flags := [...]uint8{ack, ack | psh, ack, ack | psh, ack, ack | fin, syn, syn | ack, ack | rst, rst, 0, ack | 1<<5, ack | 1<<6}
	apart := [...]uint32{1, ^uint32(0), 40, ^uint32(49), 300, ^uint32(29), 1, ^uint32(0)}
	for ; len(b) >= 8; b = b[8:] {
		side := int(b[0] & 1)
		h := headers{src: ends[side], dst: ends[1-side], seq: next[side], ack: next[1-side], flags: ack}
		if b[1] > 200 {
			h.flags = flags[int(b[1])%len(flags)]
		}
		switch {
		case b[2] > 250:
			h.seq += uint32(b[2]) << 22
		case b[2] > 225:
			h.seq += apart[int(b[2])%len(apart)]
		}
		if b[3] > 200 {
			h.ack += apart[int(b[3])%len(apart)]
		}
		h.payload = slices.Repeat([]byte{byte(h.seq>>4) ^ b[4]>>7}, [...]int{0, 1, 2, 6, 30, 50}[b[4]%6])
		if b[5] > 240 {
			h.options = []byte{1, 1, 19, 18}
		}
		p := packetOf(wire.LinkEthernet, h)
		binary.BigEndian.PutUint16(p.Data[48:], uint16(b[5])<<4)
		if b[6] > 240 && len(h.payload) > 0 {
			p.Data = p.Data[:len(p.Data)-1]
		}
		if b[7] > 250 {
			p.Zone = 1
		}
		at = at.Add(time.Duration(b[7]) * time.Duration(b[7]) * time.Millisecond / 64)
		p.Time = at.UnixNano()
		r.table.Add(&p)
		if end := h.seq + uint32(len(h.payload)) + uint32(h.flags&1|h.flags>>1&1); int32(end-next[side]) > 0 && b[2] <= 250 {
			next[side] = end
		}
	}

	r.table.Flush()
	return r.log
}

// compareChats fails if the fast path's calls differ from the slow path's.
func compareChats(t *testing.T, b []byte) {
	t.Helper()
	short, long := chat(b, 2000), chat(b, 3000)
	for i := range max(len(short), len(long)) {
		if i >= len(short) || i >= len(long) || short[i] != long[i] {
			t.Fatalf("%x: call %d of %d and %d:\n%s\n%s", b, i, len(short), len(long), get(short, i), get(long, i))
		}
	}
}

func get(s []string, i int) string {
	if i < len(s) {
		return s[i]
	}
	return "none"
}

// The fast path processes a segment with the same results as the slow path.
func TestFastPath(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 16))
	for range 1500 {
		b := make([]byte, 8*(4+r.IntN(40)))
		for i := range b {
			if b[i] = byte(r.Uint32()); i%8 != 0 && r.IntN(4) > 0 { // usual values
				b[i] %= 128
			}
		}
		if r.IntN(3) > 0 { // with a handshake
			copy(b, []byte{0, 214, 0, 0, 0, 200, 0, 1, 1, 215, 0, 0, 0, 200, 0, 1, 0, 0, 0, 0, 0, 200, 0, 1})
		}
		compareChats(t, b)
	}
}

func FuzzFastPath(f *testing.F) {
	f.Add([]byte{0, 214, 0, 0, 0, 200, 0, 1, 1, 215, 0, 0, 0, 200, 0, 1, 0, 0, 0, 0, 30, 200, 0, 1, 1, 0, 0, 0, 0, 200, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) { compareChats(t, b[:min(len(b), 8*100)]) })
}
