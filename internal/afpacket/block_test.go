package afpacket

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"testing"
	"unsafe"
)

// record is a packet in the kernel's layout.
type record struct {
	sec, nsec     uint32
	data          []byte
	length        uint32
	status        uint32
	tci           uint32
	tpid          uint16
	typ           uint8
	next          uint32 // offset of the next record in the block; 0: the correct one
	macBy, snapBy int    // numbers that are added to the right values
}

// blockOf returns a block with records in the kernel's layout (net/packet/af_packet.c).
func blockOf(size int, records ...record) []byte {
	b := make([]byte, size)
	ne := binary.NativeEndian
	ne.PutUint32(b, 1)
	ne.PutUint32(b[blockStatus:], 1)
	ne.PutUint32(b[blockPackets:], uint32(len(records)))
	ne.PutUint32(b[blockFirst:], blockHeader)
	at := blockHeader
	for i, r := range records {
		const mac = 82 // the offset on Ethernet
		end := (mac + len(r.data) + 7) &^ 7
		h := b[at:]
		switch {
		case r.next != 0:
			ne.PutUint32(h[packetNext:], r.next)
		case i < len(records)-1:
			ne.PutUint32(h[packetNext:], uint32(end))
		}
		ne.PutUint32(h[packetSec:], r.sec)
		ne.PutUint32(h[packetNsec:], r.nsec)
		ne.PutUint32(h[packetSnap:], uint32(len(r.data)+r.snapBy))
		ne.PutUint32(h[packetLen:], max(r.length, uint32(len(r.data))))
		ne.PutUint32(h[packetStatus:], r.status)
		ne.PutUint16(h[packetMAC:], uint16(mac+r.macBy))
		ne.PutUint32(h[packetVLAN:], r.tci)
		ne.PutUint16(h[packetVLANType:], r.tpid)
		h[packetType] = r.typ
		copy(h[mac:], r.data)
		at += end
	}
	return b
}

// packets reads a block to its end.
func packets(data []byte) (found []Packet, malformed bool) {
	var b Block
	b.reset(data)
	for p, ok := b.Next(); ok; p, ok = b.Next() {
		found = append(found, p)
	}
	return found, b.malformed
}

func TestBlock(t *testing.T) {
	frame := []byte("abcdefghijklmnop")
	for name, test := range map[string]struct {
		block     []byte
		want      []Packet
		malformed bool
	}{
		"empty": {blockOf(4096), nil, false},
		"one": {
			blockOf(4096, record{sec: 1_800_000_000, nsec: 999_999_999, data: frame, length: 1500, typ: 4}),
			[]Packet{{Time: 1_800_000_000_999_999_999, Data: frame, Length: 1500, Type: TypeOutgoing}}, false,
		},
		"time beyond 31 bits": {
			blockOf(4096, record{sec: 1 << 31, data: frame}),
			[]Packet{{Time: 1 << 31 * 1e9, Data: frame, Length: 16}}, false,
		},
		"three, one empty": {
			blockOf(4096, record{data: frame}, record{}, record{data: frame[:3], typ: 1}),
			[]Packet{{Data: frame, Length: 16}, {Data: []byte{}}, {Data: frame[:3], Length: 3, Type: TypeBroadcast}}, false,
		},
		"tags": {
			blockOf(4096,
				record{data: frame, status: 1<<4 | 1<<6, tci: 0x6005, tpid: 0x88a8},
				record{data: frame, status: 1 << 4, tci: 5, tpid: 0x88a8}, // an old kernel, which does not report the tag's type
				record{data: frame, status: 1, tci: 5, tpid: 0x8100}),     // neither tag nor type is valid
			[]Packet{
				{Data: frame, Length: 16, VLAN: 0x6005, VLANType: 0x88a8},
				{Data: frame, Length: 16, VLAN: 5, VLANType: 0x8100},
				{Data: frame, Length: 16},
			}, false,
		},
		"checksums": {
			blockOf(4096, record{data: frame, status: 1 | 1<<3}, record{data: frame, status: 1 | 1<<7}, record{data: frame, status: 1}), // TP_STATUS_CSUMNOTREADY, _CSUM_VALID
			[]Packet{{Data: frame, Length: 16, Vouched: true}, {Data: frame, Length: 16, Vouched: true}, {Data: frame, Length: 16}}, false,
		},
		"to the last byte":           {blockOf(blockHeader+82+16, record{data: frame}), []Packet{{Data: frame, Length: 16}}, false},
		"one byte too long":          {blockOf(blockHeader+82+16, record{data: frame, snapBy: 1}), nil, true},
		"snap length without bounds": {blockOf(4096, record{data: frame, snapBy: -17}), nil, true},
		"data inside of the header":  {blockOf(4096, record{data: frame, macBy: 67 - 82}), nil, true},
		"data behind the header":     {blockOf(4096, record{data: frame, macBy: 68 - 82, snapBy: -16}), []Packet{{Data: []byte{}, Length: 16}}, false},
		"data behind the block":      {blockOf(4096, record{data: frame, macBy: 4000}), nil, true},
		"a step back":                {blockOf(4096, record{data: frame, next: 1<<32 - 8}, record{}), []Packet{{Data: frame, Length: 16}}, true},
		"a step of none":             {blockOf(4096, record{data: frame, next: 1}, record{}), []Packet{{Data: frame, Length: 16}}, true},
		"a step into the data":       {blockOf(4096, record{data: frame, next: 90}, record{}), []Packet{{Data: frame, Length: 16}}, true},
		"a step to the end":          {blockOf(4096, record{data: frame, next: 4096 - blockHeader}, record{}), []Packet{{Data: frame, Length: 16}}, true},
		"a step behind the end":      {blockOf(4096, record{data: frame, next: 4096}, record{}), []Packet{{Data: frame, Length: 16}}, true},
		"more than there are":        {counted(blockOf(4096, record{data: frame}), 2), []Packet{{Data: frame, Length: 16}}, true},
		"more than there can be":     {counted(blockOf(4096, record{data: frame}), 1<<32-1), nil, true},
		"first one in the header":    {begun(blockOf(4096, record{data: frame}), blockHeader-8), nil, true},
		"first one behind the end":   {begun(blockOf(4096, record{data: frame}), 4096-packetHeader+1), nil, true},
		"no header":                  {make([]byte, blockHeader-1), nil, true},
		"no block":                   {nil, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, malformed := packets(test.block)
			if !reflect.DeepEqual(got, test.want) || malformed != test.malformed {
				t.Errorf("%+v, malformed %t\nwant %+v, %t", got, malformed, test.want, test.malformed)
			}
		})
	}
}

func counted(b []byte, packets uint32) []byte {
	binary.NativeEndian.PutUint32(b[blockPackets:], packets)
	return b
}

func begun(b []byte, first uint32) []byte {
	binary.NativeEndian.PutUint32(b[blockFirst:], first)
	return b
}

// TestBlockDoesNotAllocate: Next does not allocate, because it is called for every packet.
func TestBlockDoesNotAllocate(t *testing.T) {
	data := blockOf(4096, record{data: []byte("a")}, record{data: []byte("b")}, record{data: []byte("c")})
	var b Block
	total := 0
	if n := testing.AllocsPerRun(100, func() {
		b.reset(data)
		for p, ok := b.Next(); ok; p, ok = b.Next() {
			total += len(p.Data)
		}
	}); n != 0 || total == 0 {
		t.Errorf("%v allocations for a block", n)
	}
}

// FuzzBlock: for any contents of a block, each packet is within the block, and its header follows
// the previous packet. There are no more packets than fit into the block.
func FuzzBlock(f *testing.F) {
	frame := bytes.Repeat([]byte("frame"), 12)
	f.Add(blockOf(512, record{data: frame}, record{data: frame, status: 1<<4 | 1<<6, tci: 5, tpid: 0x8100}, record{data: frame[:1], length: 1500}))
	f.Add(blockOf(512, record{data: frame, next: 90}, record{}))
	f.Add(counted(blockOf(256, record{data: frame}), 3))
	f.Add(blockOf(blockHeader))
	f.Fuzz(func(t *testing.T, data []byte) {
		var b Block
		b.reset(data)
		end, n := blockHeader, 0
		for p, ok := b.Next(); ok; p, ok = b.Next() {
			if n++; n*packetHeader > len(data) {
				t.Fatalf("%d packets in %d bytes", n, len(data))
			}
			if p.Length < len(p.Data) || cap(p.Data) != len(p.Data) {
				t.Fatalf("packet %d: %d bytes of %d, capacity %d", n, len(p.Data), p.Length, cap(p.Data))
			}
			if len(p.Data) == 0 {
				continue
			}
			at := int(uintptr(unsafe.Pointer(&p.Data[0])) - uintptr(unsafe.Pointer(&data[0])))
			if at < end+packetHeader || at+len(p.Data) > len(data) {
				t.Fatalf("packet %d lies at %d, %d bytes; the one before ended at %d, the block has %d", n, at, len(p.Data), end, len(data))
			}
			end = at + len(p.Data)
		}
		if _, ok := b.Next(); ok {
			t.Fatal("a packet behind the last")
		}
	})
}
