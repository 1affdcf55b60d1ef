package flow

import (
	"net/netip"
	"time"
)

// Config bounds a Table. The zero value means the defaults.
type Config struct {
	MaxConns           int // maximum number of connections; a redirected connection, or one in two zones, counts twice; default 65536
	MaxBuffered        int // maximum number of bytes in the out-of-order buffers of all connections, bookkeeping included; default 8 MiB
	MaxBufferedPerSide int // maximum number of buffered bytes for one direction of one connection; default 256 KiB
	MaxRecent          int // bytes of delivered data that are remembered to compare retransmissions with; default 4 MiB, at least 64 KiB

	Linger     time.Duration // how long a closed TCP connection stays in the table; default 5 s
	IdleSetup  time.Duration // idle timeout of TCP connections that are not established and never carried payload; default 60 s
	IdleTCP    time.Duration // idle timeout of other TCP connections; default 1 h
	IdleUDP    time.Duration // idle timeout of UDP connections; default 60 s
	GapWait    time.Duration // maximum time that a gap stays open if the receiver has acknowledged it or a RST follows; default 1 s
	UnseenWait time.Duration // maximum time that any gap stays open if no packet of the receiver was seen; default 3 s

	// Exclude is called once for each new connection, with its addresses set. An excluded connection stays in the table
	// and is counted, but the Handler gets no call for it, not even End.
	Exclude func(*Conn) bool
	// Local reports whether an address belongs to the host or pod. The table calls Local for the first packet of a
	// connection and stores the result. Without Local, a third host that can put packets on the interface could forge
	// both sides of a conversation. If the Origin of a packet is known, the table refuses a packet that arrived from
	// a local address (Stats.Refused), and ignores a packet without a local end (a foreign packet, Stats.Foreign).
	// Nil: every packet is accepted.
	Local func(netip.Addr) bool
	// Group reports whether the host receives datagrams for an address that is not its own: a multicast group that it
	// has joined, or a broadcast address. Nil: it receives none.
	Group func(netip.Addr) bool
	// Forwarded reports whether foreign packets are accepted too, for a host that forwards the traffic of others. It is
	// called for each foreign packet. Nil: they are not accepted.
	Forwarded func() bool
	// Loopback reports whether the two faces of redirected connections are paired on an interface. Nil: they are never
	// paired.
	Loopback func(iface uint16) bool
	// Observe is called for each packet of a connection, before the packet has any effect on the connection. It must not
	// retain the packet or d, nor call the table. Nil: it is not called.
	Observe func(c *Conn, p *Packet, d *Decoded)
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

// Stats counts what a Table has done since it was created.
type Stats struct {
	Packets             uint64          // packets that were passed to Add
	Undecoded           [reasons]uint64 // packets without ports, by Reason
	Fragments           uint64          // IP fragments, both first and later ones
	Reassembled         uint64          // datagrams that were reassembled from fragments
	Created             uint64          // connections
	Active              int             // connections now in the table
	Evicted             uint64          // connections that were removed because the table was full, or by Shed
	Shed                uint64          // connections among Evicted that Shed removed
	Reused              uint64          // connections that ended because a new connection used their ports
	Excluded            uint64          // connections that Config.Exclude excluded
	Refused             uint64          // forged packets: they arrived from an address of Config.Local, or carry TCP to a group or to all hosts
	Foreign             uint64          // packets without a local end, by Config.Local and Origin
	BadChecksums        uint64          // packets with a wrong checksum, which the receiver drops (ChecksumUnverified)
	UnverifiedChecksums uint64          // packets with a wrong checksum that were accepted, because their receivers accept them too
	Redirected          uint64          // connections paired from two faces
	Retransmits         uint64          // segments without new bytes
	Gaps                uint64          // gaps that were skipped, for any reason
	GapBytes            uint64          // bytes in the gaps counted in Gaps
	ThinnedBytes        uint64          // bytes that a filter left out (Thin)
	TruncatedBytes      uint64          // bytes that are missing because the snap length or a filter truncated a packet
	BufferFull          uint64          // how often a byte budget was full, so that a gap was skipped or the last buffered piece dropped
	BeforeStart         uint64          // segments before the first known byte of their stream
	Unacceptable        uint64          // segments that receivers drop because of the segments' numbers: outside of the window, acknowledging unsent data, or a misplaced RST
	Conflicts           uint64          // segments that contradict earlier ones (Conn.Conflict)
	Unverified          uint64          // segments counted in Conflicts that repeat bytes which are no longer remembered, and so cannot be compared
	Buffered            int             // bytes now in out-of-order buffers, bookkeeping included
	MaxBuffered         int             // the largest value of Buffered so far
}
