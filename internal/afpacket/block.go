package afpacket

import (
	"encoding/binary"

	"github.com/meshtls-tap/meshtls-tap/internal/wire"
)

// Packet is one captured packet.
type Packet struct {
	Time     int64  // when it reached the socket, nanoseconds since the Unix epoch
	Data     []byte // the captured bytes, valid until the callback that got the block returns
	Length   int    // length on the wire in bytes, without the VLAN tag of this struct
	Type     uint8  // direction and kind: one of the constants below
	VLAN     uint16 // the tag's control information: priority and VLAN identifier (IEEE 802.1Q)
	VLANType uint16 // EtherType of the tag that was taken out of Data: 0x8100 or 0x88a8; 0: there was none

	// Vouched reports whether the kernel takes the checksum of TCP or UDP for correct without
	// a look at it: a device has verified it, or it is still to be computed by one, since the
	// packet comes from this machine (the field in Data is then wrong by design). Of any other
	// packet the receiver's kernel verifies it.
	Vouched bool
}

// Values of Packet.Type: sll_pkttype of packet(7).
const (
	TypeHost      uint8 = iota // to this host
	TypeBroadcast              // to all
	TypeMulticast              // to a group
	TypeOtherHost              // to another host
	TypeOutgoing               // from this host
)

// A block begins with a struct tpacket_block_desc and each packet in it with a struct
// tpacket3_hdr, behind which stands a struct sockaddr_ll (linux/if_packet.h). Numbers are
// in the host's byte order. These are the offsets that are read.
const (
	blockStatus  = 8  // hdr.bh1.block_status: whose block it is
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

// Block is a run of packets, in the order of their arrival. It belongs to the callback
// that got it, and is valid until that returns.
type Block struct {
	data      []byte
	at        int // of the next packet, at most len(data)
	left      int // packets that are still to come
	malformed bool
	early     bool
}

// Early reports whether the kernel handed the block on before it was full, because
// Config.Retire had passed: packets come sparsely.
func (b *Block) Early() bool { return b.early }

// reset begins with a block of the ring. Nothing that stands in it is believed: an
// offset that points elsewhere ends the block.
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

// Next returns the next packet of the block, and false behind the last one. It does not
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
		if next < end || next > uint64(len(h)) { // the former holds for a step of 0 too
			b.left, b.malformed = 0, true
		} else {
			b.at += int(next)
		}
	}
	// One by one: a composite literal would be made elsewhere and copied.
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
