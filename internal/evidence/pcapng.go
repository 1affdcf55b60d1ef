package evidence

import (
	"encoding/binary"
	"net/netip"
)

// Types of blocks (draft-ietf-opsawg-pcapng, section 11.1).
const (
	blockSection    = 0x0a0d0d0a
	blockInterface  = 1
	blockNames      = 4
	blockStatistics = 5
	blockPacket     = 6
)

// Codes of options (draft-ietf-opsawg-pcapng, sections 3.5 and 4).
const (
	optionEnd     = 0
	optionComment = 1

	sectionApplication = 4

	interfaceName       = 2
	interfaceResolution = 9
	interfaceFilter     = 11

	statisticsReceived = 4
	statisticsDropped  = 5

	recordIPv4 = 1
	recordIPv6 = 2
)

// blocks builds a pcapng section. All numbers are little-endian.
type blocks struct {
	b     []byte
	start int // offset of the current block
}

func (w *blocks) u16(n uint16) { w.b = binary.LittleEndian.AppendUint16(w.b, n) }
func (w *blocks) u32(n uint32) { w.b = binary.LittleEndian.AppendUint32(w.b, n) }

// begin starts a block of a type.
func (w *blocks) begin(kind uint32) {
	w.start = len(w.b)
	w.u32(kind)
	w.u32(0) // its length, which end sets
}

// end ends the current block.
func (w *blocks) end() {
	n := uint32(len(w.b) - w.start + 4)
	binary.LittleEndian.PutUint32(w.b[w.start+4:], n)
	w.u32(n)
}

// pad fills up to a multiple of four bytes.
func (w *blocks) pad() {
	for (len(w.b)-w.start)%4 != 0 {
		w.b = append(w.b, 0)
	}
}

// maxOption bounds the length of an option's value in bytes.
const maxOption = 2 << 10

// option adds an option, or a record of names, which has the same layout.
func (w *blocks) option(code uint16, value string) {
	value = value[:min(len(value), maxOption)]
	w.u16(code)
	w.u16(uint16(len(value)))
	w.b = append(w.b, value...)
	w.pad()
}

// text adds an option if its text is not empty.
func (w *blocks) text(code uint16, value string) {
	if value != "" {
		w.option(code, value)
	}
}

// number adds an option of 64 bits.
func (w *blocks) number(code uint16, n uint64) {
	w.option(code, string(binary.LittleEndian.AppendUint64(nil, n)))
}

// section adds the section header block (section 4.1).
func (w *blocks) section(application, comment string) {
	w.begin(blockSection)
	w.u32(0x1a2b3c4d)
	w.u16(1)
	w.u16(0)
	w.u32(0xffffffff) // the length of the section is not given
	w.u32(0xffffffff)
	w.text(optionComment, comment)
	w.text(sectionApplication, application)
	w.option(optionEnd, "")
	w.end()
}

// iface adds an interface description block (section 4.2) with timestamps in nanoseconds. A snap length of 0 means no limit.
func (w *blocks) iface(link uint16, name, filter string, snap uint32) {
	w.begin(blockInterface)
	w.u16(link)
	w.u16(0)
	w.u32(snap)
	w.text(interfaceName, name)
	if filter != "" {
		w.option(interfaceFilter, "\x00"+filter) // 0: in the language of libpcap
	}
	w.option(interfaceResolution, "\x09")
	w.option(optionEnd, "")
	w.end()
}

// names adds a name resolution block (section 4.5).
func (w *blocks) names(list []Name) {
	w.begin(blockNames)
	for _, n := range list {
		code := uint16(recordIPv6)
		if n.Addr.Is4() {
			code = recordIPv4
		}
		w.option(code, string(n.Addr.AsSlice())+n.Name[:min(len(n.Name), maxName)]+"\x00")
	}
	w.option(optionEnd, "")
	w.end()
}

// maxName bounds the length of a name in bytes: that of a SPIFFE ID is the longest.
const maxName = 1 << 10

// packet adds an enhanced packet block (section 4.3). length is the frame's length on the wire.
func (w *blocks) packet(iface int, at int64, frame []byte, length int, comment string) {
	w.begin(blockPacket)
	w.u32(uint32(iface))
	w.u32(uint32(uint64(at) >> 32))
	w.u32(uint32(at))
	w.u32(uint32(len(frame)))
	w.u32(uint32(length))
	w.b = append(w.b, frame...)
	w.pad()
	if comment != "" {
		w.option(optionComment, comment)
		w.option(optionEnd, "")
	}
	w.end()
}

// statistics adds an interface statistics block (section 4.6).
func (w *blocks) statistics(iface int, at int64, received, dropped uint64) {
	w.begin(blockStatistics)
	w.u32(uint32(iface))
	w.u32(uint32(uint64(at) >> 32))
	w.u32(uint32(at))
	w.number(statisticsReceived, received)
	w.number(statisticsDropped, dropped)
	w.option(optionEnd, "")
	w.end()
}

// A Name is a name of an address, for the name resolution block.
type Name struct {
	Addr netip.Addr
	Name string
}
