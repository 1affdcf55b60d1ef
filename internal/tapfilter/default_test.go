package tapfilter

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// segment describes an Ethernet frame with a TCP segment, or with a datagram of another protocol.
type segment struct {
	ip6, tagged bool
	jumbo       bool // IPv6: a jumbo payload option (RFC 2675)
	proto       byte
	options     int // 32-bit words after each header
	fragment    uint16
	payload     []byte
	noLength    bool // the length field is 0, as offloads set it if the length does not fit
}

func (s segment) frame() []byte {
	transport := append([]byte{0x9c, 0x40, 0x01, 0xbb, 0, 0, 0, 1, 0, 0, 0, 1, byte(5+s.options) << 4, 16, 1, 0, 0, 0, 0, 0}, make([]byte, 4*s.options)...)
	if s.proto == wire.ProtoUDP {
		transport = transport[:8]
	}
	b := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}
	if s.tagged {
		b = append(b, 0x81, 0, 0, 5)
	}
	length := len(transport) + len(s.payload)
	if s.jumbo {
		total := binary.BigEndian.AppendUint32(nil, uint32(8+length))
		transport = append(append([]byte{s.proto, 0, 0xc2, 4}, total...), transport...)
		s.proto, s.noLength = wire.ProtoHopByHop, true
	}
	if s.ip6 {
		b = binary.BigEndian.AppendUint16(b, wire.EtherIPv6)
		if s.noLength {
			length = 0
		}
		b = append(b, 0x60, 0, 0, 0, byte(length>>8), byte(length), s.proto, 64)
		b = append(b, make([]byte, 32)...)
	} else {
		b = binary.BigEndian.AppendUint16(b, wire.EtherIPv4)
		length += 20 + 4*s.options
		if s.noLength {
			length = 0
		}
		b = append(b, 0x40|byte(5+s.options), 0, byte(length>>8), byte(length), 0, 0, byte(s.fragment>>8), byte(s.fragment), 64, s.proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2)
		b = append(b, make([]byte, 4*s.options)...)
	}
	return append(append(b, transport...), s.payload...)
}

// record returns a TLS record.
func record(typ byte, size int) []byte {
	return append([]byte{typ, 3, 3, byte(size >> 8), byte(size)}, bytes.Repeat([]byte{0xaa}, size)...)
}

const whole = -1

// TestDefault tests how much of each payload is kept.
func TestDefault(t *testing.T) {
	unknown := func(n int) []byte { return bytes.Repeat([]byte{0x55}, n) }
	cat := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, test := range map[string]struct {
		payload []byte
		want    int
	}{
		"nothing":                           {nil, whole},
		"a segment of a small MTU":          {unknown(1448), whole},
		"one protected record of it":        {record(23, 1400), whole},
		"up to the bound":                   {unknown(1960), whole},
		"more, of what nobody knows":        {unknown(9000), whole},
		"most of that":                      {unknown(48 << 10), whole},
		"bulk":                              {unknown(48<<10 + 1), 1 << 10},
		"64 KiB that begin like HTTP":       {cat([]byte("HTTP/1.1 200 OK\r\n"), unknown(65000)), 16 << 10},
		"an upload":                         {cat([]byte("PUT /items HTTP/1.1\r\n"), unknown(65000)), 16 << 10},
		"HTTP/2":                            {cat([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), unknown(65000)), 16 << 10},
		"a ClientHello and bulk":            {cat(record(22, 500), unknown(60000)), whole},
		"certificates":                      {record(22, 16384), whole},
		"an alert":                          {cat(record(21, 2), unknown(60000)), whole},
		"a flight behind a CCS":             {cat(record(20, 1), record(23, 5000), record(23, 100), record(23, 53)), whole},
		"one protected record":              {record(23, 9000), 64},
		"the start of one":                  {record(23, 16401)[:9000], 64},
		"a flight without a CCS":            {cat(record(23, 5000), record(23, 100), record(23, 53), record(23, 300)), 5005 + 105 + 58 + 64},
		"a header that is cut":              {cat(record(23, 5000), record(23, 100)[:3]), whole},
		"bulk records":                      {cat(record(23, 16401), record(23, 16401), record(23, 16401), record(23, 16000)), 2*16406 + 64},
		"the largest ones":                  {cat(record(23, 18432), record(23, 18432), record(23, 18432), record(23, 9000)), 2*18437 + 64},
		"a record and a large rest":         {cat(record(23, 22), record(23, 16401), record(23, 16401), record(23, 16401)), 27 + 2*16406 + 64},
		"more records than are followed":    {bytes.Repeat(record(23, 300), 10), whole},
		"the same, of bulk":                 {bytes.Repeat(record(23, 4000), 16), 37 << 10},
		"an alert among them":               {cat(record(23, 3000), record(21, 26), record(23, 3000)), 3005 + 31 + 64},
		"something else behind a record":    {cat(record(23, 3000), unknown(100)), whole},
		"the same, of bulk, out of reach":   {cat(record(23, 3000), unknown(60000)), 37 << 10},
		"a record of a version that is not": {cat([]byte{23, 4, 3, 1, 0}, unknown(60000)), 1 << 10},
		"a type that is not":                {cat([]byte{25, 3, 3, 1, 0}, unknown(60000)), 1 << 10},
		"an empty record":                   {cat(record(23, 0), record(23, 3000)), 5 + 64},
	} {
		t.Run(name, func(t *testing.T) {
			for _, s := range []segment{{}, {ip6: true}, {tagged: true}, {options: 7}, {ip6: true, tagged: true, options: 3}, {noLength: true}, {ip6: true, noLength: true}, {ip6: true, jumbo: true}, {ip6: true, jumbo: true, tagged: true, options: 3}} {
				s.proto, s.payload = wire.ProtoTCP, test.payload
				for _, link := range []wire.LinkType{wire.LinkEthernet, wire.LinkRaw} {
					frame := s.frame()
					if link == wire.LinkRaw {
						if s.tagged {
							continue
						}
						frame = frame[14:]
					}
					got := min(int(Default(pcapfilter.Config{Link: link, Live: true}).Run(&pcapfilter.Packet{Data: frame, Length: len(frame)})), len(frame))
					want := len(frame)
					if test.want != whole {
						want += test.want - len(test.payload)
					}
					if got != want {
						t.Errorf("%s, %+v: %d bytes of a frame of %d, want %d", pcapfilter.LinkName(link), segment{ip6: s.ip6, tagged: s.tagged, options: s.options, noLength: s.noLength, jumbo: s.jumbo}, got, len(frame), want)
					}
				}
			}
		})
	}
}

// TestDefaultOthers: packets other than TCP are kept whole, except for large datagrams.
func TestDefaultOthers(t *testing.T) {
	large := bytes.Repeat([]byte{0x55}, 60000)
	p := Default(pcapfilter.Config{Link: wire.LinkEthernet, Live: true})
	for name, test := range map[string]struct {
		segment segment
		want    int // how many bytes of the frame are kept
	}{
		"a datagram":          {segment{proto: wire.ProtoUDP, payload: large[:1400]}, whole},
		"8 KiB of a datagram": {segment{proto: wire.ProtoUDP, payload: large[:8000]}, whole},
		"a large datagram":    {segment{proto: wire.ProtoUDP, payload: large}, 14 + 20 + 8<<10},
		"the same over IPv6":  {segment{ip6: true, proto: wire.ProtoUDP, payload: large}, 14 + 40 + 8<<10},
		"SCTP":                {segment{proto: wire.ProtoSCTP, payload: large}, whole},
		"a first fragment":    {segment{proto: wire.ProtoTCP, fragment: 0x2000, payload: large}, whole},
		"a later fragment":    {segment{proto: wire.ProtoTCP, fragment: 5, payload: large}, whole},
		"an IPv6 extension":   {segment{ip6: true, proto: 43, payload: large}, whole},
		"longer options":      {segment{ip6: true, proto: wire.ProtoHopByHop, payload: large}, whole},
		"two sets of options": {segment{ip6: true, proto: wire.ProtoHopByHop, jumbo: true, payload: large}, whole},
	} {
		frame := test.segment.frame()
		want := test.want
		if want == whole {
			want = len(frame)
		}
		if got := min(int(p.Run(&pcapfilter.Packet{Data: frame, Length: len(frame)})), len(frame)); got != want {
			t.Errorf("%s: %d bytes, want %d", name, got, want)
		}
	}
	lying := segment{proto: wire.ProtoTCP, payload: large}.frame()
	lying[14+2], lying[14+3] = 0xff, 0xff // the header claims more bytes than the packet has
	if n := p.Run(&pcapfilter.Packet{Data: lying, Length: len(lying)}); int(n) < len(lying) {
		t.Errorf("a packet that claims too much is cut to %d bytes", n)
	}
	arp := append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 6}, large...)
	if n := p.Run(&pcapfilter.Packet{Data: arp, Length: len(arp)}); int(n) < len(arp) {
		t.Errorf("no IP packet is cut to %d bytes", n)
	}
}

// TestDefaultDropsNothing: every packet is kept, with its headers.
func TestDefaultDropsNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(12, 0))
	for _, link := range []wire.LinkType{
		wire.LinkEthernet, wire.LinkSLL, wire.LinkSLL2, wire.LinkRaw, wire.LinkNull, wire.LinkLoop, wire.LinkIPv4, 105,
	} {
		p := Default(pcapfilter.Config{Link: link, Live: true})
		if err := p.Validate(); err != nil {
			t.Fatalf("%s: %v", pcapfilter.LinkName(link), err)
		}
		for range 2000 {
			b := randomFrame(r, link)
			if n := int(p.Run(&pcapfilter.Packet{Data: b, Length: len(b)})); n < min(len(b), 96) {
				t.Fatalf("%s: %d bytes of %d kept: % x", pcapfilter.LinkName(link), n, len(b), b[:min(len(b), 80)])
			}
		}
	}
}

// randomFrame returns a packet of random length. Most packets are of IP; some are truncated or have random
// bytes.
func randomFrame(r *rand.Rand, link wire.LinkType) []byte {
	s := segment{
		ip6: r.IntN(2) == 0, tagged: r.IntN(3) == 0, jumbo: r.IntN(8) == 0, noLength: r.IntN(8) == 0, options: r.IntN(11),
		proto: pick(r, []byte{6, 6, 6, 17, 132, 1, 58, 44, 0, 43, 51}), fragment: pick(r, []uint16{0, 0, 0, 0x4000, 0x2000, 0x2005}),
	}
	for len(s.payload) < r.IntN(60000) {
		s.payload = append(s.payload, record(byte(19+r.IntN(7)), r.IntN(9000))...)
	}
	s.jumbo = s.jumbo && s.ip6
	b := s.frame()
	switch link {
	case wire.LinkEthernet:
	case wire.LinkRaw, wire.LinkIPv4:
		b = b[14:]
	default:
		b = append(noise(r, 4*r.IntN(6)), b[12:]...)
	}
	for range r.IntN(3) {
		b[r.IntN(min(len(b), 120))] = byte(r.Uint32())
	}
	if r.IntN(4) == 0 {
		b = b[:r.IntN(len(b)+1)]
	}
	return b
}

func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func pick[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

// TestDefaultNarrowed: an expression narrows the default filter. For the packets that the expression accepts, as many bytes
// are kept as without it.
func TestDefaultNarrowed(t *testing.T) {
	narrow, err := pcapfilter.Compile("tcp port 443", pcapfilter.Config{Link: wire.LinkEthernet, Live: true})
	if err != nil {
		t.Fatal(err)
	}
	p, err := pcapfilter.And(narrow, Default(pcapfilter.Config{Link: wire.LinkEthernet, Live: true}))
	if err != nil {
		t.Fatal(err)
	}
	bulk := segment{proto: wire.ProtoTCP, payload: make([]byte, 60000)}.frame()
	if n := p.Run(&pcapfilter.Packet{Data: bulk, Length: len(bulk)}); n != 14+20+20+1<<10 {
		t.Errorf("%d bytes", n)
	}
	bulk = segment{proto: wire.ProtoUDP, payload: make([]byte, 60000)}.frame()
	if n := p.Run(&pcapfilter.Packet{Data: bulk, Length: len(bulk)}); n != 0 {
		t.Errorf("%d bytes of what the expression does not take", n)
	}
}
