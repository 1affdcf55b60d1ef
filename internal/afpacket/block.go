package afpacket

import (
	"encoding/binary"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Packet is one captured packet.
type Packet struct {
	Time     int64  // when the packet reached the socket, nanoseconds since the Unix epoch
	Data     []byte // the captured bytes, valid until the callback that got the block returns
	Length   int    // length on the wire in bytes, without the VLAN tag that the kernel removed
	Type     uint8  // direction and kind: TypeHost, TypeBroadcast, ...
	VLAN     uint16 // the tag's control information: priority and VLAN identifier (IEEE 802.1Q)
	VLANType uint16 // EtherType of the tag that the kernel removed from Data: 0x8100 or 0x88a8; 0: there was none

	// Vouched reports whether the kernel accepts the checksum of TCP or UDP without verifying it.
	// There are two cases. A device has verified the checksum. Or the packet comes from this
	// machine, and a device will compute the checksum later (the field in Data is then wrong by
	// design). The receiver's kernel verifies the checksum of any other packet.
	Vouched bool
}

// Values of Packet.Type: sll_pkttype of packet(7).
const (
	TypeHost      uint8 = iota // the packet was sent to this host
	TypeBroadcast              // the packet was broadcast
	TypeMulticast              // the packet was sent to a multicast group
	TypeOtherHost              // the packet was sent to another host
	TypeOutgoing               // this host sent the packet
)

// Offsets of the fields that are read. A block begins with a struct tpacket_block_desc. Each packet
// in the block begins with a struct tpacket3_hdr, followed by a struct sockaddr_ll
// (linux/if_packet.h). Numbers are in the host's byte order.
const (
	blockStatus  = 8  // hdr.bh1.block_status: whether the block belongs to the kernel or to the reader
	blockPackets = 12 // hdr.bh1.num_pkts
	blockFirst   = 16 // hdr.bh1.offset_to_first_pkt
	blockHeader  = 48 // sizeof(struct tpacket_block_desc)

	packetNext     = 0  // tp_next_offset: from this packet to the next, 0 in the last
	packetSec      = 4  // tp_sec
	packetNsec     = 8  // tp_nsec
	packetSnap     = 12 // tp_snaplen: bytes captured
	packetLen      = 16 // tp_len: bytes on the wire
	packetStatus   = 20 // tp_status
	packetMAC      = 24 // tp_mac: from this header to the captured bytes
	packetVLAN     = 32 // hv1.tp_vlan_tci
	packetVLANType = 36 // hv1.tp_vlan_tpid
	packetType     = 58 // sockaddr_ll.sll_pkttype; the struct begins at 48
	packetHeader   = 68 // TPACKET3_HDRLEN
)

// Bits of tp_status.
const (
	statusNotReady = 1 << 3 // TP_STATUS_CSUMNOTREADY
	statusVLAN     = 1 << 4 // TP_STATUS_VLAN_VALID
	statusVLANType = 1 << 6 // TP_STATUS_VLAN_TPID_VALID
	statusValid    = 1 << 7 // TP_STATUS_CSUM_VALID
)

// Block is a sequence of packets in the order of their arrival. It is valid until the
// callback that received it returns.
type Block struct {
	data      []byte
	at        int // offset of the next packet, at most len(data)
	left      int // packets not yet returned by Next
	malformed bool
	early     bool
}

// Early reports whether the kernel passed the block on before it was full. While few packets
// arrive, the kernel does so when Config.Retire has passed.
func (b *Block) Early() bool { return b.early }

// reset starts to read a block of the ring. The contents of the block are not trusted: if an offset
// points out of the block, the rest of the block is skipped.
func (b *Block) reset(data []byte) {
	*b = Block{data: data}
	if len(data) < blockHeader {
		b.malformed = true
		return
	}
	first := binary.NativeEndian.Uint32(data[blockFirst:])
	packets := binary.NativeEndian.Uint32(data[blockPackets:])
	if packets == 0 {
		return
	}
	if first < blockHeader || uint64(first)+packetHeader > uint64(len(data)) || uint64(packets)*packetHeader > uint64(len(data)) {
		b.malformed = true
		return
	}
	b.at, b.left = int(first), int(packets)
}

// Next returns the next packet of the block. After the last packet it returns false. It does not
// allocate.
func (b *Block) Next() (p Packet, ok bool) {
	if b.left == 0 {
		return Packet{}, false
	}
	h := b.data[b.at:]
	if len(h) < packetHeader {
		return b.stop()
	}
	mac := uint64(binary.NativeEndian.Uint16(h[packetMAC:]))
	snap := uint64(binary.NativeEndian.Uint32(h[packetSnap:]))
	end := mac + snap
	if mac < packetHeader || end > uint64(len(h)) {
		return b.stop()
	}

	b.left--
	if b.left > 0 {
		next := uint64(binary.NativeEndian.Uint32(h[packetNext:]))
		if next < end || next > uint64(len(h)) { // a next of 0 is less than end, too
			b.left, b.malformed = 0, true
		} else {
			b.at += int(next)
		}
	}

	// p is set field by field, because a composite literal would be built elsewhere and then
	// copied.
	p.Time = int64(binary.NativeEndian.Uint32(h[packetSec:]))*1e9 + int64(binary.NativeEndian.Uint32(h[packetNsec:]))
	p.Data = h[mac:end:end]
	p.Length = max(int(binary.NativeEndian.Uint32(h[packetLen:])), int(snap))
	p.Type = h[packetType]

	status := binary.NativeEndian.Uint32(h[packetStatus:])
	p.Vouched = status&(statusNotReady|statusValid) != 0
	if status&statusVLAN != 0 {
		p.VLAN, p.VLANType = uint16(binary.NativeEndian.Uint32(h[packetVLAN:])), wire.EtherVLAN
		if status&statusVLANType != 0 {
			p.VLANType = binary.NativeEndian.Uint16(h[packetVLANType:])
		}
	}
	return p, true
}

// stop skips the rest of the block, which is malformed.
func (b *Block) stop() (Packet, bool) {
	b.left, b.malformed = 0, true
	return Packet{}, false
}
