package pcapfilter

import (
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/gopacket/pcapgo"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// random returns packets of a link type: most have a known layout, many are truncated, and some
// consist of random bytes.
func random(r *rand.Rand, link wire.LinkType, n int) []Packet {
	out := make([]Packet, 0, n)
	for range n {
		typ, network := randomNetwork(r)
		data := wrap(r, link, typ, network)
		switch r.IntN(8) {
		case 0:
			data = data[:r.IntN(len(data)+1)]
		case 1:
			if link != wire.LinkNull && link != wire.LinkLoop && len(data) > 0 { // only this package knows the address families of other systems
				data[r.IntN(len(data))] = byte(r.Uint32())
			}
		}
		length := len(data)
		if r.IntN(6) == 0 {
			length += r.IntN(100)
		}
		out = append(out, Packet{Data: data, Length: length})
	}
	return out
}

// wrap adds a link-layer header to a network packet.
func wrap(r *rand.Rand, link wire.LinkType, typ uint16, network []byte) []byte {
	var b []byte
	switch link {
	case wire.LinkEthernet:
		b = append(mac(r), mac(r)...)
		for range [4]int{0, 0, 1, 2}[r.IntN(4)] {
			b = binary.BigEndian.AppendUint16(b, pick(r, []uint16{0x8100, 0x88a8, 0x9100}))
			b = binary.BigEndian.AppendUint16(b, pick(r, []uint16{5, 6, 0x6005, 100}))
		}
		b = binary.BigEndian.AppendUint16(b, typ)
	case wire.LinkSLL:
		b = binary.BigEndian.AppendUint16(b, uint16(r.IntN(5)))
		b = append(b, 0, 1, 0, 6)
		b = append(append(b, mac(r)...), 0, 0)
		b = binary.BigEndian.AppendUint16(b, typ)
	case wire.LinkSLL2:
		b = binary.BigEndian.AppendUint16(b, typ)
		b = append(b, 0, 0, 0, 0, 0, byte(r.IntN(4)), 0, 1, byte(r.IntN(5)), 6)
		b = append(append(b, mac(r)...), 0, 0)
	case wire.LinkNull, wire.LinkLoop:
		family := map[uint16]uint32{wire.EtherIPv4: 2, wire.EtherIPv6: 10}[typ]
		if link == wire.LinkNull {
			b = binary.LittleEndian.AppendUint32(b, family)
		} else {
			b = binary.BigEndian.AppendUint32(b, family)
		}
	}
	return append(b, network...)
}

func mac(r *rand.Rand) []byte {
	m, _ := parseMAC(pick(r, someMACs))
	return m[:]
}

// randomNetwork returns a network packet and its EtherType.
func randomNetwork(r *rand.Rand) (typ uint16, b []byte) {
	switch n := r.IntN(12); {
	case n < 5:
		return wire.EtherIPv4, randomIPv4(r)
	case n < 9:
		return wire.EtherIPv6, randomIPv6(r)
	case n < 10:
		return pick(r, []uint16{wire.EtherARP, wire.EtherRARP}), randomARP(r)
	}
	return pick(r, []uint16{0x888e, 0x86dd, 0x0800, 300, 0xffff, 0}), noise(r, r.IntN(60))
}

func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func ipv4(r *rand.Rand) []byte { return netip.MustParseAddr(pick(r, someIPv4)).AsSlice() }
func ipv6(r *rand.Rand) []byte { return netip.MustParseAddr(pick(r, someIPv6)).AsSlice() }

func randomIPv4(r *rand.Rand) []byte {
	header := pick(r, []int{5, 5, 5, 6, 8, 15, 4, 0})
	proto := pick(r, []byte{6, 6, 17, 132, 1, 2, 103, 51, 50, 112, 58, 200})
	payload := transport(r)
	b := []byte{0x40 | byte(header), byte(r.Uint32())}
	b = binary.BigEndian.AppendUint16(b, uint16(20+len(payload)))
	b = append(b, noise(r, 2)...)
	b = binary.BigEndian.AppendUint16(b, pick(r, []uint16{0, 0x4000, 0x2000, 0x2005, 0x0003}))
	b = append(b, byte(r.IntN(128)), proto, 0, 0)
	b = append(append(b, ipv4(r)...), ipv4(r)...)
	b = append(b, noise(r, 4*max(0, header-5))...)
	return append(b, payload...)
}

func randomIPv6(r *rand.Rand) []byte {
	next := pick(r, []byte{6, 6, 17, 132, 58, 44, 0, 51, 103})
	payload := transport(r)
	if next == 44 {
		payload = append([]byte{pick(r, []byte{6, 17, 58}), 0, 0, byte(r.IntN(2)), 0, 0, 0, 1}, payload...)
	}
	b := append([]byte{0x60}, noise(r, 3)...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	b = append(b, next, byte(r.IntN(128)))
	return append(append(append(b, ipv6(r)...), ipv6(r)...), payload...)
}

func randomARP(r *rand.Rand) []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, byte(1 + r.IntN(2))}
	b = append(append(b, mac(r)...), ipv4(r)...)
	return append(append(b, mac(r)...), ipv4(r)...)
}

// transport returns ports and further bytes.
func transport(r *rand.Rand) []byte {
	b := binary.BigEndian.AppendUint16(nil, port(r))
	b = binary.BigEndian.AppendUint16(b, port(r))
	b = append(b, noise(r, 8)...)
	return append(b, byte(r.IntN(16))<<4, pick(r, []byte{2, 18, 16, 24, 17, 4}), byte(r.IntN(3)), byte(r.IntN(3)), 0, 0, 0, byte(r.IntN(70)))
}

func port(r *rand.Rand) uint16 {
	n, _ := strconv.ParseUint(pick(r, somePorts), 0, 16)
	if r.IntN(3) == 0 {
		return uint16(r.Uint32())
	}
	return uint16(n)
}

// captured returns the packets of the project's captures with the header of a link type.
func captured(t testing.TB, link wire.LinkType) []Packet {
	t.Helper()
	file := filepath.Join("..", "..", "cmd", "tap", "testdata", "captures", "mixed.pcap")
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in, err := pcapgo.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 0))
	var out []Packet
	for {
		data, ci, err := in.ReadPacketData()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if link != wire.LinkEthernet {
			data = wrap(r, link, binary.BigEndian.Uint16(data[12:]), data[14:])
		}
		out = append(out, Packet{Data: data, Length: ci.Length})
	}
	if len(out) == 0 {
		t.Fatalf("%s: no packets", file)
	}
	return out
}
