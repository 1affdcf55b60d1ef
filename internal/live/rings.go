package live

import (
	"cmp"
	"fmt"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/afpacket"
	"github.com/meshtls-tap/meshtls-tap/internal/pcapfilter"
)

// RingsPerInterface is the number of packet sockets that capture on each interface. One is for TCP and one for everything else, so
// that a flood of datagrams does not fill the ring of TCP.
const RingsPerInterface = 2

// ringFilters has the filter of the TCP ring, then the filter of the ring for everything else.
type ringFilters [RingsPerInterface]pcapfilter.Program

const (
	// otherRetire is how long a datagram may wait in its ring. tcpDelay is how long a segment is delayed, so that datagrams that
	// arrived before it are read first. tcpDelay is more than twice otherRetire. The order matters because a DNS answer just
	// before the connection may contain the peer's name.
	otherRetire = 8 * time.Millisecond
	tcpDelay    = 20 * time.Millisecond

	// tcpRetire is how long a segment may wait in its ring. While the reader is stopped and there are few packets, the kernel
	// fills one block in each tcpRetire. So with 128 MiB of memory, the 20 blocks of the ring last 5 s.
	tcpRetire = 250 * time.Millisecond
)

// isTCP selects the packets for the TCP ring. It includes segments after one IPv6 extension header, such as the
// jumbo payload option that Linux adds above 64 KiB. In the other ring such segments would be out of order with
// the rest of their connection.
const isTCP = "tcp or ((ip6[6] = 0 or ip6[6] = 43 or ip6[6] = 60) and ip6[40] = 6)"

// open opens the interface with the filters for its link type.
func (i *Interface) open() (tcp, other *afpacket.Handle, err error) {
	link, err := afpacket.Link(i.name)
	if err != nil {
		return nil, nil, err
	}
	rings, filters, err := splitFilter(i.capture.cfg.Filter, pcapfilter.Config{Link: link, Live: true})
	if err != nil {
		return nil, nil, fmt.Errorf("interface %s: %w", i.name, err)
	}
	i.mu.Lock()
	i.filters, i.thinned = filters, nil
	i.mu.Unlock()
	return i.openFitting(filters, rings, ringFilters{})
}

// splitFilter returns two filters for each ring. Those in rings only divide the packets between the rings. Those in filters
// also apply the filter that the function whole returns.
func splitFilter(whole func(pcapfilter.Config) (pcapfilter.Program, error), c pcapfilter.Config) (rings, filters ringFilters, err error) {
	program, err := whole(c)
	if err != nil {
		return rings, filters, err
	}
	for k, text := range [...]string{isTCP, "not (" + isTCP + ")"} {
		if rings[k], err = pcapfilter.Compile(text, c); err != nil {
			return rings, filters, err
		}
		if filters[k], err = pcapfilter.And(rings[k], program); err != nil {
			return rings, filters, err
		}
	}
	return rings, filters, nil
}

// openRings opens both rings at the same time. Each ring waits for the kernel (a grace period of RCU, some 20 ms), and
// packets are missed until both rings are open.
func (i *Interface) openRings(filters ringFilters) (tcp, other *afpacket.Handle, err error) {
	cfg := &i.capture.cfg
	others := make(chan error, 1)
	go func() {
		var err error
		other, err = afpacket.Open(afpacket.Config{Interface: i.name, Filter: filters[1], RingBytes: cfg.OtherRing, Retire: otherRetire})
		others <- err
	}()
	tcp, err = afpacket.Open(afpacket.Config{Interface: i.name, Filter: filters[0], RingBytes: cfg.TCPRing, Retire: tcpRetire})
	if err = cmp.Or(err, <-others); err == nil {
		return tcp, other, nil
	}
	for _, h := range []*afpacket.Handle{tcp, other} {
		if h != nil {
			h.Close()
		}
	}
	return nil, nil, err
}
