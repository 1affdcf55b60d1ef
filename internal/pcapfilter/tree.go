package pcapfilter

import "net/netip"

// node is a condition that a packet meets or not: one of the types below.
type node any

// both is true if left and right are true. either is true if at least one of them is.
type (
	both   struct{ left, right node }
	either struct{ left, right node }
	not    struct{ node node }
)

// located is a condition with its offset in the expression.
type located struct {
	node node
	at   int
}

// direction selects the source, the destination or both of a packet.
type direction uint8

const (
	anyEnd  direction = iota // src or dst
	srcEnd                   // src
	dstEnd                   // dst
	bothEnd                  // src and dst
)

type (
	// etherProto is true if the EtherType is number.
	etherProto struct{ number uint32 }

	// ipProto is true if IPv4 (over4) or IPv6 (over6) carries the IP protocol number.
	ipProto struct {
		number       uint32
		over4, over6 bool
	}

	// host4 is true if an IPv4 address that dir selects equals address in the bits of mask.
	host4 struct {
		over          []uint32 // EtherTypes of the headers that are tested: IPv4, ARP, RARP
		dir           direction
		address, mask uint32
	}

	// host6 is true if an IPv6 address that dir selects is in prefix.
	host6 struct {
		dir    direction
		prefix netip.Prefix
	}

	// etherHost is true if an Ethernet address that dir selects is mac.
	etherHost struct {
		dir direction
		mac [6]byte
		at  int
	}

	// ports is true if a port that dir selects is in the range from low to up.
	ports struct {
		over    []uint32 // IP protocol numbers
		dir     direction
		low, up uint32
	}

	// group is true if the destination is a multicast or broadcast address.
	group struct {
		kind groupKind
		at   int
	}

	// passing is true if the packet is outbound, or inbound if outbound is not set.
	passing struct {
		outbound bool
		at       int
	}

	// vlan is true if the packet has a VLAN tag, with the identifier id if hasID is set. Later
	// conditions apply to the headers after the tag.
	vlan struct {
		id    uint32
		hasID bool
		at    int
	}

	// relation is true if "left op right" is.
	relation struct {
		op          string // one of = != < <= > >=
		left, right *value
	}
)

type groupKind uint8

const (
	etherBroadcast groupKind = iota
	etherMulticast
	ipMulticast
	ip6Multicast
)

// value is a number calculated from the packet. Numbers are unsigned and have 32 bits.
type value struct {
	op          string // "#" for a constant, "len", "[]" for bytes of the packet, "-" without right for a negation, else a binary operator
	number      uint32
	proto       *protocol // "[]" only
	size        uint32    // "[]" only: 1, 2 or 4
	left, right *value    // "[]": left is the offset
	at          int
	plain       *token // a number without an operator: with inherited qualifiers it is a condition, as 80 in "port 22 or 80"
}

func (v *value) constant() bool { return v.op == "#" }
