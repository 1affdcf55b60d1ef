package flow_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

var (
	a4 = netip.MustParseAddrPort("10.1.2.3:40000")
	b4 = netip.MustParseAddrPort("192.168.200.1:443")
	a6 = netip.MustParseAddrPort("[fd00::1:2]:50001")
	b6 = netip.MustParseAddrPort("[2001:db8::ffff]:8443")
)

// kinds are packets of every kind that the decoder supports.
var kinds = []struct {
	name string
	link wire.LinkType
	tags []tag
	h    headers
}{
	{"ethernet ipv4 tcp", wire.LinkEthernet, nil, headers{src: a4, dst: b4, seq: 1, ack: 2, flags: 0x18, payload: []byte("hello")}},
	{"ethernet ipv6 tcp", wire.LinkEthernet, nil, headers{src: a6, dst: b6, seq: 1 << 31, flags: 2}},
	{"ethernet ipv4 udp", wire.LinkEthernet, nil, headers{src: a4, dst: b4, udp: true, payload: []byte("query")}},
	{"ethernet ipv6 udp", wire.LinkEthernet, nil, headers{src: b6, dst: a6, udp: true, payload: []byte("answer")}},
	{"padding", wire.LinkEthernet, nil, headers{src: a4, dst: b4, flags: 0x10, trailer: 6}},
	{"tcp options", wire.LinkEthernet, nil, headers{src: a4, dst: b4, flags: 0x12, options: []byte{2, 4, 5, 0xb4, 1, 3, 3, 7}, payload: []byte("x")}},
	{"ipv4 options", wire.LinkEthernet, nil, headers{src: a4, dst: b4, flags: 0x10, ipOptions: []byte{148, 4, 0, 0, 1}, payload: []byte("x")}},
	{"vlan", wire.LinkEthernet, []tag{vlan}, headers{src: a4, dst: b4, flags: 0x10, payload: []byte("x")}},
	{"qinq", wire.LinkEthernet, []tag{qinq, vlan}, headers{src: a6, dst: b6, flags: 0x10, payload: []byte("x")}},
	{"qinq before 802.1ad", wire.LinkEthernet, []tag{{0x9100, 4}, vlan}, headers{src: a4, dst: b4, udp: true, payload: []byte("x")}},
	{"cisco metadata", wire.LinkEthernet, []tag{cmd}, headers{src: a4, dst: b4, flags: 0x10, payload: []byte("x")}},
	{"cooked", wire.LinkSLL, nil, headers{src: a4, dst: b4, flags: 0x10, payload: []byte("x")}},
	{"cooked vlan", wire.LinkSLL, []tag{vlan}, headers{src: a6, dst: b6, flags: 0x10, payload: []byte("x")}},
	{"cooked v2", wire.LinkSLL2, nil, headers{src: a6, dst: b6, flags: 0x10, payload: []byte("x")}},
	{"null", wire.LinkNull, nil, headers{src: a4, dst: b4, flags: 0x10, payload: []byte("x")}},
	{"null ipv6", wire.LinkNull, nil, headers{src: a6, dst: b6, flags: 0x10, payload: []byte("x")}},
	{"loop", wire.LinkLoop, nil, headers{src: a4, dst: b4, flags: 0x10, payload: []byte("x")}},
	{"raw", wire.LinkRaw, nil, headers{src: a4, dst: b4, flags: 0x10, payload: []byte("x")}},
	{"raw ipv6", wire.LinkRaw, nil, headers{src: a6, dst: b6, udp: true, payload: []byte("x")}},
	{"ipv4", wire.LinkIPv4, nil, headers{src: a4, dst: b4, flags: 0x10, payload: []byte("x")}},
	{"ipv6", wire.LinkIPv6, nil, headers{src: a6, dst: b6, flags: 0x10, payload: []byte("x")}},
	{"hop by hop", wire.LinkEthernet, nil, headers{src: a6, dst: b6, extensions: []byte{0}, flags: 0x10, payload: []byte("x")}},
	{"all extensions", wire.LinkEthernet, nil, headers{src: a6, dst: b6, extensions: []byte{0, 60, 43, 44, 60}, flags: 0x10, payload: []byte("x")}},
	{"authentication", wire.LinkEthernet, nil, headers{src: a6, dst: b6, extensions: []byte{51}, udp: true, payload: []byte("x")}},
	{"authentication over ipv4", wire.LinkEthernet, nil, headers{src: a4, dst: b4, extensions: []byte{51}, flags: 0x10, payload: []byte("x")}},
	{"first fragment", wire.LinkEthernet, nil, headers{src: a4, dst: b4, moreFragment: true, flags: 0x10, payload: []byte("part of it")}},
}

// packetOf returns a packet with the given headers and tags.
func packetOf(link wire.LinkType, h headers, tags ...tag) flow.Packet {
	data := wrap(link, h.ip(), h.trailer, tags...)
	return flow.Packet{Data: data, Length: len(data), Link: link}
}

// says returns an error if d contradicts h.
func says(d *flow.Decoded, h *headers) error {
	transport := uint8(6)
	if h.udp {
		transport = 17
	}
	src, dst := netip.AddrFrom16(d.Src), netip.AddrFrom16(d.Dst)
	if !d.IPv6 {
		src, dst = netip.AddrFrom4([4]byte(d.Src[:4])), netip.AddrFrom4([4]byte(d.Dst[:4]))
	}
	switch {
	case d.Reason != flow.Decodable:
		return fmt.Errorf("reason %v", d.Reason)
	case src != h.src.Addr() || dst != h.dst.Addr():
		return fmt.Errorf("%v > %v", src, dst)
	case d.SrcPort != h.src.Port() || d.DstPort != h.dst.Port() || d.Transport != transport:
		return fmt.Errorf("transport %d, ports %d > %d", d.Transport, d.SrcPort, d.DstPort)
	case d.Seq != h.seq || d.Ack != h.ack || d.Flags != h.flags:
		return fmt.Errorf("seq %d ack %d flags %x", d.Seq, d.Ack, d.Flags)
	case d.PayloadLen != len(h.payload) || !bytes.HasPrefix(h.payload, d.Payload):
		return fmt.Errorf("payload %q of %d bytes", d.Payload, d.PayloadLen)
	case d.Fragment != h.moreFragment:
		return fmt.Errorf("fragment %v", d.Fragment)
	}
	return nil
}

func TestDecode(t *testing.T) {
	for _, k := range kinds {
		p := packetOf(k.link, k.h, k.tags...)
		var d flow.Decoded
		if ok := flow.Decode(&p, &d); !ok {
			t.Errorf("%s: %v", k.name, d.Reason)
		} else if err := says(&d, &k.h); err != nil {
			t.Errorf("%s: %v", k.name, err)
		} else if len(d.Payload) != d.PayloadLen {
			t.Errorf("%s: %d bytes of payload", k.name, len(d.Payload))
		}
	}
}

// A packet that is truncated at any byte is decoded correctly, or reported as truncated.
func TestDecodeTruncations(t *testing.T) {
	for _, k := range kinds {
		p := packetOf(k.link, k.h, k.tags...)
		for n := range p.Data {
			cut := p
			cut.Data = p.Data[:n:n]
			var d flow.Decoded
			if flow.Decode(&cut, &d) {
				if err := says(&d, &k.h); err != nil {
					t.Errorf("%s truncated to %d of %d bytes: %v", k.name, n, len(p.Data), err)
				}
			} else if d.Reason != flow.Truncated || d.SrcPort != 0 || d.DstPort != 0 {
				t.Errorf("%s truncated to %d of %d bytes: %v, ports %d > %d", k.name, n, len(p.Data), d.Reason, d.SrcPort, d.DstPort)
			}
			// No receiver accepts a frame that ends here, unless only padding is missing.
			cut.Length = n
			if flow.Decode(&cut, &d) && n < len(p.Data)-k.h.trailer {
				t.Errorf("%s: a frame of %d bytes is decoded, although its IP header claims more", k.name, n)
			}
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	change := func(at int, to ...byte) func([]byte) []byte {
		return func(b []byte) []byte { copy(b[at:], to); return b }
	}
	v4 := headers{src: a4, dst: b4, flags: 0x10, payload: []byte("hello")}
	v6 := headers{src: a6, dst: b6, flags: 0x10, payload: []byte("hello")}
	udp := headers{src: a4, dst: b4, udp: true, payload: []byte("hello")}
	later := headers{src: a4, dst: b4, fragment: 100, payload: []byte("hello")}
	for _, c := range []struct {
		name   string
		link   wire.LinkType
		h      headers
		change func([]byte) []byte
		want   flow.Reason
	}{
		{"arp", wire.LinkEthernet, v4, change(12, 8, 6), flow.OtherNetwork},
		{"802.3 length", wire.LinkEthernet, v4, change(12, 0, 60), flow.OtherNetwork},
		{"icmp", wire.LinkEthernet, v4, change(14+9, 1), flow.OtherTransport},
		{"esp", wire.LinkEthernet, v6, change(14+6, 50), flow.OtherTransport},
		{"no next header", wire.LinkEthernet, v6, change(14+6, 59), flow.OtherTransport},
		{"later fragment", wire.LinkEthernet, later, nil, flow.LaterFragment},
		{"link type", 999, v4, nil, flow.UnknownLink},
		{"raw version", wire.LinkRaw, v4, change(0, 0x55), flow.OtherNetwork},
		{"ethertype and version differ", wire.LinkEthernet, v4, change(12, 0x86, 0xdd), flow.Malformed},
		{"version and ethertype differ", wire.LinkEthernet, v6, change(12, 8, 0), flow.Malformed},
		{"ipv4 header length", wire.LinkEthernet, v4, change(14, 0x44), flow.Malformed},
		{"ipv4 total below header", wire.LinkEthernet, v4, change(16, 0, 19), flow.Malformed},
		{"ipv4 total beyond the frame", wire.LinkEthernet, v4, change(16, 0, 200), flow.Malformed},
		{"ipv4 total ends in the tcp header", wire.LinkEthernet, v4, change(16, 0, 39), flow.Malformed},
		{"ipv6 length beyond the frame", wire.LinkEthernet, v6, change(18, 0, 200), flow.Malformed},
		{"ipv6 length ends in the tcp header", wire.LinkEthernet, v6, change(18, 0, 19), flow.Malformed},
		{"tcp header length below 20", wire.LinkEthernet, v4, change(14+20+12, 0x40), flow.Malformed},
		{"tcp header length beyond the packet", wire.LinkEthernet, v4, change(14+20+12, 0xf0), flow.Malformed},
		{"udp length below 8", wire.LinkEthernet, udp, change(14+20+4, 0, 7), flow.Malformed},
		{"udp length 0 over ipv4", wire.LinkEthernet, udp, change(14+20+4, 0, 0), flow.Malformed},
		{"udp length beyond the packet", wire.LinkEthernet, udp, change(14+20+4, 0, 99), flow.Malformed},
	} {
		p := packetOf(c.link, c.h)
		if c.change != nil {
			p.Data = c.change(p.Data)
		}
		var d flow.Decoded
		if flow.Decode(&p, &d) || d.Reason != c.want || d.SrcPort != 0 {
			t.Errorf("%s: %v, want %v", c.name, d.Reason, c.want)
		}
	}

	for r := range flow.UnknownLink + 1 {
		if name := r.String(); name == "" || len(flow.Stats{}.Undecoded) != int(flow.UnknownLink)+1 {
			t.Errorf("reason %d has no name", r)
		}
	}
	tags := make([]tag, 9)
	for i := range tags {
		tags[i] = vlan
	}
	p := packetOf(wire.LinkEthernet, v4, tags...)
	var d flow.Decoded
	if flow.Decode(&p, &d) || d.Reason != flow.Malformed {
		t.Errorf("nine tags: %v", d.Reason)
	}
}

// Segmentation offload shows frames whose length does not fit into the IP header.
func TestDecodeOffloaded(t *testing.T) {
	for _, h := range []headers{{src: a4, dst: b4}, {src: a6, dst: b6}} {
		h.flags, h.payload = 0x10, make([]byte, 100000)
		p := packetOf(wire.LinkEthernet, h)
		if h.src.Addr().Is4() {
			p.Data[16], p.Data[17] = 0, 0
		} else {
			p.Data[18], p.Data[19] = 0, 0
		}
		p.Data = p.Data[:200]
		var d flow.Decoded
		if !flow.Decode(&p, &d) || d.PayloadLen != 100000 || len(d.Payload) == 0 {
			t.Errorf("%v: %v, %d of %d bytes", h.src, d.Reason, len(d.Payload), d.PayloadLen)
		}
	}
}

// randomHeaders returns headers of a packet that gopacket decodes too.
func randomHeaders(r *rand.Rand) headers {
	h := headers{seq: r.Uint32(), ack: r.Uint32(), flags: uint8(r.UintN(256)), udp: r.IntN(3) == 0}
	h.payload = make([]byte, r.IntN(100))
	for i := range h.payload {
		h.payload[i] = byte(r.Uint32())
	}
	port := func() uint16 { return uint16(1 + r.UintN(65535)) }
	if r.IntN(2) == 0 {
		var a, b [4]byte
		for i := range a {
			a[i], b[i] = byte(r.Uint32()), byte(r.Uint32())
		}
		h.src, h.dst = netip.AddrPortFrom(netip.AddrFrom4(a), port()), netip.AddrPortFrom(netip.AddrFrom4(b), port())
		for range r.IntN(4) {
			h.ipOptions = append(h.ipOptions, 1, 1, 1, 1)
		}
	} else {
		var a, b [16]byte
		for i := range a {
			a[i], b[i] = byte(r.Uint32()), byte(r.Uint32())
		}
		h.src, h.dst = netip.AddrPortFrom(netip.AddrFrom16(a), port()), netip.AddrPortFrom(netip.AddrFrom16(b), port())
		if r.IntN(2) == 0 {
			h.extensions = append(h.extensions, 0)
		}
		if r.IntN(3) == 0 {
			h.extensions = append(h.extensions, 60)
		}
	}

	if h.udp {
		h.seq, h.ack, h.flags = 0, 0, 0
	} else {
		for range r.IntN(10) {
			h.options = append(h.options, 1, 1, 1, 1)
		}
	}

	if len(h.extensions) == 0 { // gopacket takes padding after a hop-by-hop header for payload
		h.trailer = r.IntN(3) * 4
	}
	return h
}

// The decoder and gopacket agree on well-formed packets.
func TestDecodeAgreesWithGopacket(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	links := []struct {
		link wire.LinkType
		as   gopacket.Decoder
	}{
		{wire.LinkEthernet, layers.LayerTypeEthernet},
		{wire.LinkSLL, layers.LayerTypeLinuxSLL},
		{wire.LinkNull, layers.LayerTypeLoopback},
		{wire.LinkRaw, nil},
	}

	for i := range 5000 {
		h := randomHeaders(r)
		l := links[r.IntN(len(links))]
		var tags []tag
		if l.link == wire.LinkEthernet {
			tags = []tag{vlan, vlan}[:r.IntN(3)]
		}
		as := l.as
		if as == nil {
			as = layers.LayerTypeIPv4
			if h.src.Addr().Is6() {
				as = layers.LayerTypeIPv6
			}
		}
		p := packetOf(l.link, h, tags...)
		var d flow.Decoded
		flow.Decode(&p, &d)
		theirs := gopacket.NewPacket(p.Data, as, gopacket.Default)
		if err := says(&d, &h); err != nil {
			t.Fatalf("packet %d, %+v: %v", i, h, err)
		}
		if err := agree(&d, theirs); err != nil {
			t.Fatalf("packet %d, %+v: %v\n%v", i, h, err, theirs)
		}
	}
}

// agree returns an error if d contradicts what gopacket decoded.
func agree(d *flow.Decoded, p gopacket.Packet) error {
	if e := p.ErrorLayer(); e != nil {
		return e.Error()
	}
	src, dst := p.NetworkLayer().NetworkFlow().Endpoints()
	n := len(src.Raw())
	if !bytes.Equal(src.Raw(), d.Src[:n]) || !bytes.Equal(dst.Raw(), d.Dst[:n]) || d.IPv6 != (n == 16) {
		return fmt.Errorf("addresses %v > %v, here %x > %x", src, dst, d.Src, d.Dst)
	}
	var payload []byte
	switch l := p.TransportLayer().(type) {
	case *layers.TCP:
		if uint16(l.SrcPort) != d.SrcPort || uint16(l.DstPort) != d.DstPort || l.Seq != d.Seq || l.Ack != d.Ack || d.Transport != 6 {
			return fmt.Errorf("TCP %v > %v, here %d > %d", l.SrcPort, l.DstPort, d.SrcPort, d.DstPort)
		}
		if flags := l.Contents[13]; flags != d.Flags {
			return fmt.Errorf("flags %x, here %x", flags, d.Flags)
		}
		payload = l.Payload
	case *layers.UDP:
		if uint16(l.SrcPort) != d.SrcPort || uint16(l.DstPort) != d.DstPort || d.Transport != 17 {
			return fmt.Errorf("UDP %v > %v, here %d > %d", l.SrcPort, l.DstPort, d.SrcPort, d.DstPort)
		}
		payload = l.Payload
	default:
		return fmt.Errorf("transport %T", l)
	}

	if !bytes.Equal(payload, d.Payload) || d.PayloadLen != len(payload) {
		return fmt.Errorf("payload %x, here %x", payload, d.Payload)
	}
	return nil
}

func TestDecodeDoesNotAllocate(t *testing.T) {
	for _, k := range kinds {
		p := packetOf(k.link, k.h, k.tags...)
		var d flow.Decoded
		if n := testing.AllocsPerRun(100, func() { flow.Decode(&p, &d) }); n != 0 {
			t.Errorf("%s: %v allocations", k.name, n)
		}
	}
}
