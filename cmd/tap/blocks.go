package main

import (
	"encoding/binary"
	"io"
)

// blocks follows the block structure of a pcapng file that is read through it
// (draft-ietf-opsawg-pcapng, section 3.1), to tell at its end whether that is the end of
// a block: pcapgo says end of file for both, and a file may well end in blocks that hold
// no packet.
type blocks struct {
	r    io.Reader
	head [12]byte // type, total length, and a section header's byte-order magic
	n    int      // bytes of head that are there
	left int64    // bytes of the block still to come, beyond head
	big  bool     // the section's byte order
	lost bool     // the structure makes no sense: nothing is known
}

func (b *blocks) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	for data := p[:n]; len(data) > 0 && !b.lost; {
		data = b.take(data)
	}
	return n, err
}

// whole tells whether all blocks so far are whole.
func (b *blocks) whole() bool { return b.lost || b.n == 0 && b.left == 0 }

// take takes the bytes up to the end of the head or of the block.
func (b *blocks) take(data []byte) []byte {
	if b.left > 0 {
		k := min(b.left, int64(len(data)))
		b.left -= k
		return data[k:]
	}
	k := copy(b.head[b.n:], data)
	b.n += k
	if b.n == len(b.head) {
		b.begin()
	}
	return data[k:]
}

func (b *blocks) begin() {
	const sectionHeader = 0x0a0d0d0a // the same in both orders
	order := binary.ByteOrder(binary.LittleEndian)
	if binary.LittleEndian.Uint32(b.head[:]) == sectionHeader {
		b.big = binary.BigEndian.Uint32(b.head[8:]) == 0x1a2b3c4d
	}
	if b.big {
		order = binary.BigEndian
	}
	size := int64(order.Uint32(b.head[4:]))
	b.n, b.left = 0, size-int64(len(b.head))
	b.lost = b.left < 0
}
