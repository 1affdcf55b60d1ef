package flow_test

import (
	"encoding/binary"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// jumbogram returns an IPv6 packet of h with a jumbo payload option (RFC 2675). off is added to the length in the
// option.
func jumbogram(h headers, off int) []byte {
	h.extensions = nil
	ip := h.ip()
	option := []byte{ip[6], 0, 0xc2, 4, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(option[4:], uint32(len(ip)-40+len(option)+off))
	out := append([]byte(nil), ip[:40]...)
	out[4], out[5], out[6] = 0, 0, 0
	return append(append(out, option...), ip[40:]...)
}

// TestJumbogram: packets are truncated at 2 KiB, as by the filter. A packet of more than 64 KiB has the length in its
// jumbo payload option, or the frame's length if it has no option. A packet that its receiver drops counts as
// malformed.
func TestJumbogram(t *testing.T) {
	noLength := func(h headers) []byte {
		ip := h.ip()
		if h.src.Addr().Is4() {
			ip[2], ip[3] = 0, 0
		} else {
			ip[4], ip[5] = 0, 0
		}
		return summed(ip) // with correct TCP checksums, which are verified if the packet is not truncated
	}

	for name, c := range map[string]struct {
		ip    []byte
		open  bool // the checksums are unverified
		bytes int  // payload bytes, -1 for a malformed packet
	}{
		"with the option":             {jumbogram(headers{src: a6, dst: b6, flags: ack, payload: make([]byte, 180_000)}, 0), false, 180_000},
		"and a trailer":               {jumbogram(headers{src: a6, dst: b6, flags: ack, payload: make([]byte, 180_000)}, -100), false, 179_900},
		"longer than the frame":       {jumbogram(headers{src: a6, dst: b6, flags: ack, payload: make([]byte, 180_000)}, 1), false, -1},
		"an option for a short one":   {jumbogram(headers{src: a6, dst: b6, flags: ack, payload: make([]byte, 1000)}, 0), false, -1},
		"without the option":          {noLength(headers{src: a6, dst: b6, flags: ack, payload: make([]byte, 180_000)}), true, 180_000},
		"IPv4":                        {noLength(headers{src: a4, dst: b4, flags: ack, payload: make([]byte, 180_000)}), true, 180_000},
		"a short one":                 {noLength(headers{src: a6, dst: b6, flags: ack, payload: make([]byte, 1000)}), true, -1},
		"a short one of IPv4":         {noLength(headers{src: a4, dst: b4, flags: ack, payload: make([]byte, 1000)}), true, -1},
		"a short one from a file":     {noLength(headers{src: a6, dst: b6, flags: ack, payload: make([]byte, 1000)}), false, 1000},
		"a short one from a file, v4": {noLength(headers{src: a4, dst: b4, flags: ack, payload: make([]byte, 1000)}), false, 1000},
	} {
		table := flow.NewTable(flow.Config{}, newGather(t))
		p := flow.Packet{Data: wrap(wire.LinkEthernet, c.ip, 0), Link: wire.LinkEthernet}
		if c.open {
			p.Checksum = flow.ChecksumUnverified
		}
		p.Length = len(p.Data)
		p.Data = p.Data[:min(len(p.Data), 2<<10)]
		table.Add(&p)
		got, s := -1, table.Stats()
		table.Each(func(c *flow.Conn) { got = int(c.Orig.Bytes + c.Resp.Bytes) })
		if got != c.bytes || s.BadChecksums > 0 || s.Undecoded[flow.Malformed] == 1 != (c.bytes < 0) {
			t.Errorf("%s: %d bytes, want %d: %+v", name, got, c.bytes, s)
		}
	}
}

// TestJumbogramsInOrder: in a connection with truncated segments of more than 64 KiB, each byte counts exactly once.
func TestJumbogramsInOrder(t *testing.T) {
	const size, n = 180_000, 40
	table := flow.NewTable(flow.Config{}, newGather(t))
	a, b := a6, b6
	add := func(ip []byte, origin flow.Origin) {
		p := flow.Packet{Data: wrap(wire.LinkEthernet, ip, 0), Link: wire.LinkEthernet, Time: start.UnixNano(), Origin: origin, Checksum: flow.ChecksumTrusted}
		p.Length = len(p.Data)
		p.Data = p.Data[:min(len(p.Data), 1<<10)]
		table.Add(&p)
	}

	scale := []byte{3, 3, 9, 0}
	add((&headers{src: a, dst: b, flags: syn, seq: 99, options: scale}).ip(), flow.OriginArrived)
	add((&headers{src: b, dst: a, flags: syn | ack, seq: 499, ack: 100, options: scale}).ip(), flow.OriginSent)
	add((&headers{src: a, dst: b, flags: ack, seq: 100, ack: 500}).ip(), flow.OriginArrived)
	for k := range uint32(n) {
		add(jumbogram(headers{src: a, dst: b, flags: ack, seq: 100 + size*k, ack: 500, payload: make([]byte, size)}, 0), flow.OriginArrived)
		add((&headers{src: b, dst: a, flags: ack, seq: 500, ack: 100 + size*(k+1)}).ip(), flow.OriginSent)
	}
	s := table.Stats()
	table.Each(func(c *flow.Conn) {
		if c.Orig.Bytes != size*n || c.Orig.Missed+c.Resp.Missed+c.Resp.Bytes > 0 || s.Unacceptable+s.Gaps+s.GapBytes > 0 {
			t.Errorf("%d bytes, %d missed: %+v", c.Orig.Bytes, c.Orig.Missed, s)
		}
	})
	if s.Created != 1 {
		t.Errorf("%d connections", s.Created)
	}
}
