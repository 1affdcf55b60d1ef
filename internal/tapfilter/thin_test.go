package tapfilter

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// tcpPacket is a TCP packet of a connection.
type tcpPacket struct {
	src, dst  netip.AddrPort
	seq       uint32
	flags     byte
	options   int // 32-bit words after both headers (IPv4), or after the TCP header (IPv6)
	fragment  uint16
	extension bool // an extension header of IPv6
	udp       bool
	payload   []byte
}

// bytes returns the packet after a link-layer header.
func (p tcpPacket) bytes(link wire.LinkType) []byte {
	var b []byte
	src, dst := p.src.Addr(), p.dst.Addr()
	if link == wire.LinkEthernet {
		b = append(make([]byte, 12), 0x08, 0)
		if !src.Is4() {
			b[12], b[13] = 0x86, 0xdd
		}
	}
	proto := byte(wire.ProtoTCP)
	if p.udp {
		proto = wire.ProtoUDP
	}
	if src.Is4() {
		b = append(b, 0x40|byte(5+p.options), 0, 0, 0, 0, 0)
		b = binary.BigEndian.AppendUint16(b, p.fragment)
		b = append(b, 64, proto, 0, 0)
	} else {
		b = append(b, 0x60, 0, 0, 0, 0, 0)
		if p.extension {
			b = append(b, 0, 64) // hop-by-hop options
		} else {
			b = append(b, proto, 64)
		}
	}
	b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
	if src.Is4() {
		b = append(b, make([]byte, 4*p.options)...)
	} else if p.extension {
		b = append(b, proto, 0, 1, 4, 0, 0, 0, 0)
	}
	b = binary.BigEndian.AppendUint16(b, p.src.Port())
	b = binary.BigEndian.AppendUint16(b, p.dst.Port())
	b = binary.BigEndian.AppendUint32(b, p.seq)
	b = append(b, 0, 0, 0, 1, byte(5+p.options)<<4, p.flags, 1, 0, 0, 0, 0, 0)
	return append(append(b, make([]byte, 4*p.options)...), p.payload...)
}

func connection(a, b string) Connection {
	return Connection{A: netip.MustParseAddrPort(a), B: netip.MustParseAddrPort(b)}
}

// reversed returns the packet of the other direction.
func (p tcpPacket) reversed() tcpPacket {
	p.src, p.dst = p.dst, p.src
	return p
}

// TestThin tests which packets of connections are rejected, and which are accepted.
func TestThin(t *testing.T) {
	settled := []Connection{
		connection("10.0.0.1:40000", "10.0.0.2:80"),
		connection("10.0.0.1:40001", "10.0.0.2:80"),
		connection("[fd00::1]:40000", "[fd00::2]:443"),
		connection("[::ffff:10.0.0.9]:1", "10.0.0.8:2"),
	}
	at := func(c Connection) tcpPacket {
		return tcpPacket{src: c.A, dst: c.B, seq: 0x01020304, flags: 0x10, payload: []byte("GET / HTTP/1.1\r\n\r\n")}
	}
	secure := connection("10.0.0.1:50000", "10.0.0.2:443")
	secure.TLS = true
	settled = append(settled, secure)
	four, six, tls := at(settled[0]), at(settled[2]), at(secure)
	with := func(p tcpPacket, change func(*tcpPacket)) tcpPacket {
		change(&p)
		return p
	}
	payload := func(p tcpPacket, b ...byte) tcpPacket { return with(p, func(p *tcpPacket) { p.payload = b }) }
	for name, test := range map[string]struct {
		packet tcpPacket
		taken  bool
	}{
		"a request":                    {four, false},
		"the answer":                   {four.reversed(), false},
		"of the next port":             {at(settled[1]), false},
		"of IPv6":                      {six, false},
		"its answer":                   {six.reversed(), false},
		"of an IPv4-mapped address":    {at(connection("10.0.0.8:2", "10.0.0.9:1")), false},
		"with options":                 {with(four, func(p *tcpPacket) { p.options = 3 }), false},
		"IPv6 with options":            {with(six, func(p *tcpPacket) { p.options = 3 }), false},
		"an acknowledgement":           {payload(four), false},
		"one byte":                     {payload(four, 22), false},
		"protected":                    {payload(four, 23, 3, 3, 0, 9), false},
		"don't fragment":               {with(four, func(p *tcpPacket) { p.fragment = 0x4000 }), false},
		"the byte behind the sample":   {with(four, func(p *tcpPacket) { p.seq = 0xff010000 }), false},
		"the last byte of 16 MiB":      {with(four, func(p *tcpPacket) { p.seq = 0x02ffffff }), false},
		"the first byte of the sample": {with(four, func(p *tcpPacket) { p.seq = 0x03000000 }), true},
		"the last byte of the sample":  {with(four, func(p *tcpPacket) { p.seq = 0x0300ffff }), true},
		"an acknowledgement there":     {with(payload(four), func(p *tcpPacket) { p.seq = 0x0300ffff }), true},
		"a SYN":                        {with(four, func(p *tcpPacket) { p.flags = 2 }), true},
		"a SYN-ACK":                    {with(four.reversed(), func(p *tcpPacket) { p.flags = 0x12 }), true},
		"a FIN":                        {with(four, func(p *tcpPacket) { p.flags = 0x11 }), true},
		"a RST":                        {with(six, func(p *tcpPacket) { p.flags = 4 }), true},
		"a ClientHello":                {payload(four, 22, 3, 1, 2, 0, 1), true},
		"a ClientHello of IPv6":        {payload(six, 22, 3, 1, 2, 0, 1), true},
		"one behind options":           {with(payload(four, 22, 3, 1, 2, 0, 1), func(p *tcpPacket) { p.options = 5 }), true},
		"a flight":                     {payload(four, 20, 3, 3, 0, 1, 1), true},
		"an alert":                     {payload(four, 21, 3, 3, 0, 2), true},
		"a fragment":                   {with(four, func(p *tcpPacket) { p.fragment = 0x2000 }), true},
		"a later fragment":             {with(four, func(p *tcpPacket) { p.fragment = 5 }), true},
		"an extension header":          {with(six, func(p *tcpPacket) { p.extension = true }), true},
		"UDP":                          {with(four, func(p *tcpPacket) { p.udp = true }), true},
		"UDP over IPv6":                {with(six, func(p *tcpPacket) { p.udp = true }), true},
		"longer than the sample":       {payload(four, make([]byte, sampledBytes)...), true},
		"as long":                      {payload(four, make([]byte, sampledBytes-54)...), false},
		"of TLS, a protected record":   {payload(tls, 23, 3, 3, 0, 9), false},
		"of TLS, records":              {payload(tls, records(thinSteps, 9)...), false},
		"of TLS, the last goes on":     {payload(tls, append(records(2, 9), 23, 3, 3, 1, 0, 7)...), false},
		"of TLS, half a header":        {payload(tls, append(records(2, 9), 23, 3, 3)...), false},
		"of TLS, one byte of a header": {payload(tls, append(records(1, 9), 23)...), false},
		"of TLS, more records":         {payload(tls, records(thinSteps+1, 9)...), true},
		"of TLS, text behind a record": {payload(tls, append(records(1, 24), "PIN=8472"...)...), true},
		"of TLS, one byte behind many": {payload(tls, append(records(thinSteps, 24), 'x')...), true},
		"of TLS, an alert behind one":  {payload(tls, append(records(1, 24), 21, 3, 3, 0, 2, 1, 0)...), true},
		"of TLS, empty records, text":  {payload(tls, append(records(5, 0), "PIN=8472"...)...), true},
		"of TLS, an acknowledgement":   {payload(tls), false},
		"of TLS, the answer":           {payload(tls.reversed(), 23, 3, 3, 0, 9), false},
		"of TLS, the middle of one":    {payload(tls, 24, 3, 3, 0, 9), true},
		"of TLS, a ClientHello":        {payload(tls, 22, 3, 1, 2, 0), true},
		"of TLS, cleartext":            {tls, true},
		"of TLS, a FIN":                {with(payload(tls), func(p *tcpPacket) { p.flags = 0x11 }), true},
		"of TLS, in the sample":        {with(payload(tls, 23, 3, 3, 0, 9), func(p *tcpPacket) { p.seq = 0x0300ffff }), true},
		"another port":                 {at(connection("10.0.0.1:40002", "10.0.0.2:80")), true},
		"another server port":          {at(connection("10.0.0.1:40000", "10.0.0.2:81")), true},
		"ports the wrong way round":    {at(connection("10.0.0.1:80", "10.0.0.2:40000")), true},
		"another client":               {at(connection("10.0.0.3:40000", "10.0.0.2:80")), true},
		"another server":               {at(connection("10.0.0.1:40000", "10.0.0.3:80")), true},
		"IPv6, another word":           {at(connection("[fd00::1]:40000", "[fd00:0:0:1::2]:443")), true},
		"IPv6, the last word":          {at(connection("[fd00::1]:40000", "[fd00::3]:443")), true},
	} {
		for _, link := range []wire.LinkType{wire.LinkEthernet, wire.LinkRaw} {
			p, err := Thin(pcapfilter.Config{Link: link, Live: true}, settled)
			if err != nil {
				t.Fatal(err)
			}
			b := test.packet.bytes(link)
			if link == wire.LinkRaw && name == "as long" {
				continue // this case needs a link-layer header
			}
			if got := p.Run(&pcapfilter.Packet{Data: b, Length: len(b)}) != 0; got != test.taken {
				t.Errorf("%s: %s: taken: %t, want %t\n%s", pcapfilter.LinkName(link), name, got, test.taken, p.Listing())
			}
		}
	}
}

// TestThinNothing: every packet is accepted if there are no connections of its IP version. The same applies
// to other link types.
func TestThinNothing(t *testing.T) {
	b := tcpPacket{src: netip.MustParseAddrPort("10.0.0.1:1"), dst: netip.MustParseAddrPort("10.0.0.2:2"), seq: 0x01020304, flags: 16}.bytes(wire.LinkEthernet)
	for _, c := range []struct {
		link wire.LinkType
		of   []Connection
	}{{wire.LinkEthernet, nil}, {wire.LinkSLL, []Connection{connection("10.0.0.1:1", "10.0.0.2:2")}}, {wire.LinkEthernet, []Connection{connection("[fd00::1]:1", "[fd00::2]:2")}}} {
		p, err := Thin(pcapfilter.Config{Link: c.link, Live: true}, c.of)
		if err != nil {
			t.Fatal(err)
		}
		if p.Run(&pcapfilter.Packet{Data: b, Length: len(b)}) == 0 {
			t.Errorf("%s, %v: left out\n%s", pcapfilter.LinkName(c.link), c.of, p.Listing())
		}
	}
}

// randomConnections returns connections with few addresses and ports, so that many tuples have
// the same first words.
func randomConnections(r *rand.Rand, n int, mixed bool) []Connection {
	address := func(ip6 bool) netip.Addr {
		if !mixed {
			return netip.AddrFrom4([4]byte{10, byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())})
		}
		if ip6 {
			a := [16]byte{0: 0xfd, 15: byte(r.IntN(4)), 7: byte(r.IntN(2))}
			return netip.AddrFrom16(a)
		}
		return netip.AddrFrom4([4]byte{byte(10 + 190*r.IntN(2)), 0, 0, byte(r.IntN(4))})
	}
	port := func() uint16 { return uint16(r.IntN(40) * 1637) }
	out := make([]Connection, n)
	for i := range out {
		ip6 := mixed && r.IntN(2) == 0
		out[i] = Connection{A: netip.AddrPortFrom(address(ip6), port()), B: netip.AddrPortFrom(address(ip6), port())}
	}
	return out
}

// TestThinSize compares the number of instructions with Thin's documented bounds.
func TestThinSize(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	server := netip.MustParseAddrPort("10.0.0.2:80")
	of := func(n int, f func(i int) Connection) int {
		var all []Connection
		for i := range n {
			all = append(all, f(i))
		}
		p, err := Thin(pcapfilter.Config{Link: wire.LinkEthernet, Live: true}, all)
		if err != nil {
			t.Fatal(err)
		}
		return len(p)
	}
	one := of(1, func(int) Connection { return Connection{A: netip.MustParseAddrPort("10.0.0.1:1"), B: server} })
	for _, test := range []struct {
		name string
		most float64
		f    func(i int) Connection
	}{
		{"the same addresses", 5, func(i int) Connection {
			return Connection{A: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(30000+i)), B: server}
		}},
		{"others each, IPv4", 13, func(int) Connection { return randomConnections(r, 1, false)[0] }},
		{"others each, IPv6", 37, func(i int) Connection {
			return connection(fmt.Sprintf("[%x::1]:1", i+1), fmt.Sprintf("[%x::1]:2", i+1000))
		}},
	} {
		const n = 100
		if each := float64(of(n, test.f)-one) / (n - 1); each > test.most {
			t.Errorf("%s: %.1f instructions for a connection, want %.1f at most", test.name, each, test.most)
		}
	}
	if _, err := Thin(pcapfilter.Config{Link: wire.LinkEthernet, Live: true}, randomConnections(r, 1000, false)); err == nil {
		t.Error("a program of a thousand connections: no error")
	}
}

// records returns n protected records of a size.
func records(n int, size byte) (b []byte) {
	for range n {
		b = append(append(b, 23, 3, 3, 0, size), make([]byte, size)...)
	}
	return b
}

// onlyRecords reports whether the program rejects a TLS payload. The program rejects a payload of
// at most thinSteps protected records. The last record, or its header, may be incomplete.
func onlyRecords(b []byte) bool {
	for range thinSteps {
		switch {
		case len(b) == 0:
			return true
		case b[0] != wire.ContentApplicationData, len(b) > 1 && b[1] != 3:
			return false
		case len(b) < wire.RecordHeader:
			return true
		}
		n := wire.RecordHeader + int(binary.BigEndian.Uint16(b[3:]))
		if n >= len(b) {
			return true
		}
		b = b[n:]
	}
	return false
}
