package flow_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// FuzzDecode checks Decode for any frame. Decode does not panic, and the payload is part of the frame. For a
// truncated frame, Decode returns a part of the result for the whole frame, or none, but no different result. The
// highest bit of extra switches decapsulation on. The other bits are the number of bytes by which the frame was
// longer on the wire.
func FuzzDecode(f *testing.F) {
	frame := wrap(wire.LinkEthernet, (&headers{src: a4, dst: b4, flags: ack, payload: []byte("inside")}).ip(), 0)
	for _, tunneled := range [][]byte{
		ether(0x0800, outerUDP(4789, join([]byte{8, 0, 0, 0, 0, 0, 42, 0}, frame))),
		ether(0x0800, outerUDP(6081, join([]byte{2, 0, 8, 0, 0, 0, 42, 0}, make([]byte, 8), frame[14:]))),
		ether(0x0800, outer4(47, join([]byte{0xb0, 0, 0x65, 0x58}, make([]byte, 12), frame))),
		ether(0x8847, join([]byte{0, 2, 1, 64, 0, 0, 0, 0}, frame)),
		ether(0x8864, join([]byte{0x11, 0, 0, 1, 0, 0, 0, 0x21}, outer4(4, frame[14:]))),
	} {
		f.Add(tunneled, uint16(wire.LinkEthernet), uint16(1<<15))
	}

	f.Fuzz(func(t *testing.T, data []byte, link, extra uint16) {
		p := flow.Packet{Data: data, Length: len(data) + int(extra&0x7fff), Link: wire.LinkType(link), Decapsulate: extra>>15 != 0}
		var whole, cut flow.Decoded
		ok := flow.Decode(&p, &whole)
		if ok != (whole.Reason == flow.Decodable) || ok && whole.Transport != 6 && whole.Transport != 17 {
			t.Fatalf("%v: %+v", ok, whole)
		}
		if !ok && (whole.SrcPort != 0 || whole.DstPort != 0 || whole.Payload != nil) {
			t.Fatalf("ports or payload without a header: %+v", whole)
		}
		if len(whole.Payload) > whole.PayloadLen || whole.PayloadLen > p.Length || len(whole.Payload) > len(data) {
			t.Fatalf("%d of %d bytes of payload in a frame of %d", len(whole.Payload), whole.PayloadLen, p.Length)
		}
		for _, n := range []int{len(data) - 1, len(data) * 3 / 4, len(data) / 2} {
			if n < 0 {
				continue
			}
			p.Data = data[:n]
			if !flow.Decode(&p, &cut) {
				if ok && cut.Reason != flow.Truncated {
					t.Fatalf("truncated to %d of %d bytes: %v", n, len(data), cut.Reason)
				}
				continue
			}
			if !ok || cut.Src != whole.Src || cut.Dst != whole.Dst || cut.SrcPort != whole.SrcPort || cut.DstPort != whole.DstPort ||
				cut.Seq != whole.Seq || cut.Flags != whole.Flags || cut.PayloadLen != whole.PayloadLen && !mayBePadding(&whole, &cut) {
				t.Fatalf("truncated to %d of %d bytes:\n%+v\n%+v", n, len(data), cut, whole)
			}
		}
	})
}

// mayBePadding reports whether two results for a frame differ only because of padding: only the whole frame shows that
// its last bytes are padding (see padded).
func mayBePadding(whole, cut *flow.Decoded) bool {
	return whole.PayloadLen == 0 && whole.Transport == 6 && (cut.PayloadLen == 2 || cut.PayloadLen == 6) && len(cut.Payload) < cut.PayloadLen
}

// FuzzTable adds any frames to a small table. Each frame is described by two bytes for its length, two for its
// metadata, and its bytes.
func FuzzTable(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte, link uint16) {
		g := newGather(t)
		const conns, buffered = 4, 8192
		table := flow.NewTable(flow.Config{MaxConns: conns, MaxBuffered: buffered, MaxBufferedPerSide: 2048, MaxRecent: 1, Loopback: func(i uint16) bool { return i == 1 }}, g)
		now := start.UnixNano()
		for len(b) > 4 {
			n := min(int(binary.BigEndian.Uint16(b)), len(b)-4)
			p := flow.Packet{Time: now, Data: b[4 : 4+n], Length: n + int(b[2]&3), Link: wire.LinkType(link), Interface: uint16(b[2] >> 7)}
			now += int64(b[3]) * int64(10*time.Millisecond)
			table.Add(&p)
			if s := table.Stats(); table.Len() > conns || s.Buffered > buffered {
				t.Fatalf("out of bounds: %d connections, %d bytes", table.Len(), s.Buffered)
			}
			b = b[4+n:]
		}
		table.Flush()
		if s := table.Stats(); table.Len() != 0 || s.Buffered != 0 || int(s.Created) != len(g.ended)+int(s.Excluded) {
			t.Fatalf("something is left: %+v, %d ended", s, len(g.ended))
		}
	})
}

// FuzzSegments adds segments of one connection, each described by eight bytes. Their payload follows from their
// sequence numbers. Each delivered byte must be the one that belongs to its offset.
func FuzzSegments(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		b = b[:min(len(b), 8*100)]
		g := &numbered{t: t}
		table := flow.NewTable(flow.Config{MaxBuffered: 64 << 10, MaxBufferedPerSide: 16 << 10}, g)
		at := start
		for ; len(b) >= 8; b = b[8:] {
			side := int(b[0] & 1)
			h := headers{src: client, dst: server, flags: b[0] >> 1 & 0x1f, seq: base(side) + uint32(binary.BigEndian.Uint16(b[1:])), ack: base(1-side) + uint32(binary.BigEndian.Uint16(b[3:]))}
			if side == 1 {
				h.src, h.dst = h.dst, h.src
			}
			h.payload = make([]byte, int(binary.BigEndian.Uint16(b[5:])&0x7ff))
			for i := range h.payload {
				h.payload[i] = number(side, h.seq+uint32(h.flags&syn)>>1+uint32(i))
			}
			p := packetOf(wire.LinkEthernet, h)
			at = at.Add(time.Duration(b[7]) * time.Duration(b[7]) * time.Millisecond / 16)
			p.Time = at.UnixNano()
			table.Add(&p)
		}

		table.Flush()
		if s := table.Stats(); s.Buffered != 0 || s.MaxBuffered > 64<<10 {
			t.Fatalf("%+v", s)
		}
	})
}

// base returns an initial sequence number near the maximum, so that the numbers wrap.
func base(side int) uint32 { return ^uint32(0) - 0x2000 + uint32(side)*0x1000 }

// number returns the byte that belongs to a sequence number.
func number(side int, seq uint32) byte {
	x := (seq + uint32(side)<<31) * 2654435761
	return byte(x>>24) ^ byte(x>>8)
}

type numbered struct {
	t    *testing.T
	next map[*flow.Conn]*[2]int64
}

func (n *numbered) Data(c *flow.Conn, s *flow.Segment) {
	if n.next == nil {
		n.next = map[*flow.Conn]*[2]int64{}
	}
	if n.next[c] == nil {
		n.next[c] = &[2]int64{}
	}
	if want := n.next[c][s.Side] + s.Gap; s.Offset != want {
		n.t.Fatalf("side %d: offset %d, want %d", s.Side, s.Offset, want)
	}
	n.next[c][s.Side] = s.Offset + int64(len(s.Data))
	side := int(s.Side)
	if c.Orig.Port != client.Port() {
		side ^= 1
	}
	for i, x := range s.Data {
		seq := c.Base(s.Side) + uint32(s.Offset) + uint32(i)
		if want := number(side, seq); x != want {
			n.t.Fatalf("side %d: byte %d is %x, want %x", s.Side, s.Offset+int64(i), x, want)
		}
	}
}
func (n *numbered) Changed(*flow.Conn) {}
func (n *numbered) End(c *flow.Conn, _ flow.EndReason) {
	if end := n.next[c]; end != nil && uint64(end[0]+end[1]) < c.Orig.Missed+c.Resp.Missed {
		n.t.Fatalf("streams of %d bytes lack %d and %d", *end, c.Orig.Missed, c.Resp.Missed)
	}
	delete(n.next, c)
}

// The seed corpus in testdata/fuzz contains a packet of each kind for FuzzDecode and a few conversations for FuzzTable.
// `go test -update` writes it again.
func TestFuzzCorpus(t *testing.T) {
	corpus := map[string]string{}
	put := func(target, name string, args ...any) {
		text := "go test fuzz v1\n"
		for _, a := range args {
			switch a := a.(type) {
			case []byte:
				text += fmt.Sprintf("[]byte(%q)\n", a)
			case uint16:
				text += fmt.Sprintf("uint16(%d)\n", a)
			}
		}

		corpus[filepath.Join("testdata", "fuzz", target, name)] = text
	}

	for _, k := range kinds {
		put("FuzzDecode", strings.ReplaceAll(k.name, " ", "_"), wrap(k.link, k.h.ip(), k.h.trailer, k.tags...), uint16(k.link), uint16(0))
	}
	for name, steps := range map[string][]step{
		"order":  after(step{flags: "PA", seq: 1, ack: 1, data: "GET"}, step{server: true, flags: "PA", seq: 1, ack: 4, data: "HTTP"}, step{flags: "FA", seq: 4, ack: 5}, step{server: true, flags: "FA", seq: 5, ack: 5}),
		"gap":    after(step{flags: "PA", seq: 9, ack: 1, data: "later"}, step{flags: "PA", seq: 3, ack: 1, data: "sooner"}, step{server: true, flags: "A", seq: 1, ack: 14}, step{flags: "FA", seq: 14, ack: 1}),
		"reset":  after(step{flags: "PA", seq: 4, ack: 1, data: "data"}, step{server: true, flags: "RA", seq: 9, ack: 1}),
		"mid":    {step{flags: "PA", seq: 7, ack: 7, data: "abc"}, step{server: true, flags: "PA", seq: 7, ack: 10, data: "def"}, step{flags: "S", seq: 99}},
		"forged": after(step{flags: "FA", seq: 1, ack: 1}, step{flags: "PA", seq: 1, ack: 1, data: "abc"}, step{flags: "PA", seq: 2, ack: 1, data: "xyz"}),
		"anyhow": {step{server: true, flags: "SA", ack: 1}, step{flags: "S", data: "early"}, step{server: true, flags: "S", seq: 5}, step{flags: "R"}},
	} {
		var frames, segments []byte
		for i, s := range steps {
			p := s.packet(client, server)
			frames = append(binary.BigEndian.AppendUint16(frames, uint16(len(p.Data)-14)), 0, byte(i))
			frames = append(frames, p.Data[14:]...)
			flags := p.Data[14+20+13] << 1
			if s.server {
				flags |= 1
			}
			segments = binary.BigEndian.AppendUint16(append(segments, flags), uint16(s.seq))
			segments = binary.BigEndian.AppendUint16(segments, uint16(s.ack))
			segments = append(binary.BigEndian.AppendUint16(segments, uint16(len(s.data))), 4)
		}

		put("FuzzTable", name, frames, uint16(wire.LinkRaw))
		put("FuzzSegments", name, segments)
	}

	for path, text := range corpus {
		if *update {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}

		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%s differs from the generated file (go test -update writes it): %v", path, err)
		}
	}
}
