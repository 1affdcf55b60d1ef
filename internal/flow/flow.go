package flow

import (
	"net/netip"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// LinkOther is the link type of a packet whose link-layer header was skipped and whose content is not IP. It does not
// occur in files.
const LinkOther wire.LinkType = 0xffff

// Packet is one captured frame.
type Packet struct {
	Time        int64         // nanoseconds since the Unix epoch
	Data        []byte        // the captured bytes; the table does not keep them after Add returns
	Length      int           // length on the wire in bytes, at least len(Data)
	Link        wire.LinkType // type of the header that Data starts with
	Interface   uint16        // index of the capturing interface; part of a connection's key
	Decapsulate bool          // tunnels are decapsulated: the inner packet counts, not the outer one
	Zone        Zone          // zone of a VLAN tag that the kernel removed from Data
	Origin      Origin        // the origin that the kernel reports; ignored if Config.Local is nil
	Checksum    Checksum      // whether the checksums in Data were verified
}

// Side is one of the two ends of a connection.
type Side = wire.Side

// The two ends.
const (
	Originator = wire.Originator
	Responder  = wire.Responder
)

// Endpoint is one end of a connection, with counts of what it has sent.
type Endpoint struct {
	Addr      netip.Addr
	Port      uint16
	FIN       bool   // this end sent a FIN
	RST       bool   // this end sent a RST
	Packets   uint64 // packets seen from this end
	Bytes     uint64 // payload bytes by the IP length, retransmissions included; bytes that a filter left out (Thin) count by sequence numbers
	Missed    uint64 // bytes of the stream that were never captured (gaps)
	Truncated uint64 // bytes that are missing because the snap length or a filter truncated a packet
}

// AddrPort returns the end's address and port.
func (e *Endpoint) AddrPort() netip.AddrPort { return netip.AddrPortFrom(e.Addr, e.Port) }

// Conn is one connection. The table owns it. A Handler may read it during a call and may keep the pointer until End,
// but must not change any field except User.
type Conn struct {
	ID          uint64 // number of the connection in its Table, from 1
	Orig, Resp  Endpoint
	Redirected  *Endpoint // address that a mesh's REDIRECT sent the originator's packets to on a loopback interface (Resp is their original destination); nil if not redirected
	First, Last int64     // time of the first and the latest packet, ns since the epoch
	Zones       [2]Zone   // zone of each side's packets
	Interface   uint16    // Packet.Interface of all its packets
	Transport   uint8     // IP protocol number: 6 TCP, 17 UDP
	State       State     // Zeek's connection state, current
	MissedStart bool      // TCP: no SYN was seen; the connection is older than the capture, or its start was lost
	Conflict    bool      // packets contradict each other: a retransmission with other bytes, data after a FIN, forged numbers
	Urgent      bool      // TCP: urgent data was seen, which receivers remove from the stream (RFC 9293, section 3.8.5)
	Multipath   bool      // TCP: the connection is a subflow of Multipath TCP (RFC 8684), whose data are ordered together with the data of other subflows
	Fragments   bool      // a truncated first fragment was seen: its datagram cannot be reassembled
	Excluded    bool      // Config.Exclude returned true: packets are counted, but nothing is delivered
	Located     bool      // Config.Local was called when the connection was created; the next two fields are its results
	OrigLocal   bool      // the originator's address is local
	RespLocal   bool      // the responder's address is local
	Thinned     bool      // Table.Thin chose the connection at some time: Packets counts only the packets seen, and more were sent

	OrigISNSeen, RespISNSeen bool
	OrigISN, RespISN         uint32 // initial sequence numbers, valid if the flag above is set

	// User belongs to the Handler. The table does not change it.
	User any

	tcp tcpState
}

// Segment is the next part of one direction's stream, or a gap in it.
type Segment struct {
	Side      Side
	Offset    int64  // stream offset of Data[0]; the first byte after the SYN (or the first byte seen) is 0
	Data      []byte // in order, without repetitions; empty for truncated bytes and for a gap at the end of a stream; valid during the call only
	Ack       int64  // bytes of the other side's stream that the carrying packet acknowledges, -1 if unknown
	Gap       int64  // bytes missing right before Offset (0: none)
	Truncated bool   // the bytes of Gap are missing because the snap length or a filter truncated the packet; otherwise they were never captured
	Time      int64  // time of the carrying packet, ns since the epoch
}

// Handler receives the results of a Table. All calls come from within Add, Tick, Flush, Shed and Renew. A connection
// without payload, FIN and RST gets End only.
type Handler interface {
	// Data is called for each new part of a stream, in order for each side. For UDP each call is one datagram. s is
	// valid during the call only.
	Data(c *Conn, s *Segment)
	// Changed is called after the data of a side that sent a FIN or RST. More data may follow from the other side, and
	// also from this side if the FIN or RST was forged. Changed is also called when a packet without payload shows that
	// a connection is no longer OneSided, and when packets of a connection that is done contradict each other for the
	// first time (Conflict).
	Changed(c *Conn)
	// End is called once, when the connection leaves the table.
	End(c *Conn, why EndReason)
}
