package flow_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// fragment describes an IP fragment: the bytes [from, to) of the datagram.
type fragment struct {
	from, to int
	last     bool
	other    bool // the fragment's bytes differ from the datagram's
}

// fragmentOf returns a fragment of a datagram as a packet.
func fragmentOf(from, to netip.AddrPort, id uint16, proto byte, body []byte, c fragment) flow.Packet {
	data := slices.Clone(body[c.from:c.to])
	if c.other {
		for i := range data {
			data[i] ^= 0xff
		}
	}
	var ip []byte
	if from.Addr().Is4() {
		word := uint16(c.from / 8)
		if !c.last {
			word |= 0x2000
		}
		ip = append([]byte{0x45, 0}, binary.BigEndian.AppendUint16(nil, uint16(20+len(data)))...)
		ip = binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(ip, id), word)
		ip = append(ip, 64, proto, 0, 0)
	} else {
		word := uint16(c.from &^ 7)
		if !c.last {
			word |= 1
		}
		ip = append([]byte{0x60, 0, 0, 0}, binary.BigEndian.AppendUint16(nil, uint16(8+len(data)))...)
		ip = append(ip, 44, 64)
		data = append(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16([]byte{proto, 0}, word), uint32(id)), data...)
	}

	ip = append(append(ip, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	b := wrap(wire.LinkEthernet, append(ip, data...), 0)
	return flow.Packet{Data: b, Length: len(b), Link: wire.LinkEthernet, Time: start.UnixNano()}
}

// carried returns a UDP header and payload.
func carried(from, to netip.AddrPort, payload string) []byte {
	b, _ := (&headers{src: from, dst: to, udp: true, payload: []byte(payload)}).transport()
	return b
}

// TestFragments: datagrams are reassembled as in Linux.
func TestFragments(t *testing.T) {
	const payload = "0123456789abcdefghijklmnopqrstuv" // 40 bytes with the header
	whole := "[c0 " + payload + " end S0]"
	for _, c := range []struct {
		name    string
		cuts    []fragment
		want    string
		dropped uint64 // number of fragments
		only    int    // only for IP version 4 or 6; 0: for both
	}{
		{"in order", []fragment{{0, 16, false, false}, {16, 24, false, false}, {24, 40, true, false}}, whole, 0, 0},
		{"backwards", []fragment{{24, 40, true, false}, {16, 24, false, false}, {0, 16, false, false}}, whole, 0, 0},
		{"of eight bytes", []fragment{{0, 8, false, false}, {8, 16, false, false}, {32, 40, true, false}, {16, 24, false, false}, {24, 32, false, false}}, whole, 0, 0},
		{"one is repeated", []fragment{{0, 16, false, false}, {0, 16, false, false}, {0, 8, false, true}, {16, 40, true, false}}, whole, 0, 0},
		{"one is missing", []fragment{{0, 16, false, false}, {24, 40, true, false}}, "[]", 2, 0},
		{"the first is missing", []fragment{{16, 40, true, false}}, "[]", 1, 0},
		{"overlap", []fragment{{0, 16, false, false}, {8, 24, false, true}, {24, 40, true, false}, {16, 24, false, false}}, "[]", 4, 0},
		{"overlap, then complete", []fragment{{0, 16, false, false}, {8, 24, false, true}, {0, 16, false, false}, {16, 40, true, false}}, whole, 2, 0},
		{"two ends", []fragment{{24, 40, true, false}, {16, 24, true, false}, {0, 16, false, false}}, "[]", 3, 0},
		{"beyond the end", []fragment{{8, 16, true, false}, {16, 24, false, false}}, "[]", 2, 0},
		{"a middle fragment of odd size", []fragment{{0, 12, false, false}, {8, 40, true, false}}, whole, 0, 4},
		{"a middle fragment of odd size, dropped in IPv6", []fragment{{0, 12, false, false}, {0, 16, false, false}, {16, 40, true, false}}, whole, 0, 6},
		{"empty", []fragment{{0, 0, false, false}}, "[]", 1, 0},
	} {
		for version, ends := range map[int][2]netip.AddrPort{4: {client, server}, 6: {a6, b6}} {
			if c.only != 0 && c.only != version {
				continue
			}
			g := newGather(t)
			table := flow.NewTable(flow.Config{}, g)
			for _, x := range c.cuts {
				p := fragmentOf(ends[0], ends[1], 7, 17, carried(ends[0], ends[1], payload), x)
				table.Add(&p)
			}
			table.Flush()
			if s := table.Stats(); sprint(g.log) != c.want || s.Fragments != uint64(len(c.cuts)) || s.Undecoded[flow.LaterFragment] != c.dropped {
				t.Errorf("%s, IPv%d: %v, %d of %d fragments dropped", c.name, version, g.log, s.Undecoded[flow.LaterFragment], s.Fragments)
			}
		}
	}
}

// Fragments of different datagrams are not combined, and they are dropped as early as in Linux. TCP segments are
// reassembled too.
func TestFragmentsApart(t *testing.T) {
	g := newGather(t)
	table := flow.NewTable(flow.Config{}, g)
	add := func(id uint16, at time.Duration, body []byte, c fragment) {
		p := fragmentOf(client, server, id, 17, body, c)
		p.Time += int64(at)
		table.Add(&p)
	}
	one, two := carried(client, server, "the first one"), carried(client, server, "the other one")
	add(1, 0, one, fragment{0, 16, false, false})
	add(2, 0, two, fragment{0, 16, false, false})
	add(2, 0, two, fragment{16, 21, true, false})
	add(1, 29*time.Second, one, fragment{16, 21, true, false})
	add(3, 30*time.Second, one, fragment{0, 16, false, false})
	add(3, 60*time.Second, one, fragment{16, 21, true, false})
	h := headers{src: client, dst: server, flags: syn, seq: 5}
	body, _ := h.transport()
	for _, c := range []fragment{{0, 8, false, false}, {8, 20, true, false}} {
		p := fragmentOf(client, server, 4, 6, body, c)
		table.Add(&p)
	}
	if s := table.Stats(); sprint(g.log) != "[c0 the other one c13 the first one]" || s.Reassembled != 3 || s.Created != 2 || s.Undecoded[flow.LaterFragment] != 1 {
		t.Errorf("%v, %+v", g.log, s)
	}
}

// A truncated first fragment is decoded as far as possible. Foreign fragments are not buffered.
func TestFragmentsNotTaken(t *testing.T) {
	g := newGather(t)
	table := flow.NewTable(flow.Config{Local: func(a netip.Addr) bool { return a == server.Addr() }}, g)
	body := carried(client, server, strings.Repeat("x", 100))
	for i, c := range []fragment{{0, 64, false, false}, {64, 108, true, false}} {
		p := fragmentOf(client, server, 7, 17, body, c)
		p.Data = p.Data[:len(p.Data)-20]
		table.Add(&p)
		p = fragmentOf(client, client, uint16(8+i), 17, body, c)
		p.Origin = flow.OriginArrived
		table.Add(&p)
	}
	table.Flush()
	s := table.Stats()
	if sprint(g.log) != "[c0 "+strings.Repeat("x", 36)+" end S0]" || !g.ended[0].Fragments || s.Undecoded[flow.LaterFragment] != 1 || s.Foreign != 2 {
		t.Errorf("%v, %+v, %+v", g.log, g.ended, s)
	}
}

// TestFragmentsAreBounded: incomplete datagrams use bounded memory, and the datagrams of one source use only a
// part of that.
func TestFragmentsAreBounded(t *testing.T) {
	for name, source := range map[string]func(i int) netip.AddrPort{
		"one source": func(int) netip.AddrPort { return client },
		"many sources": func(i int) netip.AddrPort {
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}), 5)
		},
	} {
		g := newGather(t)
		table := flow.NewTable(flow.Config{}, g)
		body := make([]byte, 60000)
		for i := range 20000 {
			n := 8 * (1 + i%170)
			at := 8 * (i % 5000)
			p := fragmentOf(source(i), server, uint16(i), 17, body, fragment{at, at + n, false, false})
			if table.Add(&p); table.FragmentBytes() > 1<<20 || name == "one source" && table.FragmentBytes() > 1<<17 {
				t.Fatalf("%s: %d bytes after %d fragments", name, table.FragmentBytes(), i)
			}
		}

		honest := carried(b4, server, "still heard")
		for _, c := range []fragment{{0, 8, false, false}, {8, 19, true, false}} {
			p := fragmentOf(b4, server, 7, 17, honest, c)
			table.Add(&p)
		}
		if !slices.Contains(g.log, "c0 still heard") {
			t.Errorf("%s: %v", name, g.log)
		}
		table.Flush()
		if s := table.Stats(); table.FragmentBytes() != 0 || s.Undecoded[flow.LaterFragment] != 20000 {
			t.Errorf("%s: %d bytes are left, %+v", name, table.FragmentBytes(), s.Undecoded)
		}
	}
}

// FuzzFragments: fragments of one datagram, in any order and with any bounds, never cause a panic, take bounded memory,
// and deliver no invented bytes.
func FuzzFragments(f *testing.F) {
	f.Add([]byte{0, 2, 0, 2, 3, 1})
	f.Add([]byte{2, 3, 1, 0, 2, 0, 1, 2, 0})
	body := carried(client, server, strings.Repeat("0123456789abcdefghijklmnopqrstuvwxyz", 20))
	f.Fuzz(func(t *testing.T, b []byte) {
		all := b
		for _, ends := range [][2]netip.AddrPort{{client, server}, {a6, b6}} {
			b = all
			whole := carried(ends[0], ends[1], string(body[8:]))
			g := newGather(t)
			table := flow.NewTable(flow.Config{}, g)
			for ; len(b) >= 3; b = b[3:] {
				from := min(int(b[0])*8, len(whole)/8*8)
				to := min(from+int(b[1])*8+int(b[2]>>4), len(whole))
				p := fragmentOf(ends[0], ends[1], uint16(b[2]>>1&1), 17, whole, fragment{from, to, b[2]&1 != 0, b[2]&4 != 0})
				table.Add(&p)
			}
			table.Flush()
			if s := table.Stats(); table.FragmentBytes() != 0 || s.Reassembled > s.Fragments {
				t.Errorf("%d bytes are left, %+v", table.FragmentBytes(), s)
			}
		}
	})
}

// The decoder follows a chain of IPv6 extension headers to its end, as Linux does.
func TestManyExtensions(t *testing.T) {
	for _, n := range []int{0, 9, 12, 60, 80} {
		for _, udp := range []bool{true, false} {
			h := headers{src: a6, dst: b6, udp: udp, flags: ack | psh, seq: 1, ack: 1, extensions: bytes.Repeat([]byte{60}, n), payload: []byte("password=hunter2")}
			g := newGather(t)
			table := flow.NewTable(flow.Config{}, g)
			p := packetOf(wire.LinkEthernet, h)
			if table.Add(&p); !strings.Contains(fmt.Sprint(g.log), "password=hunter2") {
				t.Errorf("%d headers, udp %v: %v, %+v", n, udp, g.log, table.Stats().Undecoded)
			}
		}
	}
}

// Packets of other transports are counted. If they are between other hosts, they count as foreign.
func TestOtherTransports(t *testing.T) {
	table := flow.NewTable(flow.Config{Local: func(a netip.Addr) bool { return a == server.Addr() }}, newGather(t))
	for _, to := range []netip.AddrPort{server, client} {
		p := fragmentOf(client, to, 7, 132, make([]byte, 40), fragment{0, 40, true, false})
		p.Origin = flow.OriginArrived
		table.Add(&p)
	}
	if s := table.Stats(); s.Undecoded[flow.OtherTransport] != 1 || s.Foreign != 1 {
		t.Errorf("%+v", s)
	}
}
