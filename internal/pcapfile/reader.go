package pcapfile

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/bits"
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Reader reads a capture file.
type Reader struct {
	in      *bufio.Reader
	raw     *counter // counts the bytes that in reads from the file
	packets int      // number of packets read so far
	skips   skips
	source  packetSource
	classic *classic // source, if the file is pcap
	ng      *ng      // source, if the file is pcapng

	routedKnown, routed bool // see isRouted
}

// packetSource is a file format. next fills in p except its Interface, and returns the number of the capturing
// interface in the file. At the end it returns io.EOF, or io.ErrUnexpectedEOF if the file is truncated.
type packetSource interface {
	next(p *flow.Packet) (iface int, err error)
	// interfaceName returns the name of an interface, empty if the file has none.
	interfaceName(iface int) string
}

// counter counts the bytes read through it.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// readBuffer is the size of the buffer that a file is read into, in bytes. The largest packet fits in it with its header.
const readBuffer = maxPacket + 4<<10

// errNotCapture reports a file of unknown format.
var errNotCapture = errors.New("not a capture file: expected pcap or pcapng, such as tcpdump -w and Wireshark write")

// NewReader returns a reader after reading the file's header.
func NewReader(r io.Reader) (c *Reader, err error) {
	c = &Reader{raw: &counter{r: r}}
	c.in = bufio.NewReaderSize(c.raw, readBuffer)
	unzipped, err := decompress(c.in)
	if err != nil {
		return nil, err
	}
	if unzipped != nil { // from now on, positions are offsets in the decompressed file
		c.raw = &counter{r: unzipped}
		c.in = bufio.NewReaderSize(c.raw, readBuffer)
	}
	head, err := c.in.Peek(4)
	switch {
	case errors.Is(err, io.EOF) && len(head) == 0:
		return nil, errors.New("the file is empty")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errNotCapture
	case err != nil:
		return nil, err
	}

	switch magic := binary.LittleEndian.Uint32(head); {
	case magic == ngSection:
		c.ng, err = newNG(c.in, &c.skips)
		c.source = c.ng
	case isClassic(magic), isClassic(bits.ReverseBytes32(magic)):
		c.classic, err = newClassic(c.in)
		c.source = c.classic
	default:
		head, _ = c.in.Peek(foreignBytes)
		err = cmp.Or(foreign(head), errNotCapture)
	}

	return c, err
}

// Next fills in p except its Interface, and returns the number of the capturing interface in the file. p.Data is valid until the next call.
// Next returns io.EOF at the end of the file; other errors include the position, and match io.ErrUnexpectedEOF if the file ends within a packet.
func (c *Reader) Next(p *flow.Packet) (iface int, err error) {
	if c.ng != nil {
		switch err := c.ng.finish(); {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return 0, truncatedError(fmt.Sprintf("truncated after packet %d: the file ends at byte %d", c.packets, c.position()))
		case err != nil:
			return 0, fmt.Errorf("corrupt after packet %d, at byte %d: %w", c.packets, c.position(), err)
		}
	}
	at := c.position()
	iface, err = c.source.next(p)
	switch {
	case err == nil:
		c.packets++
		if !flow.DecodesLink(p.Link) && p.Link != flow.LinkOther {
			c.skips.link(p.Link)
		}
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = truncatedError(fmt.Sprintf("truncated in packet %d, which starts at byte %d: the file ends at byte %d", c.packets+1, at, c.position()))
	case !errors.Is(err, io.EOF):
		err = fmt.Errorf("corrupt in packet %d, which starts at byte %d: %w", c.packets+1, at, err)
	}
	return iface, err
}

// truncatedError reports a file that ends within a packet. It matches io.ErrUnexpectedEOF.
type truncatedError string

func (e truncatedError) Error() string { return string(e) }

// Is reports whether target is io.ErrUnexpectedEOF.
func (truncatedError) Is(target error) bool { return target == io.ErrUnexpectedEOF }

// NextBuffered does the same as Next if the packet is completely in the buffer, as nearly every packet of a pcap file is. For any other
// packet it does nothing and returns false. Packets that it returned before remain valid until Next is called. The packet's interface is 0.
func (c *Reader) NextBuffered(p *flow.Packet) bool {
	if c.classic == nil || !c.classic.nextBuffered(p) {
		return false
	}
	c.packets++
	return true
}

// HasInterfaces reports whether the file describes its interfaces. A pcapng file does; a pcap file has one interface
// without a name.
func (c *Reader) HasInterfaces() bool { return c.ng != nil }

// InterfaceName returns the name of an interface of the current section, empty if the file
// has none.
func (c *Reader) InterfaceName(iface int) string { return c.source.interfaceName(iface) }

// Packets returns the number of packets read so far.
func (c *Reader) Packets() int { return c.packets }

// BytesRead returns the number of bytes read so far, after decompression.
func (c *Reader) BytesRead() int64 { return c.raw.n }

// Skipped returns an error that describes the contents skipped so far, nil if nothing was skipped.
func (c *Reader) Skipped() error { return c.skips.err() }

// position returns the offset of the next byte in the (decompressed) file.
func (c *Reader) position() int64 { return c.raw.n - int64(c.in.Buffered()) }

// skips counts the contents of a file that the reader skips.
type skips struct {
	links      map[wire.LinkType]int // packets of link types that are not supported; at most maxUnknown types
	interfaces int                   // packets of interfaces beyond ngInterfaces
	sections   int                   // sections of an unknown version
	blocks     int                   // blocks in these sections
}

// maxUnknown bounds the unsupported link types that are counted separately.
const maxUnknown = 16

// link counts a packet of an unsupported link type.
func (s *skips) link(l wire.LinkType) {
	if s.links == nil {
		s.links = map[wire.LinkType]int{}
	}
	if _, ok := s.links[l]; ok || len(s.links) < maxUnknown {
		s.links[l]++
	}
}

// err returns an error that describes the skipped contents, nil if nothing was skipped.
func (s *skips) err() error {
	var errs []error
	for _, l := range slices.Sorted(maps.Keys(s.links)) {
		errs = append(errs, fmt.Errorf("link type %d is not supported: %d packets skipped; see https://www.tcpdump.org/linktypes.html", l, s.links[l]))
	}
	if s.interfaces > 0 {
		errs = append(errs, fmt.Errorf("a section with more than %d interfaces: %d packets of later ones skipped", ngInterfaces, s.interfaces))
	}
	if s.sections > 0 {
		errs = append(errs, fmt.Errorf("%d sections of an unknown version of pcapng: %d blocks skipped, expected version 1", s.sections, s.blocks))
	}
	return errors.Join(errs...)
}

// maxPacket bounds a packet, in bytes: the maximum that tcpdump and Wireshark write (MAXIMUM_SNAPLEN). A larger length,
// for example in a corrupt file, is an error before memory is allocated for it.
const maxPacket = 256 << 10

// fill fills in a packet except its Interface. It skips the header of a link type that package flow does not decode.
func fill(p *flow.Packet, at int64, data []byte, length int, link wire.LinkType) {
	p.Time, p.Data, p.Length, p.Link, p.Decapsulate, p.Zone = at, data, max(length, len(data)), link, true, 0
	if flow.DecodesLink(link) {
		return
	}
	if v, ok := step(link, data); ok {
		p.Length += len(v.rest) - len(data)
		p.Data, p.Link, p.Zone = v.rest, v.link, v.zone
	}
}

// Sniff opens a file that may be compressed, and reports whether it is a capture. in returns the decompressed
// file from its start. A capture in a format that is not read is an error.
func Sniff(file io.Reader) (in *bufio.Reader, captured bool, err error) {
	in = bufio.NewReaderSize(file, readBuffer)
	unzipped, err := decompress(in)
	if err != nil {
		return nil, false, err
	}
	if unzipped != nil {
		in = bufio.NewReaderSize(unzipped, readBuffer)
	}
	head, err := in.Peek(4)
	switch {
	case errors.Is(err, io.EOF) && len(head) == 0:
		return nil, false, errors.New("the file is empty")
	case err != nil && !errors.Is(err, io.EOF):
		return nil, false, err
	case len(head) < 4:
		return in, false, nil
	}
	magic := binary.LittleEndian.Uint32(head)
	head, _ = in.Peek(foreignBytes)
	if err := foreign(head); err != nil {
		return nil, false, err
	}
	return in, magic == ngSection || isClassic(magic) || isClassic(bits.ReverseBytes32(magic)), nil
}
