package pcapfile

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Magic numbers of pcap (draft-ietf-opsawg-pcap, section 4), and the magic number of Alexey Kuznetsov's patched libpcap, which writes
// longer packet headers.
const (
	pcapMicro   = 0xa1b2c3d4
	pcapNano    = 0xa1b23c4d
	pcapPatched = 0xa1b2cd34
)

func isClassic(magic uint32) bool {
	return magic == pcapMicro || magic == pcapNano || magic == pcapPatched
}

// classic reads a pcap file. Its packets are slices of the buffer.
type classic struct {
	in      *bufio.Reader
	link    wire.LinkType
	big     bool  // numbers are in big-endian order
	scale   int64 // nanoseconds per unit of a timestamp's fraction
	header  int   // bytes of a packet's header
	minor   uint16
	swapped bool // the two lengths of a packet's header are swapped

	common bool   // the file has the format that tcpdump writes, and a link type that package flow decodes
	ahead  []byte // buffered bytes that nextBuffered has not consumed
	passed int    // bytes before ahead that nextBuffered has consumed and in has not discarded
}

func newClassic(in *bufio.Reader) (*classic, error) {
	const header = 24
	head, err := in.Peek(header)
	if err != nil {
		return nil, fmt.Errorf("truncated: a pcap header has %d bytes, the file %d", header, len(head))
	}
	c := &classic{in: in, big: head[0] == 0xa1, scale: 1000, header: 16}
	// The upper 16 bits of the field describe the frame check sequence.
	c.link = wire.LinkType(c.uint32(head[20:]))
	switch c.uint32(head) {
	case pcapNano:
		c.scale = 1
	case pcapPatched:
		c.header = 24
	}
	if err := c.version(c.uint16(head[4:]), c.uint16(head[6:])); err != nil {
		return nil, err
	}
	c.skip(head)
	c.common = !c.big && c.header == 16 && !c.swapped && c.minor == 4 && flow.DecodesLink(c.link)
	return c, nil
}

// version checks a file's version. libpcap reads 2.0 to 2.4, and 543.0 of DG/UX. Before 2.3 the two lengths of a packet
// were in the opposite order, and 2.3 was written with both orders.
func (c *classic) version(major, minor uint16) error {
	switch {
	case major == 2 && minor <= 4:
		c.minor, c.swapped = minor, minor < 3
	case major == 543 && minor == 0:
		c.swapped = true
	default:
		return fmt.Errorf("pcap version %d.%d is not supported: expected 2.4", major, minor)
	}
	return nil
}

func (c *classic) order() binary.ByteOrder {
	if c.big {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

func (c *classic) uint16(b []byte) uint16 { return c.order().Uint16(b) }

func (c *classic) uint32(b []byte) uint32 {
	if c.big {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

// next reads a packet record (draft-ietf-opsawg-pcap, section 5). p.Data is valid until
// the next call.
func (c *classic) next(p *flow.Packet) (int, error) {
	c.discard()
	err := c.read(p)
	if c.common {
		c.ahead, _ = c.in.Peek(c.in.Buffered())
	}
	return 0, err
}

// nextBuffered does the same as next for a packet that is completely in the buffer, in a file of the usual format. For any other packet it
// returns false, and the caller must call next.
func (c *classic) nextBuffered(p *flow.Packet) bool {
	const header = 16
	if b := c.ahead; len(b) >= header {
		captured, length := uint(binary.LittleEndian.Uint32(b[8:])), uint(binary.LittleEndian.Uint32(b[12:]))
		if captured <= uint(len(b)-header) && captured <= min(length, maxPacket) {
			p.Time = int64(binary.LittleEndian.Uint32(b))*1e9 + int64(binary.LittleEndian.Uint32(b[4:]))*c.scale
			p.Data, p.Length = b[header:header+captured], int(length)
			p.Link, p.Decapsulate, p.Zone = c.link, true, 0
			c.ahead = b[header+captured:]
			c.passed += int(header + captured)
			return true
		}
	}
	c.discard()
	return false
}

// buffered implements Reader.Buffered.
func (c *classic) buffered(yield func(packet []byte) bool) {
	const header = 16
	for b := c.ahead; len(b) >= header; {
		captured := uint(binary.LittleEndian.Uint32(b[8:]))
		if captured > uint(len(b)-header) || !yield(b[header:header+captured]) {
			return
		}
		b = b[header+captured:]
	}
}

// discard removes from the input the packets that nextBuffered has returned.
func (c *classic) discard() {
	_, _ = c.in.Discard(c.passed)
	c.ahead, c.passed = nil, 0
}

// read does the same as next, without the preparation for nextBuffered.
func (c *classic) read(p *flow.Packet) error {
	head, err := c.in.Peek(c.header)
	if err != nil {
		c.skip(head)
		if len(head) > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}

	at := int64(c.uint32(head))*1e9 + int64(c.uint32(head[4:]))*c.scale
	captured, length := int(c.uint32(head[8:])), int(c.uint32(head[12:]))
	if c.swapped || c.minor == 3 && captured > length {
		captured, length = length, captured
	}
	switch {
	case captured > maxPacket:
		return fmt.Errorf("a packet of %d bytes, expected %d at most", captured, maxPacket)
	case captured > length:
		return fmt.Errorf("%d bytes captured of a packet of %d", captured, length)
	}

	record, err := c.in.Peek(c.header + captured)
	c.skip(record)
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}

	fill(p, at, record[c.header:], length, c.link)
	return nil
}

// skip discards bytes that Peek returned. They are valid until the buffer is filled again.
func (c *classic) skip(b []byte) { _, _ = c.in.Discard(len(b)) }

func (*classic) interfaceName(int) string { return "" }
