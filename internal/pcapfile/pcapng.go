package pcapfile

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Block types of pcapng (draft-ietf-opsawg-pcapng, section 11.1).
const (
	ngSection   = 0x0a0d0d0a // the number is the same in both byte orders
	ngInterface = 1
	ngPacket    = 2 // obsolete, replaced by the enhanced packet block
	ngSimple    = 3
	ngEnhanced  = 6
)

// Bounds of the memory for a pcapng file. The memory does not grow with the number of blocks, sections or options of a file, nor with a
// length that a block claims.
const (
	ngInterfaces  = 4096     // number of interfaces kept per section; packets of later ones are skipped and counted
	ngNameBytes   = 64       // length of an interface's name
	ngOptionBytes = 16 << 10 // bytes of an interface block's options that are decoded
)

// ng reads a pcapng file. It keeps only the current section's interfaces; all other blocks are skipped in the buffer.
type ng struct {
	in         *bufio.Reader
	big        bool // the section is big-endian
	interfaces []ngInterfaceInfo
	extra      uint64 // number of the section's interfaces beyond ngInterfaces
	unknown    bool   // the section has an unknown version, so its blocks are skipped
	within     bool   // the latest packet's block is read up to the packet's data
	left       int64  // bytes of that block's body that are not read yet
	skipped    *skips
}

// ngInterfaceInfo holds the properties of an interface that are needed to decode its packets.
type ngInterfaceInfo struct {
	link   wire.LinkType
	snap   uint32 // 0: no limit
	name   string
	units  uint64 // units of a timestamp in a second; 0: timestamps are unusable
	offset int64  // seconds to add to timestamps
}

// newNG reads the first section's header. It counts skipped contents in skipped.
func newNG(in *bufio.Reader, skipped *skips) (*ng, error) {
	n := &ng{in: in, skipped: skipped}
	err := n.section()
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("truncated in its section header")
	}
	return n, err
}

func (n *ng) order() binary.ByteOrder {
	if n.big {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// next returns the next packet. Call finish before. p.Data is valid until then. At the end of the file it returns io.EOF, or
// io.ErrUnexpectedEOF if the last block is truncated.
func (n *ng) next(p *flow.Packet) (iface int, err error) {
	for found := false; !found; {
		head, err := n.in.Peek(8)
		switch {
		case errors.Is(err, io.EOF) && len(head) > 0:
			return 0, io.ErrUnexpectedEOF
		case err != nil:
			return 0, err
		}
		iface, found, err = n.block(n.order().Uint32(head), p)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, err
		}
	}
	return iface, nil
}

// finish skips the rest of the latest packet's block.
func (n *ng) finish() error {
	if !n.within {
		return nil
	}
	n.within = false
	return n.leave(n.left)
}

// block reads one block, whose type was peeked at, and reports whether it has a packet. If it has one, finish reads the
// bytes after the packet's data: to read them earlier may move the data in the buffer.
func (n *ng) block(kind uint32, p *flow.Packet) (iface int, found bool, err error) {
	if kind == ngSection {
		return 0, false, n.section()
	}
	left, err := n.enter()
	if err != nil {
		return 0, false, err
	}
	switch {
	case n.unknown:
		n.skipped.blocks++
	case kind == ngInterface:
		left, err = n.describe(left)
	case kind == ngEnhanced, kind == ngPacket:
		iface, left, found, err = n.enhanced(kind, left, p)
	case kind == ngSimple:
		left, found, err = n.simple(left, p)
	}
	if found {
		n.within, n.left = true, left
	} else if err == nil {
		err = n.leave(left)
	}
	return iface, found, err
}

// enter reads a block's type and length and returns the length of its body.
func (n *ng) enter() (int64, error) {
	head, err := n.consume(8)
	if err != nil {
		return 0, err
	}
	return bodyLength(n.order().Uint32(head[4:]))
}

// bodyLength returns the length of a block's body. total is the block's total length.
func bodyLength(total uint32) (int64, error) {
	if total < 12 || total%4 != 0 {
		return 0, fmt.Errorf("a block of %d bytes, expected 12 or more and a multiple of 4", total)
	}
	return int64(total) - 12, nil
}

// leave skips the rest of a block's body and the total length at its end.
func (n *ng) leave(left int64) error {
	for left += 4; left > 0; { // left may be too large for an int of 32 bits
		k, err := n.in.Discard(int(min(left, 1<<30)))
		if err != nil {
			return err
		}
		left -= int64(k)
	}
	return nil
}

// consume returns the next size bytes and advances past them. They are valid until the next read. size must not exceed
// readBuffer.
func (n *ng) consume(size int) ([]byte, error) {
	b, err := n.in.Peek(size)
	if err != nil {
		return nil, err
	}
	_, _ = n.in.Discard(size)
	return b, nil
}

// section starts a section (section 4.1) with its own byte order and interfaces.
func (n *ng) section() error {
	head, err := n.consume(24)
	if err != nil {
		return err
	}
	switch {
	case bytes.Equal(head[8:12], []byte{0x1a, 0x2b, 0x3c, 0x4d}):
		n.big = true
	case bytes.Equal(head[8:12], []byte{0x4d, 0x3c, 0x2b, 0x1a}):
		n.big = false
	default:
		return errors.New("a section header without a byte-order magic")
	}

	left, err := bodyLength(n.order().Uint32(head[4:]))
	if err == nil && left < 16 {
		err = fmt.Errorf("a section header of %d bytes, expected 28 or more", left+12)
	}
	if err != nil {
		return err
	}
	n.interfaces, n.extra = n.interfaces[:0], 0
	n.unknown = n.order().Uint16(head[12:]) != 1
	if n.unknown {
		n.skipped.sections++
	}
	return n.leave(left - 16)
}

// describe reads an interface description (section 4.2) and returns how many bytes of the body are left.
func (n *ng) describe(left int64) (int64, error) {
	if left < 8 {
		return left, errors.New("an interface description that is too short")
	}
	body, err := n.consume(int(min(left, 8+ngOptionBytes)))
	if err != nil {
		return left, err
	}
	left -= int64(len(body))
	if len(n.interfaces) == ngInterfaces {
		n.extra++
		return left, nil
	}
	order := n.order()
	i := ngInterfaceInfo{link: wire.LinkType(order.Uint16(body)), snap: order.Uint32(body[4:]), units: 1e6}
	for b := body[8:]; len(b) >= 4; {
		code, size := order.Uint16(b), int(order.Uint16(b[2:]))
		b = b[4:]
		if code == 0 || size > len(b) {
			break
		}
		i.option(code, b[:size], order)
		b = b[min(len(b), (size+3)&^3):]
	}

	n.interfaces = append(n.interfaces, i)
	return left, nil
}

// option applies an option of an interface description.
func (i *ngInterfaceInfo) option(code uint16, b []byte, order binary.ByteOrder) {
	const ifName, ifTsresol, ifTsoffset = 2, 9, 14
	switch {
	case code == ifName:
		i.name = string(b[:min(len(b), ngNameBytes)])
	case code == ifTsresol && len(b) == 1:
		i.units = unitsOf(b[0])
	case code == ifTsoffset && len(b) == 8:
		i.offset = int64(order.Uint64(b))
	}
}

// unitsOf returns how many units of a timestamp resolution (if_tsresol) are in a second, 0 if the number does not fit
// into 64 bits.
func unitsOf(resolution byte) uint64 {
	n := resolution & 0x7f
	if resolution&0x80 != 0 {
		return 1 << n // 0 for n above 63
	}
	if n > 19 {
		return 0
	}
	units := uint64(1)
	for range n {
		units *= 10
	}
	return units
}

// time converts a timestamp to nanoseconds since the Unix epoch.
func (i *ngInterfaceInfo) time(stamp uint64) int64 {
	if i.units == 0 {
		return 0
	}
	hi, lo := bits.Mul64(stamp%i.units, 1e9)
	fraction, _ := bits.Div64(hi, lo, i.units)
	return (int64(stamp/i.units)+i.offset)*1e9 + int64(fraction)
}

// enhanced reads an enhanced packet block (section 4.3), or the obsolete packet block (appendix A), which differs in
// its first word. Options are skipped.
func (n *ng) enhanced(kind uint32, left int64, p *flow.Packet) (iface int, _ int64, found bool, err error) {
	if left < 20 {
		return 0, left, false, errors.New("a packet block that is too short")
	}
	head, err := n.consume(20)
	if err != nil {
		return 0, left, false, err
	}
	left -= 20
	order := n.order()
	number := order.Uint32(head)
	if kind == ngPacket {
		number = uint32(order.Uint16(head))
	}
	stamp := uint64(order.Uint32(head[4:]))<<32 | uint64(order.Uint32(head[8:]))
	captured, length := order.Uint32(head[12:]), order.Uint32(head[16:])
	data, left, err := n.data(captured, left)
	if err != nil {
		return 0, left, false, err
	}
	i, err := n.interfaceOf(number)
	if i != nil {
		fill(p, i.time(stamp), data, int(min(length, maxLength)), i.link)
	}
	return int(number), left, i != nil, err
}

// simple reads a simple packet block (section 4.4): a packet of the first interface, without a time.
func (n *ng) simple(left int64, p *flow.Packet) (_ int64, found bool, err error) {
	if left < 4 {
		return left, false, errors.New("a packet block that is too short")
	}
	head, err := n.consume(4)
	if err != nil {
		return left, false, err
	}
	left -= 4
	length := n.order().Uint32(head)
	i, err := n.interfaceOf(0)
	if err != nil {
		return left, false, err
	}
	captured := min(length, uint32(left))
	if i.snap != 0 {
		captured = min(captured, i.snap)
	}
	data, left, err := n.data(captured, left)
	if err == nil {
		fill(p, 0, data, int(min(length, maxLength)), i.link)
	}
	return left, err == nil, err
}

// maxLength bounds the length on the wire that a packet claims.
const maxLength = 1<<31 - 1

// data reads a packet's bytes from a block. left is how many bytes of the block are not read yet.
func (n *ng) data(captured uint32, left int64) ([]byte, int64, error) {
	switch {
	case captured > maxPacket:
		return nil, left, fmt.Errorf("a packet of %d bytes, expected %d at most", captured, maxPacket)
	case int64(captured) > left:
		return nil, left, fmt.Errorf("a packet of %d bytes in a block with space for %d", captured, left)
	}
	data, err := n.consume(int(captured))
	return data, left - int64(captured), err
}

// interfaceOf returns a packet's interface. It returns nil without an error for an interface beyond ngInterfaces, whose packets
// are skipped.
func (n *ng) interfaceOf(number uint32) (*ngInterfaceInfo, error) {
	switch known := uint64(len(n.interfaces)); {
	case uint64(number) < known:
		return &n.interfaces[number], nil
	case uint64(number) < known+n.extra:
		n.skipped.interfaces++
		return nil, nil
	default:
		return nil, fmt.Errorf("a packet of interface %d without a description: the section has %d interfaces", number, known+n.extra)
	}
}

func (n *ng) interfaceName(iface int) string {
	if iface < len(n.interfaces) {
		return n.interfaces[iface].name
	}
	return ""
}
