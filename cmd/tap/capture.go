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
	"slices"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"github.com/meshtls-tap/meshtls-tap/internal/flow"
)

// capture is a capture file that is being read: pcap or pcapng, perhaps compressed by
// gzip.
type capture struct {
	in      *bufio.Reader         // what pcapgo reads from
	raw     *counter              // what is below it
	below   *bufio.Reader         // between in and raw, of a pcapng file
	blocks  *blocks               // of a pcapng file
	packets int                   // read so far
	unknown map[flow.LinkType]int // packets of link types that nothing here decodes
	source  packetSource
}

// packetSource is one file format. next fills in p, but for its Interface, and returns
// the number of the file's interface that captured it; io.EOF ends it.
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

// readBuffer is the buffer between a file and pcapgo. It is larger than pcapgo's own,
// which therefore uses it as it is: so the position in the file is known. It holds the
// largest packet with its header.
const readBuffer = maxPacket + 4<<10

// errNotCapture says that a file is none of the formats known.
var errNotCapture = errors.New("not a capture file: expected pcap or pcapng, such as tcpdump -w and Wireshark write")

// openCapture reads a file's header.
func openCapture(r io.Reader) (c *capture, err error) {
	c = &capture{raw: &counter{r: r}}
	c.in = bufio.NewReaderSize(c.raw, readBuffer)
	defer fence(&err)
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
	switch binary.LittleEndian.Uint32(head) {
	case 0x0a0d0d0a: // a section header block, draft-ietf-opsawg-pcapng, section 4.1
		c.below, c.blocks = c.in, &blocks{r: c.in}
		c.in = bufio.NewReaderSize(c.blocks, readBuffer)
		c.source, err = newNG(c.in)
	case 0xa1b2c3d4, 0xd4c3b2a1, 0xa1b23c4d, 0x4d3cb2a1: // draft-ietf-opsawg-pcap, section 4
		c.source, err = newClassic(c.in)
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
		if !decodable(p.Link) {
			c.skip(p.Link)
		}
	case errors.Is(err, io.EOF) && c.blocks != nil && c.blocks.whole():
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) && c.position() != at:
		err = fmt.Errorf("truncated in packet %d, which begins at byte %d: the file ends at byte %d", c.packets+1, at, c.position())
	case !errors.Is(err, io.EOF):
		err = fmt.Errorf("corrupt in packet %d, which begins at byte %d: %w", c.packets+1, at, err)
	}
	return iface, err
}

// maxUnknown bounds the link types of a file that are told apart.
const maxUnknown = 16

// skip notes a packet of which nothing can be said.
func (c *capture) skip(l flow.LinkType) {
	if c.unknown == nil {
		c.unknown = map[flow.LinkType]int{}
	}
	if _, ok := c.unknown[l]; ok || len(c.unknown) < maxUnknown {
		c.unknown[l]++
	}
}

// skipped returns an error that names the link types that are not known here, nil if
// there were none.
func (c *capture) skipped() error {
	var errs []error
	for _, l := range slices.Sorted(maps.Keys(c.unknown)) {
		errs = append(errs, fmt.Errorf("link type %d is not known here: %d packets skipped; see https://www.tcpdump.org/linktypes.html", l, c.unknown[l]))
	}
	return errors.Join(errs...)
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
func (c *capture) position() int64 {
	n := c.raw.n - int64(c.in.Buffered())
	if c.below != nil {
		n -= int64(c.below.Buffered())
	}
	return n
}

// fence turns a panic of pcapgo on hostile input into an error.
func fence(err *error) {
	if x := recover(); x != nil {
		*err = fmt.Errorf("malformed: %v", x)
	}
}

// maxPacket bounds a packet of a file, in bytes: the most that tcpdump and Wireshark
// write (MAXIMUM_SNAPLEN). Larger ones, as a length field of a corrupt file may
// announce, are refused before memory is taken for them.
const maxPacket = 256 << 10

// classic is a pcap file. Its packets are handed on as they stand in the buffer: pcapgo,
// which reads the file's header, would copy each once more.
type classic struct {
	in    *bufio.Reader
	link  flow.LinkType
	big   bool  // numbers are in big-endian order
	scale int64 // ns of a unit of a second's fraction
}

func newClassic(in *bufio.Reader) (*classic, error) {
	// pcapgo keeps eight bits of the link type: it is read here, whole. The upper half
	// of the field holds the length of a frame check sequence.
	head, err := in.Peek(24)
	if err != nil {
		return nil, fmt.Errorf("truncated: a pcap header has 24 bytes, the file %d", len(head))
	}
	c := &classic{in: in, big: head[0] == 0xa1, scale: 1000}
	c.link = flow.LinkType(c.uint32(head[20:]))
	if c.uint32(head) == 0xa1b23c4d {
		c.scale = 1
	}
	_, err = pcapgo.NewReader(in)
	return c, err
}

func (c *classic) uint32(b []byte) uint32 {
	if c.big {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

// next reads a packet record (draft-ietf-opsawg-pcap, section 5). p.Data is valid until
// the next call.
func (c *classic) next(p *flow.Packet) (int, error) {
	const header = 16
	head, err := c.in.Peek(header)
	if err != nil {
		c.skip(head)
		return 0, err
	}
	at := int64(c.uint32(head))*1e9 + int64(c.uint32(head[4:]))*c.scale
	captured, length := int(c.uint32(head[8:])), int(c.uint32(head[12:]))
	switch {
	case captured > maxPacket:
		return 0, fmt.Errorf("a packet of %d bytes, expected %d at most", captured, maxPacket)
	case captured > length:
		return 0, fmt.Errorf("%d bytes captured of a packet of %d", captured, length)
	}
	record, err := c.in.Peek(header + captured)
	c.skip(record)
	if err != nil {
		return 0, io.ErrUnexpectedEOF
	}
	fill(p, at, record[header:], length, c.link)
	return 0, nil
}

// skip steps over what Peek returned, which stays where it is until the buffer is filled
// again.
func (c *classic) skip(b []byte) { _, _ = c.in.Discard(len(b)) }

func (*classic) interfaceName(int) string { return "" }

// ng is a pcapng file.
type ng struct{ r *pcapgo.NgReader }

func newNG(in *bufio.Reader) (*ng, error) {
	r, err := pcapgo.NewNgReader(in, pcapgo.NgReaderOptions{WantMixedLinkType: true, SkipUnknownVersion: true})
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("truncated in its section header")
	}
	return &ng{r}, err
}

func (n *ng) next(p *flow.Packet) (iface int, err error) {
	defer fence(&err)
	data, ci, err := n.r.ReadPacketData()
	if err != nil {
		return 0, err
	}
	if ci.CaptureLength > maxPacket {
		return 0, fmt.Errorf("a packet of %d bytes, expected %d at most", ci.CaptureLength, maxPacket)
	}
	link, _ := ci.AncillaryData[0].(layers.LinkType)
	fill(p, nanoseconds(ci.Timestamp), data, ci.Length, ngLinkType(link))
	return ci.InterfaceIndex, nil
}

// ngLinkType undoes what pcapgo does to a link type: it keeps eight bits of it. Of the
// numbers beyond 255 only SLL2 is decoded here, and none is assigned the number 20.
func ngLinkType(l layers.LinkType) flow.LinkType {
	if l == layers.LinkType(flow.LinkLinuxSLL2&0xff) {
		return flow.LinkLinuxSLL2
	}
	return flow.LinkType(l)
}

func (n *ng) interfaceName(iface int) string {
	i, err := n.r.Interface(iface)
	if err != nil {
		return ""
	}
	return i.Name
}

// fill fills in a packet, but for its Interface. A link type that flow does not decode is stepped over by
// gopacket's layers.
func fill(p *flow.Packet, at int64, data []byte, length int, link flow.LinkType) {
	p.Time, p.Data, p.Length, p.Link, p.Tunnels = at, data, max(length, len(data)), link, true
	if !decodable(link) {
		network(p)
	}
}

func nanoseconds(t time.Time) int64 {
	if t.IsZero() { // a simple packet block has no time
		return 0
	}
	return t.UnixNano()
}

func decodable(l flow.LinkType) bool {
	switch l {
	case flow.LinkNull, flow.LinkEthernet, flow.LinkRaw, flow.LinkLoop, flow.LinkLinuxSLL, flow.LinkIPv4, flow.LinkIPv6, flow.LinkLinuxSLL2:
		return true
	}
	return false
}

// network makes p a raw IP packet, if gopacket finds one in it: IEEE 802.11, PPP, and
// whatever else it knows. It is slow, and gopacket panics on some hostile input, which
// costs this packet.
func network(p *flow.Packet) {
	defer func() { _ = recover() }()
	if p.Link > 255 || layers.LinkTypeMetadata[p.Link].Name == "UnknownLinkType" {
		return // gopacket's link types have eight bits
	}
	packet := gopacket.NewPacket(p.Data, layers.LinkType(p.Link), gopacket.DecodeOptions{Lazy: true, NoCopy: true})
	missing := p.Length - len(p.Data)
	at := len(p.Data) // no IP packet: an empty one
	if layer := packet.NetworkLayer(); layer != nil {
		switch layer.LayerType() {
		case layers.LayerTypeIPv4, layers.LayerTypeIPv6:
			at = offsetIn(p.Data, layer.LayerContents())
		}
	}
	p.Data = p.Data[at:]
	p.Length, p.Link = len(p.Data)+missing, flow.LinkRaw
}

// offsetIn returns where part, a slice of whole, begins in it.
func offsetIn(whole, part []byte) int { return cap(whole) - cap(part) }
