package flow

import (
	"net/netip"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// LinkOther is the link type of a packet whose link layer was skipped and whose content is
// not IP. No file has it.
const LinkOther wire.LinkType = 0xffff

// Packet is one captured frame.
type Packet struct {
	Time        int64         // nanoseconds since the Unix epoch
	Data        []byte        // the captured bytes; the table keeps none of them after Add returns
	Length      int           // length on the wire in bytes, at least len(Data)
	Link        wire.LinkType // what Data begins with
	Interface   uint16        // index of the capturing interface; connections are keyed by it
	Decapsulate bool          // what tunnels carry counts instead of the tunnels
	Zone        Zone          // of a link layer that Data does not have: a VLAN tag that the kernel took out
	Origin      Origin        // by the kernel's word; of no effect where Config.Local is nil
	Checksum    Checksum      // who has verified the checksums in Data
}

// Side is one of the two ends of a connection.
type Side = wire.Side

// The two ends.
const (
	Originator = wire.Originator
	Responder  = wire.Responder
)

// Endpoint is one end of a connection with what it has sent.
type Endpoint struct {
	Addr      netip.Addr
	Port      uint16
	FIN       bool   // this end sent a FIN
	RST       bool   // this end sent a RST
	Packets   uint64 // packets seen from this end
	Bytes     uint64 // payload bytes by the IP length, retransmissions included; what a filter left out (Thin) by sequence numbers
	Missed    uint64 // bytes of the stream that were never seen (gaps)
	Truncated uint64 // bytes that came, but that the capture does not have: a snap length or a filter cut the packet
}

// AddrPort returns the end's address and port.
func (e *Endpoint) AddrPort() netip.AddrPort { return netip.AddrPortFrom(e.Addr, e.Port) }

// Conn is one connection. The table owns it; a Handler may read it during a call and
// may keep the pointer until End, but not change anything but User.
type Conn struct {
	ID          uint64 // counts from 1 in a Table
	Orig, Resp  Endpoint
	Redirected  *Endpoint // lo under REDIRECT: where the originator's packets really went (Resp is where it meant to go); nil otherwise
	First, Last int64     // time of the first and the latest packet, ns since the epoch
	Zones       [2]Zone   // of what each side sent
	Interface   uint16
	Transport   uint8 // IP protocol number: 6 TCP, 17 UDP
	State       State // Zeek's connection state, current
	MissedStart bool  // TCP: no SYN seen, the connection is older than the capture or its start was lost
	Conflict    bool  // packets contradict each other: a copy with other bytes than the first one, data behind a FIN, made-up numbers
	Urgent      bool  // TCP: urgent data was seen, which receivers take out of the stream (RFC 9293, section 3.8.5)
	Multipath   bool  // TCP: it is a subflow of Multipath TCP (RFC 8684), whose data come in an order of their own, and over others too
	Fragments   bool  // first fragments were seen that the capture cut short: their datagrams are not put together
	Excluded    bool  // Config.Exclude said so: counted, never handed on
	Located     bool  // Config.Local was asked when the connection was created, and said:
	OrigLocal   bool  // the originator's address is the host's own
	RespLocal   bool  // the responder's address is
	Thinned     bool  // Table.Thin has chosen it at some time: Packets are those seen, fewer than were sent

	OrigISNSeen, RespISNSeen bool
	OrigISN, RespISN         uint32 // initial sequence numbers, valid with the flags above

	// User belongs to the Handler.
	User any

	tcp tcpState
}

// Segment is the next piece of one direction.
type Segment struct {
	Side      Side
	Offset    int64  // stream offset of Data[0]; the first byte after the SYN (or the first byte seen) is 0
	Data      []byte // in order, never seen before, empty behind what was cut off and behind the last gap of a stream; valid during the call only
	Ack       int64  // bytes of the other side's stream that the carrying packet acknowledges, -1 if unknown
	Gap       int64  // bytes lost right before Offset (0: none)
	Truncated bool   // what Gap counts is not lost: it came, but was cut off by a snap length or a filter
	Time      int64  // time of the carrying packet, ns since the epoch
}

// Handler receives what a Table finds out. Calls come from within Add, Tick and Flush.
// Connections that carry no payload get End only.
type Handler interface {
	// Data is called for each new piece of payload, in order for each side. For UDP
	// each call is one datagram. s is valid during the call only.
	Data(c *Conn, s *Segment)
	// Changed is called when a side sent a FIN or a RST, after its data. Data may still
	// follow: of the other side, and of this one if the FIN or RST was forged. It is called
	// too when a packet without payload shows that a side is no longer OneSided, and when packets
	// of a connection that is done first contradict each other (Conflict).
	Changed(c *Conn)
	// End is called once, when the connection leaves the table.
	End(c *Conn, why EndReason)
}
