package flow_test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// sumOf returns the ones' complement checksum of b (RFC 1071). It adds two bytes at a time.
func sumOf(b []byte) uint16 {
	sum := uint32(0)
	for i := range b {
		sum += uint32(b[i]) << (8 * (1 - i%2))
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// summed fills in the checksums of an IP packet without extension headers, and returns it.
func summed(ip []byte) []byte {
	header, proto, addresses := 40, ip[6], ip[8:min(40, len(ip))]
	if ip[0]>>4 == 4 {
		header, proto, addresses = int(ip[0]&15)*4, ip[9], ip[12:20]
		binary.BigEndian.PutUint16(ip[10:], 0)
		binary.BigEndian.PutUint16(ip[10:], sumOf(ip[:header]))
	}
	inner, at := ip[header:], 16
	if proto == 17 {
		at = 6
	}
	binary.BigEndian.PutUint16(inner[at:], 0)
	pseudo := append(slices.Clone(addresses), 0, proto)
	pseudo = binary.BigEndian.AppendUint16(pseudo, uint16(len(inner)))
	sum := sumOf(append(pseudo, inner...))
	if sum == 0 && proto == 17 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(inner[at:], sum)
	return ip
}

// TestChecksums: a packet with unverified checksums counts only if they are correct.
func TestChecksums(t *testing.T) {
	text := []byte("GET / HTTP/1.1\r\n\r\n")
	for name, h := range map[string]headers{
		"tcp4":              {src: a4, dst: b4, flags: ack, payload: text},
		"tcp4, odd length":  {src: a4, dst: b4, flags: ack, payload: text[1:]},
		"tcp4 with options": {src: a4, dst: b4, flags: ack, options: make([]byte, 12), ipOptions: []byte{1, 1, 1, 0}, payload: text},
		"tcp4, padded":      {src: a4, dst: b4, flags: ack, payload: text[:1], trailer: 5},
		"tcp6":              {src: a6, dst: b6, flags: ack, payload: text},
		"tcp6, large":       {src: a6, dst: b6, flags: ack, payload: slices.Repeat(text, 400)},
		"udp4":              {src: a4, dst: b4, udp: true, payload: text},
		"udp6, odd length":  {src: a6, dst: b6, udp: true, payload: text[1:]},
	} {
		t.Run(name, func(t *testing.T) {
			for _, c := range []struct {
				name  string
				spoil int // byte to change, counted from the end of the IP packet; 0: none
				sum   flow.Checksum
				snap  int // bytes that the snap length removes
				taken bool
			}{
				{"correct", 0, flow.ChecksumUnverified, 0, true},
				{"wrong", 1, flow.ChecksumUnverified, 0, false},
				{"wrong in the header", len(h.payload) + 1, flow.ChecksumUnverified, 0, false}, // TCP's urgent pointer or UDP's checksum
				{"wrong, trusted", 1, flow.ChecksumTrusted, 0, true},
				{"wrong in a file", 1, flow.ChecksumUnknown, 0, true},
				{"wrong and truncated", 2, flow.ChecksumUnverified, 1 + h.trailer, true},
			} {
				ip := summed(h.ip())
				if c.spoil > 0 {
					ip[len(ip)-c.spoil] ^= 0x55
				}
				data := wrap(wire.LinkEthernet, ip, h.trailer)
				table := flow.NewTable(flow.Config{}, newGather(t))
				table.Add(&flow.Packet{Data: data[:len(data)-c.snap], Length: len(data), Link: wire.LinkEthernet, Checksum: c.sum})
				if s := table.Stats(); s.Created != 1 != !c.taken || s.BadChecksums != 0 != !c.taken {
					t.Errorf("%s: %d connections, %d packets dropped", c.name, s.Created, s.BadChecksums)
				}
			}
		})
	}

	for name, c := range map[string]struct {
		options []byte
		spoil   int // byte of the header to change; 0: none
		refused bool
	}{
		"time to live":                {nil, 8, true},
		"no operation":                {[]byte{1, 1, 1, 0}, 0, false},
		"a timestamp":                 {[]byte{68, 4, 5, 0}, 0, false},
		"a loose route":               {[]byte{1, 131, 7, 4, 10, 0, 0, 1}, 0, true},
		"a strict route":              {[]byte{137, 3, 4, 0}, 0, true},
		"a length of zero":            {[]byte{7, 0, 0, 0}, 0, true},
		"a length beyond the options": {[]byte{7, 5, 4, 0}, 0, true},
		"no length":                   {[]byte{1, 1, 1, 7}, 0, true},
	} {
		for _, sum := range []flow.Checksum{flow.ChecksumUnverified, flow.ChecksumTrusted, flow.ChecksumUnknown} { // checksum states of TCP: the table verifies the IPv4 header in any case
			ip := summed((&headers{src: a4, dst: b4, flags: ack, ipOptions: c.options, payload: text}).ip())
			if c.spoil > 0 {
				ip[c.spoil]--
			}
			table := flow.NewTable(flow.Config{}, newGather(t))
			table.Add(&flow.Packet{Data: wrap(wire.LinkEthernet, ip, 0), Link: wire.LinkEthernet, Checksum: sum})
			refused := c.refused && sum != flow.ChecksumUnknown
			if s := table.Stats(); s.Created == 0 != refused || s.BadChecksums+s.Undecoded[flow.Malformed] == 1 != refused {
				t.Errorf("%s, %d: %+v", name, sum, s)
			}
		}
	}

	t.Run("none", func(t *testing.T) {
		for _, h := range []headers{{src: a4, dst: b4, udp: true}, {src: a6, dst: b6, udp: true}} {
			ip := summed(h.ip())
			ip[len(ip)-2], ip[len(ip)-1] = 0, 0
			table := flow.NewTable(flow.Config{}, newGather(t))
			table.Add(&flow.Packet{Data: wrap(wire.LinkEthernet, ip, 0), Link: wire.LinkEthernet, Checksum: flow.ChecksumUnverified})
			if s := table.Stats(); s.Created != 1 {
				t.Errorf("%+v", s)
			}
		}
	})
}

// TestChecksumOfEachLength checks segments and datagrams of each length up to 80 bytes of payload: with the right checksum, and with
// each byte of the addresses, ports and payload changed in turn. No word of the addresses is 0 or 0xffff, which add nothing to a sum.
func TestChecksumOfEachLength(t *testing.T) {
	src, dst := netip.MustParseAddrPort("[2001:db8:1:203:405:607:809:a0b]:50001"), netip.MustParseAddrPort("[fd12:3456:789a:bcde:f012:3456:789a:bcd1]:8443")
	payload := make([]byte, 80)
	for i := range payload {
		payload[i] = byte(i*i + 7)
	}
	for _, h := range []headers{{src: a4, dst: b4, flags: ack}, {src: src, dst: dst, flags: ack}, {src: a4, dst: b4, udp: true}, {src: src, dst: dst, udp: true}} {
		for n := range payload {
			h.payload = payload[:n]
			ip := summed(h.ip())
			addresses, header := 12, 20
			if ip[0]>>4 == 6 {
				addresses, header = 8, 40
			}
			for i := addresses - 1; i < len(ip); i++ {
				b := slices.Clone(ip)
				changed := i >= addresses
				if changed {
					b[i] ^= 1 << (i % 8)
				}
				table := flow.NewTable(flow.Config{}, newGather(t))
				table.Add(&flow.Packet{Data: wrap(wire.LinkEthernet, b, 0), Link: wire.LinkEthernet, Checksum: flow.ChecksumUnverified})
				if s := table.Stats(); s.Created != 0 == changed {
					t.Fatalf("header of %d bytes, UDP %v, payload of %d bytes, byte %d changed %v: %+v", header, h.udp, n, i, changed, s)
				}
			}
		}
	}
}

// TestChecksumOfFragments: the checksum covers the whole datagram.
func TestChecksumOfFragments(t *testing.T) {
	for _, spoil := range []bool{false, true} {
		ip := summed((&headers{src: a4, dst: b4, udp: true, payload: []byte("a query of 24 bytes here")}).ip())
		if spoil {
			ip[len(ip)-1]++
		}
		table := flow.NewTable(flow.Config{}, newGather(t))
		for i, part := range [][]byte{ip[20:36], ip[36:]} {
			f := append(append([]byte(nil), ip[:20]...), part...)
			binary.BigEndian.PutUint16(f[2:], uint16(len(f)))
			binary.BigEndian.PutUint16(f[6:], [...]uint16{0x2000, 2}[i])
			binary.BigEndian.PutUint16(f[10:], 0)
			binary.BigEndian.PutUint16(f[10:], sumOf(f[:20]))
			table.Add(&flow.Packet{Data: wrap(wire.LinkEthernet, f, 0), Link: wire.LinkEthernet, Checksum: flow.ChecksumUnverified})
		}
		if s := table.Stats(); s.Created == 1 == spoil || s.BadChecksums == 1 != spoil || s.Reassembled != 1 {
			t.Errorf("spoiled %t: %+v", spoil, s)
		}
	}
}

// checked adds steps as packets with unverified checksums. The checksum of a step is wrong if bad returns true for it.
func checked(table *flow.Table, bad func(i int, s step) bool, steps ...step) {
	for i, s := range steps {
		p := s.packet(client, server)
		summed(p.Data[14:])
		if bad(i, s) {
			p.Data[14+20+16] ^= 0x55
		}
		p.Time, p.Checksum, p.Origin = start.UnixNano()+int64(i)*1e6, flow.ChecksumUnverified, flow.OriginArrived
		if s.server {
			p.Origin = flow.OriginSent
		}
		table.Add(&p)
	}
}

// TestForgedChecksums: packets that the receiver drops neither deliver bytes nor end a connection.
func TestForgedChecksums(t *testing.T) {
	ask := step{flags: "PA", seq: 1, ack: 1, data: "GET"}
	more := step{flags: "PA", seq: 4, ack: 1, data: "more"}
	for name, forged := range map[string]step{
		"text":                    {flags: "PA", seq: 4, ack: 1, data: "text of another"},
		"a FIN":                   {flags: "FA", seq: 4, ack: 1},
		"a RST":                   {flags: "R", seq: 4},
		"a SYN":                   {flags: "S", seq: 77777},
		"far ahead":               {flags: "PA", seq: 60000, ack: 1, data: "text"},
		"forged acknowledgements": {flags: "A", seq: 4, ack: 60000},
		"from the server":         {server: true, flags: "RA", seq: 1, ack: 4},
	} {
		g := newGather(t)
		table := flow.NewTable(flow.Config{}, g)
		checked(table, func(i int, _ step) bool { return i == 4 }, after(ask, forged, more, step{server: true, flags: "A", seq: 1, ack: 8})...)
		table.Flush()
		if got := strings.Join(g.log, ", "); got != "c0 GET, c3 more, end S1" || table.Stats().BadChecksums != 1 || g.ended[0].Conflict {
			t.Errorf("%s: %s, %+v", name, got, table.Stats())
		}
	}
}

// TestDirectionWithoutChecksums: packets with wrong checksums count if no checksum of their direction is ever correct
// and the receiver acknowledges them. After one correct checksum they no longer count.
func TestDirectionWithoutChecksums(t *testing.T) {
	table := flow.NewTable(flow.Config{}, newGather(t))
	wrong := func(_ int, s step) bool { return !s.server }
	var steps []step
	seq := uint32(1)
	for range 6 {
		steps = append(steps, step{flags: "PA", seq: seq, ack: 1, data: "text"}, step{server: true, flags: "A", seq: 1, ack: seq + 4})
		seq += 4
	}
	checked(table, wrong, after(steps...)...)
	if s := table.Stats(); s.BadChecksums != 4 || s.UnverifiedChecksums != 4 {
		t.Errorf("%+v", s)
	}
	checked(table, func(int, step) bool { return false }, step{flags: "PA", seq: seq, ack: 1, data: "good"})
	checked(table, wrong, step{flags: "PA", seq: seq + 4, ack: 1, data: "evil"})
	if s := table.Stats(); s.BadChecksums != 5 || s.UnverifiedChecksums != 4 {
		t.Errorf("verification stays off: %+v", s)
	}

	// Packets with wrong checksums that nobody acknowledges do not switch verification off.
	table = flow.NewTable(flow.Config{}, newGather(t))
	checked(table, wrong, slices.Repeat(steps[:1], 1000)...)
	if s := table.Stats(); s.BadChecksums != 1000 || s.Created > 0 {
		t.Errorf("%+v", s)
	}
}
