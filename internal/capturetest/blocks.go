package capturetest

import (
	"bytes"
	"encoding/binary"
)

// Blocks writes pcapng blocks (draft-ietf-opsawg-pcapng), valid or not, in one byte order.
type Blocks struct{ binary.AppendByteOrder }

// The two byte orders.
var (
	LittleBlocks = Blocks{binary.LittleEndian}
	BigBlocks    = Blocks{binary.BigEndian}
)

// Block returns a block of any type. It pads the body.
func (w Blocks) Block(kind uint32, body ...[]byte) []byte {
	joined := bytes.Join(body, nil)
	joined = append(joined, make([]byte, -len(joined)&3)...)
	size := uint32(len(joined) + 12)
	b := w.AppendUint32(w.AppendUint32(nil, kind), size)
	return w.AppendUint32(append(b, joined...), size)
}

// Words encodes numbers as 32-bit words.
func (w Blocks) Words(n ...uint32) (b []byte) {
	for _, n := range n {
		b = w.AppendUint32(b, n)
	}
	return b
}

// Section returns a section header block of a version.
func (w Blocks) Section(major uint16, options ...[]byte) []byte {
	head := w.AppendUint16(w.AppendUint16(w.Words(0x1a2b3c4d), major), 0)
	return w.Block(0x0a0d0d0a, append([][]byte{head, bytes.Repeat([]byte{0xff}, 8)}, options...)...)
}

// Option returns an option for the end of a block.
func (w Blocks) Option(code uint16, value string) []byte {
	b := w.AppendUint16(w.AppendUint16(nil, code), uint16(len(value)))
	return append(append(b, value...), make([]byte, -len(value)&3)...)
}

// Interface returns an interface description block.
func (w Blocks) Interface(link uint16, snap uint32, options ...[]byte) []byte {
	return w.Block(1, append([][]byte{w.AppendUint16(w.AppendUint16(nil, link), 0), w.Words(snap)}, options...)...)
}

// Packet returns an enhanced packet block with a time stamp in units of its interface.
func (w Blocks) Packet(iface uint32, stamp uint64, data string, options ...[]byte) []byte {
	padded := append([]byte(data), make([]byte, -len(data)&3)...)
	n := uint32(len(data))
	return w.Block(6, append([][]byte{w.Words(iface, uint32(stamp>>32), uint32(stamp), n, n), padded}, options...)...)
}

// Simple returns a simple packet block.
func (w Blocks) Simple(data string) []byte {
	return w.Block(3, w.Words(uint32(len(data))), []byte(data))
}
