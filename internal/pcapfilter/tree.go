package pcapfilter

import "net/netip"

// node is a condition: one of the types below.
type node any

// both holds where left and right do, either where one of them does.
type (
	both   struct{ left, right node }
	either struct{ left, right node }
	not    struct{ node node }
)

// located is a condition with the place where it is written.
type located struct {
	node node
	at   int
}

// direction says which of a packet's two ends is meant.
type direction uint8

const (
	anyEnd  direction = iota // src or dst
	srcEnd                   // src
	dstEnd                   // dst
	bothEnd                  // src and dst
)

type (
	// etherProto is an EtherType.
	etherProto struct{ number uint32 }

	// ipProto is an IP protocol number.
	ipProto struct {
		number       uint32
		over4, over6 bool
	}

	// host4 is an IPv4 address under a mask.
	host4 struct {
		over          []uint32 // the EtherTypes that are looked into: IPv4, ARP, RARP
		dir           direction
		address, mask uint32
	}

	// host6 is an IPv6 network.
	host6 struct {
		dir    direction
		prefix netip.Prefix
	}

	// etherHost is an Ethernet address.
	etherHost struct {
		dir direction
		mac [6]byte
		at  int
	}

	// ports is a range of ports of some transports.
	ports struct {
		over    []uint32 // IP protocol numbers
		dir     direction
		low, up uint32
	}

	// group is a multicast or broadcast destination.
	group struct {
		kind groupKind
		at   int
	}

	// passing is a packet's direction: inbound or outbound.
	passing struct {
		outbound bool
		at       int
	}

	// vlan is an outer VLAN tag. What is written behind it is decoded behind the tag.
	vlan struct {
		id    uint32
		hasID bool
		at    int
	}

	// relation compares two values.
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

// value is a number that is calculated from the packet. Numbers have 32 bits and no sign.
type value struct {
	op          string // "#" a number, "len", "[]" bytes of the packet, "-" alone with left only, else a binary operator
	number      uint32
	proto       *protocol // of "[]"
	size        uint32    // of "[]": 1, 2 or 4
	left, right *value    // of "[]" left is the offset
	at          int
	plain       *token // a number as it was written, which may be the name of something too: 80 in "port 22 or 80"
}

func (v *value) constant() bool { return v.op == "#" }
