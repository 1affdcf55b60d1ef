package evidence

import "github.com/meshtls-tap/meshtls-tap/internal/wire"

// NoteTruncated is the sentence in a file's comment about what a [Truncator] leaves out.
const NoteTruncated = "Without payload: packet headers and unencrypted TLS and QUIC handshakes remain; the content of protected TLS records that remains is replaced; " +
	"of a direction in plaintext the first line remains, in which x replaces each character except for words of the protocol; checksums no longer match."

// A Section builds a pcapng section block by block: the header, then interfaces, packets and statistics. Its methods add a block to the bytes
// that Bytes returns.
type Section struct{ blocks blocks }

// Header adds the section header block.
func (s *Section) Header(application, comment string) { s.blocks.section(application, comment) }

// Interface adds an interface, whose index is the number of interfaces before it. snap is the snap length in bytes.
func (s *Section) Interface(link wire.LinkType, name, filter string, snap int) {
	s.blocks.iface(uint16(link), name, filter, uint32(snap))
}

// Packet adds a packet. at is in ns since the epoch, length is the frame's length on the wire.
func (s *Section) Packet(iface int, at int64, frame []byte, length int) {
	s.blocks.packet(iface, at, frame, length, "")
}

// Statistics adds the number of packets that an interface received and the number of those that were lost.
func (s *Section) Statistics(iface int, at int64, received, dropped uint64) {
	s.blocks.statistics(iface, at, received, dropped)
}

// Bytes returns the blocks since the last Reset. They are valid until the next call of a method.
func (s *Section) Bytes() []byte { return s.blocks.b }

// Reset removes the blocks, which were written.
func (s *Section) Reset() { s.blocks.b = s.blocks.b[:0] }
