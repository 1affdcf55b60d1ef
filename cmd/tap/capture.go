package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/bits"
	"slices"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// capture is a capture file that is being read: pcap or pcapng, perhaps compressed by
// gzip.
type capture struct {
	in      *bufio.Reader
	raw     *counter // what is below it
	packets int      // read so far
	skips   skips
	source  packetSource
	classic *classic // source, if it is one
}

// packetSource is one file format. next fills in p, but for its Interface, and returns
// the number of the file's interface that captured it. io.EOF ends it where the file may
// end, io.ErrUnexpectedEOF where it may not.
type packetSource interface {
	next(p *flow.Packet) (iface int, err error)
	// interfaceName returns the name of an interface, empty where the file has none.
	interfaceName(iface int) string
}

// counter counts what is read through it.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// readBuffer is the buffer between a file and its format. It holds the largest packet
// with its header.
const readBuffer = maxPacket + 4<<10

// errNotCapture says that a file is none of the formats known.
var errNotCapture = errors.New("not a capture file: expected pcap or pcapng, such as tcpdump -w and Wireshark write")

// openCapture reads a file's header.
func openCapture(r io.Reader) (c *capture, err error) {
	c = &capture{raw: &counter{r: r}}
	c.in = bufio.NewReaderSize(c.raw, readBuffer)
	if head, _ := c.in.Peek(2); bytes.Equal(head, []byte{0x1f, 0x8b}) {
		if err := c.unzip(); err != nil {
			return nil, err
		}
	}
	head, err := c.in.Peek(4)
	switch {
	case errors.Is(err, io.EOF) && len(head) == 0:
		return nil, errors.New("the file is empty")
	case err != nil:
		return nil, errNotCapture
	}
	switch magic := binary.LittleEndian.Uint32(head); {
	case magic == ngSection:
		c.source, err = newNG(c.in, &c.skips)
	case isClassic(magic), isClassic(bits.ReverseBytes32(magic)):
		c.classic, err = newClassic(c.in)
		c.source = c.classic
	default:
		err = errNotCapture
	}
	return c, err
}

// next reads a packet. An error other than io.EOF names the place.
func (c *capture) next(p *flow.Packet) (iface int, err error) {
	at := c.position()
	iface, err = c.source.next(p)
	switch {
	case err == nil:
		c.packets++
		if !decodable(p.Link) && p.Link != flow.LinkOther {
			c.skips.link(p.Link)
		}
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("truncated in packet %d, which begins at byte %d: the file ends at byte %d", c.packets+1, at, c.position())
	case !errors.Is(err, io.EOF):
		err = fmt.Errorf("corrupt in packet %d, which begins at byte %d: %w", c.packets+1, at, err)
	}
	return iface, err
}

// quick is next for a packet that is completely in the buffer, as nearly every packet of a pcap
// file is. For any other packet it does nothing and returns false.
func (c *capture) quick(p *flow.Packet) bool {
	if c.classic == nil || !c.classic.quick(p) {
		return false
	}
	c.packets++
	return true
}

// unzip puts a decompressor below. Positions are those of the decompressed file.
func (c *capture) unzip() error {
	z, err := gzip.NewReader(c.in)
	if err != nil {
		return fmt.Errorf("not gzip, though it begins like it: %w", err)
	}
	c.raw = &counter{r: z}
	c.in = bufio.NewReaderSize(c.raw, readBuffer)
	return nil
}

// position is where the next byte that is not consumed stands in the (decompressed) file.
func (c *capture) position() int64 { return c.raw.n - int64(c.in.Buffered()) }

// skips counts what a file contains and the reader leaves out.
type skips struct {
	links      map[flow.LinkType]int // packets of link types that are not decoded; at most maxUnknown
	interfaces int                   // packets of interfaces beyond those that are kept
	sections   int                   // sections of an unknown version
	blocks     int                   // blocks in them
}

// maxUnknown bounds the link types of a file that are told apart.
const maxUnknown = 16

// link counts a packet of a link type that is not decoded.
func (s *skips) link(l flow.LinkType) {
	if s.links == nil {
		s.links = map[flow.LinkType]int{}
	}
	if _, ok := s.links[l]; ok || len(s.links) < maxUnknown {
		s.links[l]++
	}
}

// err returns an error that names what was left out, nil if nothing was.
func (s *skips) err() error {
	var errs []error
	for _, l := range slices.Sorted(maps.Keys(s.links)) {
		errs = append(errs, fmt.Errorf("link type %d is not known here: %d packets skipped; see https://www.tcpdump.org/linktypes.html", l, s.links[l]))
	}
	if s.interfaces > 0 {
		errs = append(errs, fmt.Errorf("a section with more than %d interfaces: %d packets of later ones skipped", ngInterfaces, s.interfaces))
	}
	if s.sections > 0 {
		errs = append(errs, fmt.Errorf("%d sections of an unknown version of pcapng: %d blocks skipped, expected version 1", s.sections, s.blocks))
	}
	return errors.Join(errs...)
}

// maxPacket bounds a packet of a file, in bytes: the most that tcpdump and Wireshark
// write (MAXIMUM_SNAPLEN). Larger ones, as a length field of a corrupt file may
// announce, are refused before memory is taken for them.
const maxPacket = 256 << 10

// fill fills in a packet, but for its Interface. The header of a link layer that flow does
// not decode is stepped over.
func fill(p *flow.Packet, at int64, data []byte, length int, link flow.LinkType) {
	p.Time, p.Data, p.Length, p.Link, p.Tunnels, p.Zone = at, data, max(length, len(data)), link, true, 0
	if decodable(link) {
		return
	}
	if v, ok := step(link, data); ok {
		p.Length += len(v.rest) - len(data)
		p.Data, p.Link, p.Zone = v.rest, v.link, v.zone
	}
}

func decodable(l flow.LinkType) bool {
	switch l { //nolint:exhaustive // those that flow decodes
	case flow.LinkNull, flow.LinkEthernet, flow.LinkRaw, flow.LinkLoop, flow.LinkLinuxSLL, flow.LinkIPv4, flow.LinkIPv6, flow.LinkLinuxSLL2:
		return true
	}
	return false
}
