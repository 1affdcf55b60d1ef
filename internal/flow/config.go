package flow

import (
	"net/netip"
	"time"
)

// Config bounds a Table. The zero value means the defaults.
type Config struct {
	MaxConns           int // connections (and second faces of redirected ones) kept; default 65536
	MaxBuffered        int // bytes held out of order in the whole table, bookkeeping included; default 8 MiB
	MaxBufferedPerSide int // the same for one direction of one connection; default 256 KiB
	MaxRecent          int // bytes of what was handed on last, kept to compare copies with; default 4 MiB, at least 64 KiB

	Linger     time.Duration // closed TCP connections; default 5 s
	IdleSetup  time.Duration // TCP connections that never carried payload and are not established; default 60 s
	IdleTCP    time.Duration // other TCP connections; default 1 h
	IdleUDP    time.Duration // default 60 s
	GapWait    time.Duration // how long a hole that the receiver has acknowledged is waited for, and any hole before a RST; default 1 s
	UnseenWait time.Duration // how long any hole is waited for where no packet of the receiver is seen; default 3 s

	// Exclude is asked once, when a connection is created, with its addresses set. An
	// excluded connection stays in the table and is counted, but nothing of it reaches
	// the Handler, not even End.
	Exclude func(*Conn) bool
	// Local reports whether an address is the host's or pod's own. The table asks for the
	// first packet of a connection and keeps the answer with it. Where the Origin of a
	// packet is known, whoever can put packets before the interface could else forge both
	// sides of a conversation: a packet that arrived from a local address is refused
	// (Stats.Refused), and one whose local end is missing is foreign (Stats.Foreign) and is
	// not looked at. Nil: every packet is taken.
	Local func(netip.Addr) bool
	// Group reports whether the host receives datagrams that are sent to an address that is
	// not its own: a multicast group that it has joined, or a broadcast address. Nil: none.
	Group func(netip.Addr) bool
	// Forwarded reports whether foreign packets are taken as well, for a host that forwards
	// the traffic of others. It is asked for each. Nil: they are not.
	Forwarded func() bool
	// Loopback says on which interfaces the two faces of a redirected connection are
	// paired. Nil: on none.
	Loopback func(iface uint16) bool
}

func (c Config) defaults() Config {
	number := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	wait := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	number(&c.MaxConns, 65536)
	number(&c.MaxBuffered, 8<<20)
	number(&c.MaxBufferedPerSide, 256<<10)
	number(&c.MaxRecent, 4<<20)
	wait(&c.Linger, 5*time.Second)
	wait(&c.IdleSetup, time.Minute)
	wait(&c.IdleTCP, time.Hour)
	wait(&c.IdleUDP, time.Minute)
	wait(&c.GapWait, time.Second)
	wait(&c.UnseenWait, 3*time.Second)
	return c
}

// Stats counts what a Table has done since it was made.
type Stats struct {
	Packets             uint64          // given to Add
	Undecoded           [reasons]uint64 // packets without ports, by Reason
	Fragments           uint64          // IP fragments, the first ones and the later ones
	Reassembled         uint64          // datagrams that were put together from fragments
	Created             uint64          // connections
	Active              int             // connections now in the table
	Evicted             uint64          // connections that left because the table was full, or by Shed
	Shed                uint64          // of these: by Shed
	Reused              uint64          // connections that ended because their ports were taken again
	Excluded            uint64          // connections that Config.Exclude held back
	Refused             uint64          // packets that arrived from an address of Config.Local, and TCP for a group or for all hosts: they are forged
	Foreign             uint64          // packets of which no end is the host's, by Config.Local and Origin
	BadChecksums        uint64          // packets that the receiver drops, since a checksum is wrong (ChecksumUnverified)
	UnverifiedChecksums uint64          // packets that were taken with a wrong checksum, since their receivers take them
	Redirected          uint64          // connections paired from two faces
	Retransmits         uint64          // segments that brought nothing new
	Gaps                uint64          // holes given up, for whatever reason
	GapBytes            uint64          // bytes in them
	ThinnedBytes        uint64          // bytes that a filter left out (Thin)
	TruncatedBytes      uint64          // bytes that came, but were cut off by a snap length or a filter
	BufferFull          uint64          // times that a byte budget was full: a hole was given up, or a piece far ahead dropped
	BeforeStart         uint64          // segments from before the first byte known of their stream
	Unacceptable        uint64          // segments that their receivers drop for their numbers: outside of the window, acknowledging what was not sent, a RST that is out of place
	Conflicts           uint64          // segments that contradict earlier ones (Conn.Conflict)
	Unverified          uint64          // of these: copies of bytes that are no longer at hand to compare with
	Buffered            int             // bytes now held out of order, bookkeeping included
	MaxBuffered         int             // the most that Buffered was
}
